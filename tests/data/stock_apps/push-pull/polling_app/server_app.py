"""The server: push, then pull until every reply is there."""

import json
import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    while len(nodes := list(grid.get_node_ids())) < 3:
        time.sleep(0.5)
    weights, losses = np.zeros((5, 3)), []
    for number in range(1, context.run_config["num-server-rounds"] + 1):
        replies = ask(grid, nodes, weights, number)
        replies.sort(key=lambda reply: reply.content["metrics"]["train_loss"])
        weights = np.mean([reply.content["arrays"].to_numpy_ndarrays()[0] for reply in replies], axis=0)
        losses.append(float(np.mean([reply.content["metrics"]["train_loss"] for reply in replies])))
        print(f"round {number} done: loss {losses[-1]:.4f}", flush=True)
    np.savez("final_model.npz", weights)
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)


def ask(grid: Grid, nodes: list[int], weights: np.ndarray, number: int) -> list[Message]:
    content = RecordDict(
        {"arrays": ArrayRecord([weights]), "config": ConfigRecord({"server-round": number, "lr": 0.1})}
    )
    waiting = set(
        grid.push_messages(
            Message(content=content, message_type=MessageType.TRAIN, dst_node_id=node) for node in nodes
        )
    )
    replies, end = [], time.time() + 300
    while waiting and time.time() < end:
        for reply in grid.pull_messages(waiting):
            waiting.discard(reply.metadata.reply_to_message_id)
            if reply.has_content():
                replies.append(reply)
        time.sleep(0.2)
    return replies
