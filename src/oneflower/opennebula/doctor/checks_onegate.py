"""Check that OneGate responds, accepts this machine's token, and stores and erases values."""

import errno
import secrets
from collections.abc import Iterator
from http import HTTPStatus

import httpx

from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.opennebula.doctor import one_apps
from oneflower.opennebula.doctor.asking import ANSWER_S, CONNECT_S, Answer, ask
from oneflower.opennebula.doctor.host import Host
from oneflower.opennebula.onegate import Access, OneGate, OneGateError
from oneflower.opennebula.onegate.access import TokenRecord

ONEGATE, PUBLISH = "onegate", "onegate-publish"
PROBE = "FL_DOCTOR"
"""The key that is published and erased; nothing else in oneflower uses it."""

SLOW_S = 5.0
_ROUTE = (
    "check `ip route`, ETHx_GATEWAY and ETHx_ROUTES of the context, security groups, and `:bind:` of "
    "onegate-server.conf on the front-end"
)
_ONED = (
    "on the front-end: `systemctl status opennebula opennebula-gate`; /var/log/one/onegate.log has the reason"
)


def answers(host: Host) -> Iterator[Finding]:
    """Ask OneGate for this VM, and distinguish the reasons for a failure."""
    if host.onegate is None:
        yield skipped(ONEGATE, "this machine has no access to it")
        return
    access = host.onegate.access
    try:
        answer = ask(access, "/vm", host.layout.onegate_lock)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        yield _unreachable(access, error)
        return
    if answer.date:
        host.facts.clock_lead_s = (answer.middle - answer.date).total_seconds()
    found = answer.content or {}
    if answer.status == HTTPStatus.OK and isinstance(found.get("VM"), dict):
        host.facts.vm = found["VM"]
        yield _responded(access, answer)
    else:
        yield _refused(host, access, answer)


def round_trip(host: Host) -> Iterator[Finding]:
    """Publish a key of doctor's own, read it, erase it, and check that it is gone."""
    if host.onegate is None or host.facts.vm is None:
        yield skipped(PUBLISH, "OneGate did not respond")
    elif one_apps.is_running(host):
        # An erase writes back the whole USER_TEMPLATE and could undo what the stage publishes meanwhile.
        yield skipped(PUBLISH, "a stage is running, which itself publishes values")
    else:
        yield _round_trip(host.onegate)


def _round_trip(onegate: OneGate) -> Finding:
    value = f"probe-{secrets.token_hex(4)}"
    try:
        onegate.publish({PROBE: value})
        seen = _shown(onegate)
        onegate.erase([PROBE])
        left = _shown(onegate)
    except OneGateError as error:
        return _failed(error)
    if seen != value:
        return problem(
            PUBLISH,
            f"OneGate accepted {PROBE}={value}, but showed {seen or 'no value'} right after",
            "another process writes this VM's USER_TEMPLATE at the same time; run doctor again",
        )
    if left:
        return problem(PUBLISH, f"{PROBE} still exists after it was erased", f"run doctor again; {_ONED}")
    return ok(PUBLISH, f"{PROBE} was published, read and erased")


def _failed(error: OneGateError) -> Finding:
    left = f"if {PROBE} still exists: `onegate vm update --erase {PROBE}`"
    if "403" in str(error):
        fix = "allow `:vm: :update:` under :permissions: in onegate-server.conf on the front-end"
        return problem(PUBLISH, str(error), fix)
    return problem(PUBLISH, str(error), f"{_ONED}; {left}")


def _shown(onegate: OneGate) -> str:
    return onegate.template().get(PROBE, "")


def _responded(access: Access, answer: Answer) -> Finding:
    text = f"{access.endpoint} accepted the token of VM {access.vm_id} in {answer.seconds:.1f} s"
    if answer.seconds > SLOW_S:
        return warning(ONEGATE, text, f"oned is slow or has too few connections (MAX_CONN); {_ONED}")
    return ok(ONEGATE, text)


def _unreachable(access: Access, error: Exception) -> Finding:
    where, cause = access.endpoint, _root(error)
    if isinstance(error, httpx.ConnectTimeout):
        return problem(ONEGATE, f"no connection to {where} within {CONNECT_S:.0f} s", _ROUTE)
    if isinstance(error, httpx.TimeoutException):
        return problem(
            ONEGATE, f"{where} accepted the request but did not respond within {ANSWER_S:.0f} s", _ONED
        )
    if isinstance(error, httpx.ConnectError) and _number(cause) == errno.ECONNREFUSED:
        return problem(ONEGATE, f"{where} refuses connections: OneGate is not running there", _ONED)
    if isinstance(error, httpx.ConnectError):
        return problem(ONEGATE, f"{where} cannot be reached: {cause}", _ROUTE)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return problem(
            ONEGATE, f"ONEGATE_ENDPOINT is {where!r}: {error}", "set onegate_endpoint in oned.conf"
        )
    return problem(ONEGATE, f"{where} closed the connection: {cause}", _ONED)


def _refused(host: Host, access: Access, answer: Answer) -> Finding:
    body = " ".join(answer.text.split())[:120]
    text = f"{access.endpoint} responded with status {answer.status} ({body or 'no text'})"
    match answer.status:
        case HTTPStatus.UNAUTHORIZED:
            return problem(
                ONEGATE,
                f"{text}, {TokenRecord(host.layout.token_record, access).explain_refusal()}",
                f"compare VMID {access.vm_id} with `onevm show`; a recreated VM needs its new context: "
                f"reboot it. If other VMs are refused too, {_ONED}",
            )
        case HTTPStatus.NOT_FOUND:
            return problem(
                ONEGATE,
                f"{text}: oned does not respond, or has no VM {access.vm_id}",
                f"{_ONED}; `onevm show`",
            )
        case HTTPStatus.FORBIDDEN:
            return problem(ONEGATE, text, "allow `:vm: :show:` under :permissions: in onegate-server.conf")
        case HTTPStatus.OK:
            return problem(ONEGATE, f"{text}: this is not OneGate", "check onegate_endpoint in oned.conf")
        case _:
            return problem(ONEGATE, text, _ONED)


def _root(error: BaseException) -> BaseException:
    """Return the system's error that the libraries' errors wrap."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error


def _number(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None
