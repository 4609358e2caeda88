"""The server: no strategy, a loop over messages."""

import json
import random
import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    while len(nodes := list(grid.get_node_ids())) < 3:
        time.sleep(0.5)
    asked = [message(RecordDict(), node, MessageType.QUERY, 0) for node in nodes]
    rows = {
        reply.metadata.src_node_id: reply.content["answer"]["rows"]
        for reply in grid.send_and_receive(asked)
        if reply.has_content()
    }
    print("rows of all clients:", sum(rows.values()))
    weights, losses = np.zeros((5, 3)), []
    for number in range(1, context.run_config["num-server-rounds"] + 1):
        chosen = random.sample(nodes, max(2, int(len(nodes) * context.run_config["fraction-sample"])))
        content = RecordDict(
            {"arrays": ArrayRecord([weights]), "config": ConfigRecord({"round": number, "lr": 0.1})}
        )
        sent = [message(content, node, MessageType.TRAIN, number) for node in chosen]
        replies = [reply for reply in grid.send_and_receive(sent, timeout=600) if reply.has_content()]
        total = sum(rows[reply.metadata.src_node_id] for reply in replies)
        weights = sum(
            rows[reply.metadata.src_node_id] / total * reply.content["arrays"].to_numpy_ndarrays()[0]
            for reply in replies
        )
        losses.append(float(np.mean([reply.content["metrics"]["train_loss"] for reply in replies])))
        print(f"round {number} done: loss {losses[-1]:.4f}", flush=True)
    np.savez("final_model.npz", weights)
    with open("results.json", "w") as file:
        json.dump({"loss": losses}, file)


def message(content: RecordDict, node: int, kind: str, number: int) -> Message:
    return Message(content=content, message_type=kind, dst_node_id=node, group_id=str(number))
