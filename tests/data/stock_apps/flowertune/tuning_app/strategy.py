"""FedAvg that adds up what is sent."""

from collections.abc import Iterable
from logging import INFO

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.common import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg


class CommunicationTracker:
    def __init__(self):
        self.curr_comm_cost = 0.0

    def track(self, messages: list[Message]) -> None:
        cost = sum(
            record.count_bytes() for message in messages for record in message.content.array_records.values()
        )
        self.curr_comm_cost += cost / 1024**2
        log(INFO, "Communication so far: %.4f MB", self.curr_comm_cost)


class FlowerTuneLlm(FedAvg):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.comm_tracker = CommunicationTracker()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self.comm_tracker.track(messages)
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]):
        replies = [reply for reply in replies if reply.has_content()]
        self.comm_tracker.track(replies)
        return super().aggregate_train(server_round, replies)
