"""What the journal says of clients, folded into the view: who answered, joined, left, or was left out."""

from dataclasses import dataclass

from oneflower.monitor.reasons import kind_of
from oneflower.monitor.records import ANSWERED, FAILED, QUARANTINED, Client, Event, LeftOut, Moment
from oneflower.monitor.view import Phase, TrainingView


@dataclass(slots=True)
class ClientHistory(TrainingView):
    """The part of `History` that takes the events of clients."""

    def _mark(self, event: Event) -> None:
        running = self.started_round > self.done
        self.moments.append(Moment(event=event, position=self.done + 0.5 * running, time=self.last_time))

    def _on_reply_received(self, event: Event) -> None:
        """Note one of two replies a client and round: nine events of ten, so nothing is looked up twice."""
        name = event.get("client")
        if event.get("phase", "train") != "train":
            self.phase = Phase.EVALUATING
            if name is not None:
                self._heard(name)
                self.evaluated.add(str(name))
            return
        self.phase = Phase.TRAINING
        self.replies += 1
        if name is None:
            return
        client = self._heard(name)
        client.trained += 1
        client.train_seconds = self.answered[client.name] = event.get("seconds")
        number = int(event["round"])
        client.note(number, ANSWERED)
        if number in self.absent:
            self.absent[number].pop(client.name, None)

    def _heard(self, name: object) -> Client:
        client = self._client(name)
        client.seen(self.last_time)
        return client

    def _on_client_joined(self, event: Event) -> None:
        client = self._client(event["client"])
        client.seen(self.last_time)
        client.connected = True

    def _on_client_left(self, event: Event) -> None:
        client = self._client(event["client"])
        if client.connected is not False:
            self._mark(event)
        client.connected = False

    def _on_parts_assigned(self, event: Event) -> None:
        parts = [str(member) for member in event["members"]]
        if parts != self.parts:
            self._mark(event)
        self.parts = parts

    def _client(self, name: object) -> Client:
        text = str(name)
        client = self.roster.get(text)
        if client is None:
            client = self.roster[text] = Client(text)
        return client

    def _on_client_failed(self, event: Event) -> None:
        quarantined = event["event"] == "client_quarantined"
        outcome = QUARANTINED if quarantined else FAILED
        number, reason = int(event.get("round", 0)), str(event.get("reason", ""))
        client = self._client(event.get("client", "?"))
        if not (client.quarantines if quarantined else client.failures):
            self._mark(event)
        if quarantined:
            client.seen(self.last_time)
        client.quarantines += quarantined
        client.failures += not quarantined
        client.last_reason = reason
        client.note(number, outcome)
        self.absent.setdefault(number, {})[client.name] = outcome
        (self.quarantines if quarantined else self.failures)[kind_of(reason)] += 1
        self.answered.pop(client.name, None)
        self.left_out.append(
            LeftOut(number=number, client=client.name, reason=reason, outcome=outcome, time=self.last_time)
        )

    _on_client_quarantined = _on_client_failed
