"""Check the service as OneGate shows it: roles, VMs, and the values that the SuperLink has published."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import httpx

from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.opennebula.doctor.asking import ask
from oneflower.opennebula.doctor.host import Host
from oneflower.opennebula.onegate import find_superlink
from oneflower.opennebula.onegate.encoding import decode
from oneflower.opennebula.roles import Machine
from oneflower.tls import certificate_problems

SERVICE = "service"
_CHECK_THE_SUPERLINK = "run `oneflower appliance doctor` on the SuperLink"


def service(host: Host) -> Iterator[Finding]:
    """Read the service as a SuperNode does to find its SuperLink."""
    if host.onegate is None or host.facts.vm is None:
        yield skipped(SERVICE, "OneGate did not respond")
        return
    try:
        answer = ask(host.onegate.access, "/service?extended=true", host.layout.onegate_lock)
    except httpx.TransportError as error:
        yield problem(SERVICE, f"OneGate did not respond ({type(error).__name__})", "run doctor again")
        return
    found = (answer.content or {}).get("SERVICE")
    if answer.status == HTTPStatus.OK and isinstance(found, dict):
        host.facts.service = found
        yield from _look(host, found)
    elif answer.status == HTTPStatus.BAD_REQUEST:
        yield _alone(host)
    else:
        text = f"OneGate responded with status {answer.status} ({' '.join(answer.text.split())[:120]})"
        yield problem(
            SERVICE, text, "on the front-end: `systemctl status opennebula-flow`; oneflow.log has the reason"
        )


def _alone(host: Host) -> Finding:
    text = "this VM does not belong to a OneFlow service"
    resolution = host.facts.resolution
    if host.machine is Machine.SUPERLINK:
        fix = "set FL_SUPERLINK_ADDRESS and FL_SSL_CA_CERTFILE on the SuperNodes, or start a service"
        return warning(SERVICE, f"{text}: SuperNodes cannot find it by themselves", fix)
    if resolution and resolution.settings.superlink_address:
        return ok(SERVICE, f"{text}; FL_SUPERLINK_ADDRESS is used")
    return problem(
        SERVICE, f"{text}: its SuperLink cannot be found", "start a service, or set FL_SUPERLINK_ADDRESS"
    )


def _look(host: Host, found: Mapping[str, Any]) -> Iterator[Finding]:
    roles = [role for role in found.get("roles") or [] if isinstance(role, dict)]
    names = {str(role.get("name")) for role in roles}
    expected = {machine.value for machine in Machine}
    if not expected <= names:
        text = f"the roles are {', '.join(sorted(names)) or 'none'}; expected superlink and supernode"
        yield problem(
            SERVICE, text, "rename the roles of the OneFlow template (`oneflower template oneflow`)"
        )
    vms = {str(role.get("name")): _vms(role) for role in roles}
    vm_id = host.onegate.access.vm_id if host.onegate else ""
    own = [name for name, each in vms.items() if vm_id in {str(vm.get("ID")) for vm in each}]
    if own and own[0] in expected and own[0] != host.machine.value:
        fix = "the role's vm_template uses the wrong image: correct the OneFlow template"
        yield problem(
            SERVICE, f"this VM has the role {own[0]}, but its image is for a {host.machine.label}", fix
        )
    counts = ", ".join(
        f"{name} {len(each)} {'VM' if len(each) == 1 else 'VMs'}" for name, each in vms.items()
    )
    yield from _published(host, found, vms.get(Machine.SUPERLINK.value, []), counts)


def _published(
    host: Host, found: Mapping[str, Any], links: list[Mapping[str, Any]], counts: str
) -> Iterator[Finding]:
    """Check FL_ENDPOINT and FL_CA_CERT, from which SuperNodes get the SuperLink's address and CA."""
    templates = [(str(vm.get("ID")), vm.get("USER_TEMPLATE") or {}) for vm in links]
    for vm_id, template in templates:
        if template.get("FL_CA_CERT"):
            yield from _ca_problems(host, vm_id, str(template["FL_CA_CERT"]))
    link = find_superlink(found)
    if link is not None:
        ca = "with its CA" if link.ca else "without a CA"
        text = f"{counts}; the SuperLink has published {link.address} {ca}"
        if host.tls_is_on() and not link.ca:
            yield problem(
                SERVICE,
                f"{text}, but TLS is enabled here",
                "set FL_TLS_ENABLED to the same value for both roles",
            )
        else:
            yield ok(SERVICE, text)
        return
    states = ", ".join(
        f"VM {vm_id} has FL_STATE {each.get('FL_STATE', '(none)')}" for vm_id, each in templates
    )
    text = f"{counts}; no SuperLink has published its address ({states or 'there is no VM'})"
    if host.machine is Machine.SUPERLINK:
        yield problem(SERVICE, text, "bootstrap has not succeeded: fix the problems listed here, then reboot")
    else:
        yield problem(SERVICE, text, _CHECK_THE_SUPERLINK)


def _ca_problems(host: Host, vm_id: str, published: str) -> Iterator[Finding]:
    try:
        pem = decode("FL_CA_CERT", published).strip().encode()
    except ValueError as error:
        yield problem(SERVICE, f"VM {vm_id}: {error}", f"{_CHECK_THE_SUPERLINK}, and reboot it")
        return
    for text in certificate_problems(host.now(), ca=pem):
        found = text.replace("FL_SSL_CA_CERTFILE", f"the FL_CA_CERT of VM {vm_id}")
        yield problem(SERVICE, found, _CHECK_THE_SUPERLINK)


def _vms(role: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    nodes = [node for node in role.get("nodes") or [] if isinstance(node, dict)]
    return [vm for node in nodes if (vm := (node.get("vm_info") or {}).get("VM"))]
