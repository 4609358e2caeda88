"""Events of clients."""

from dataclasses import dataclass
from typing import ClassVar

from oneflower.codes import LeftOutCode, Task
from oneflower.gpu.readings import Reading
from oneflower.journal.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingForClients(Event):
    """Fewer clients are connected than a round needs, without the `failing` ones.

    Those are connected and do not count yet: they failed in the last rounds, and a client that trained in
    the last one is away.
    """

    connected: int
    needed: int
    failing: tuple[str, ...] = ()
    tag: ClassVar[str] = "waiting_for_clients"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientJoined(Event):
    """A client is there that was not at the last round; `connected` counts all."""

    client: str
    connected: int = 0
    tag: ClassVar[str] = "client_joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLeft(Event):
    """A client that was there is offline, or has stayed silent too long."""

    client: str
    connected: int = 0
    tag: ClassVar[str] = "client_left"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientNamed(Event):
    """A client says which SuperNode it is: the name of its VM, or of its machine, and its partition.

    `client` is Flower's id, which is another after each start of the SuperNode.
    """

    client: str
    name: str
    partition: int | None = None
    tag: ClassVar[str] = "client_named"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsAssigned(Event):
    """The table of the [parts of the data](opennebula.md#which-part-of-the-data) that is used from round on.

    Written on OpenNebula, when the table has changed and at the start of each run. `members` are VM ids; the
    one at place i has part i.
    """

    round: int
    members: tuple[int, ...]
    tag: ClassVar[str] = "parts_assigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyReceived(Event):
    """A client has answered `phase`, after `seconds`."""

    round: int
    phase: Task = Task.TRAIN
    client: str
    seconds: float = 0.0
    tag: ClassVar[str] = "reply_received"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLeftOut(Event):
    """What `ClientQuarantined` and `ClientFailed` say of a client that a round goes on without."""

    round: int
    client: str
    code: LeftOutCode = LeftOutCode.OTHER
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientQuarantined(ClientLeftOut):
    """An update failed its check and was left out; `code` is the kind of the reason."""

    tag: ClassVar[str] = "client_quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFailed(ClientLeftOut):
    """A client answered with an error, or not in time; `code` is the kind of the reason."""

    tag: ClassVar[str] = "client_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientBounded(Event):
    """An update is used, but not as it came: its weight or its change was above the bound of the round."""

    round: int
    client: str
    code: LeftOutCode = LeftOutCode.OTHER
    reason: str
    tag: ClassVar[str] = "client_bounded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStateKept(Event):
    """Clients keep state of their own (`context.state`), which no checkpoint holds: in memory, or on disk."""

    round: int
    rounds: int = 0
    records: tuple[str, ...]
    kept: str = "memory"
    tag: ClassVar[str] = "client_state_kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStateLost(Event):
    """After a resume the clients' own state starts empty; with `clients`, that of those alone."""

    round: int
    rounds: int = 0
    records: tuple[str, ...]
    clients: tuple[str, ...] = ()
    reason: str = ""
    tag: ClassVar[str] = "client_state_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSeen(Event):
    """What a client's reply says of its GPUs, once a round at most; none without FL_GPU_ENABLED=YES.

    `device` is what its app trains on: `cpu`, or the GPU's name; empty where the app does not say it. Each of
    `gpus` has those of these that the GPU can tell: `index`, `instance` (of MIG), `uuid`, `name`,
    `utilisation` (0 to 1), `memory_used_bytes`, `memory_total_bytes`, `temperature_c`, `power_w`,
    `ecc_errors`, and `xids`, the XID errors during the message: how often, by number.
    """

    round: int
    client: str
    device: str = ""
    gpus: tuple[Reading, ...] = ()
    tag: ClassVar[str] = "gpu_seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChanged(Event):
    """After a resume `clients` clients train on another kind of device: the result may have other bytes."""

    round: int
    rounds: int = 0
    clients: int = 1
    reason: str
    tag: ClassVar[str] = "device_changed"
