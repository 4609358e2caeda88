"""The server: embeddings come in, gradients go out."""

import json
import time

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from torch import nn

from split_columns.task import WIDTH, load_table

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    torch.manual_seed(11)
    while len(nodes := list(grid.get_node_ids())) < 3:
        time.sleep(0.5)
    _, labels = load_table()
    head = nn.Linear(3 * WIDTH, 1)
    optimizer = torch.optim.SGD(head.parameters(), lr=context.run_config["learning-rate"], momentum=0.5)
    losses = []
    for number in range(1, context.run_config["num-server-rounds"] + 1):
        content = RecordDict({"config": ConfigRecord({"round": number})})
        asked = [
            Message(content=content, message_type="query.generate_embeddings", dst_node_id=node)
            for node in nodes
        ]
        replies = {reply.content["metrics"]["position"]: reply for reply in grid.send_and_receive(asked)}
        parts = [
            replies[position].content["embeddings"].to_torch_state_dict()["0"] for position in sorted(replies)
        ]
        together = torch.cat(parts, dim=1).requires_grad_()
        loss = nn.functional.binary_cross_entropy_with_logits(head(together)[:, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        gradients = together.grad.split(WIDTH, dim=1)
        grid.push_messages(
            [
                Message(
                    content=RecordDict(
                        {
                            "gradients": ArrayRecord([gradients[place].numpy()]),
                            "metrics": MetricRecord({"loss": losses[-1]}),
                        }
                    ),
                    message_type="train.apply_gradients",
                    dst_node_id=replies[position].metadata.src_node_id,
                )
                for place, position in enumerate(sorted(replies))
            ]
        )
        print(f"round {number} done: loss {losses[-1]:.4f}", flush=True)
    torch.save(head.state_dict(), "final_model.pt")
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)
