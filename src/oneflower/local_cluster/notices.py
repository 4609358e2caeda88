"""What `oneflower up` does otherwise than an appliance with the same variables, said before it starts."""

from collections.abc import Iterator

from oneflower.local_cluster.ports import LOOPBACK
from oneflower.settings import Notice, Resolution
from oneflower.settings.formats import is_loopback, split_address


def notices_of_up(resolution: Resolution) -> Iterator[Notice]:
    """Yield what an operator gave that holds otherwise here, or not at all."""
    yield from _addresses(resolution)
    yield from _tls(resolution)
    if resolution.settings.app:
        yield Notice(
            level="warning",
            text=f"FL_APP={resolution.settings.app} has no effect: it names an app of an appliance; "
            "`oneflower up` takes --app",
        )
    if not resolution.settings.checkpoint_enabled:
        text = "checkpoints are off: after a crash the training starts from round 1"
        yield Notice(level="warning", text=f"{text}; FL_CHECKPOINT_ENABLED=YES turns them on")


def _addresses(resolution: Resolution) -> Iterator[Notice]:
    for variable in ("FL_FLEET_API_ADDRESS", "FL_DASHBOARD_ADDRESS"):
        address = resolution.provenance[variable].given
        if address and not is_loopback(split_address(address)[0]):
            text = f"{variable}={address}: `oneflower up` uses that port, but listens on {LOOPBACK} only"
            yield Notice(level="info", text=text)
    yield from _control(resolution)


def _control(resolution: Resolution) -> Iterator[Notice]:
    address = resolution.provenance["FL_CONTROL_API_ADDRESS"].given
    port = split_address(address)[1] if address else None
    is_socket = resolution.settings.flower_workarounds
    place = f"the socket sockets/{port}.sock of the state folder" if is_socket else f"{LOOPBACK}:{port}"
    if address and not is_loopback(split_address(address)[0]):
        yield Notice(
            level="warning",
            text=f"FL_CONTROL_API_ADDRESS={address}: the Control API of `oneflower up` is {place} and cannot "
            "be reached from other machines",
        )
    if not resolution.provenance["FL_CONTROL_TOKEN"].is_default:
        yield Notice(
            level="info",
            text="FL_CONTROL_TOKEN has no effect: the Control API of `oneflower up` is for its own user on "
            "this machine, who needs no token",
        )


def _tls(resolution: Resolution) -> Iterator[Notice]:
    settings = resolution.settings
    if settings.tls_enabled and not settings.node_auth and resolution.provenance["FL_TLS_ENABLED"].is_default:
        yield Notice(
            level="warning",
            text="FL_NODE_AUTH is NO: `oneflower up` then connects its SuperNodes without TLS, unless "
            "FL_TLS_ENABLED=YES is given with it",
        )
