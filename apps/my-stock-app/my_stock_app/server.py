"""The ServerApp: the first arrays, the strategy, central evaluation on held-out rows."""

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp

from my_stock_app.data import server_rows
from my_stock_app.model import initial_arrays, new_strategy, score

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the strategy of `model.py`."""
    rows = server_rows(context.run_config)

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord:
        loss, accuracy = score(arrays, rows)
        return MetricRecord({"loss": loss, "accuracy": accuracy})

    new_strategy().start(
        grid=grid,
        initial_arrays=initial_arrays(),
        num_rounds=int(str(context.run_config.get("num-server-rounds", 3))),
        evaluate_fn=evaluate,
    )
