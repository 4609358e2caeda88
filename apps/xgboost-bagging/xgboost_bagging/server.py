"""The ServerApp: Flower's FedXgbBagging, as its own example runs it."""

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedXgbBagging

from xgboost_bagging.data import server_rows
from xgboost_bagging.model import no_trees, score

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Collect the clients' trees, round by round."""
    rows = server_rows(context.run_config)

    def evaluate(_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        found = score(arrays, rows)
        return MetricRecord({**found}) if found else None

    FedXgbBagging().start(
        grid=grid,
        initial_arrays=no_trees(),
        num_rounds=int(str(context.run_config.get("num-server-rounds", 3))),
        evaluate_fn=evaluate,
    )
