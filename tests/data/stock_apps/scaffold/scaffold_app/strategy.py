"""SCAFFOLD (Karimireddy et al. 2020, option II): the server's control variate travels with the model."""

from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg


class Scaffold(FedAvg):
    def __init__(self, shape: tuple[int, int], **kwargs) -> None:
        super().__init__(**kwargs)
        self.control = np.zeros(shape)
        self.clients = 0

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        nodes = list(grid.get_node_ids())
        self.clients = len(nodes)
        config["server-round"] = server_round
        content = RecordDict({"arrays": arrays, "control": ArrayRecord([self.control]), "config": config})
        return [Message(content=content, message_type=MessageType.TRAIN, dst_node_id=node) for node in nodes]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]):
        replies = [reply for reply in replies if reply.has_content()]
        models = [reply.content["arrays"].to_numpy_ndarrays()[0] for reply in replies]
        changes = [reply.content["control"].to_numpy_ndarrays()[0] for reply in replies]
        self.control = self.control + sum(changes) / self.clients
        contents = [reply.content for reply in replies]
        metrics = self.train_metrics_aggr_fn(contents, self.weighted_by_key)
        return ArrayRecord([np.mean(models, axis=0)]), metrics
