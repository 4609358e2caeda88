"""The server adds up the histograms of its clients."""

import json
import random
import time

import numpy as np
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    columns = context.run_config["selected-columns"].split(",")
    totals = {column: np.zeros(10, int) for column in columns}
    counts = []
    for number in range(1, context.run_config["num-server-rounds"] + 1):
        while len(nodes := list(grid.get_node_ids())) < 3:
            time.sleep(0.5)
        content = RecordDict({"config": ConfigRecord({"columns": columns, "round": number})})
        messages = [
            Message(content=content, message_type=MessageType.QUERY, dst_node_id=node, group_id=str(number))
            for node in random.sample(nodes, 2)
        ]
        for reply in grid.send_and_receive(messages):
            if not reply.has_error():
                for column, bins in reply.content["query_results"].items():
                    totals[column] += np.array(bins)
        counts.append(int(sum(each.sum() for each in totals.values())))
        print(f"round {number} done: {counts[-1]} values", flush=True)
    histogram = {column: bins.tolist() for column, bins in totals.items()}
    with open("histogram.json", "w") as file:
        json.dump(histogram, file)
    with open("results.json", "w") as file:
        json.dump({"values": counts}, file)
