"""Check that the container engine responds and has the image."""

import json
from collections.abc import Iterator

from oneflower.errors import ClusterError
from oneflower.findings import Finding, ok, problem, skipped
from oneflower.opennebula.appliance.units import DOCKER
from oneflower.opennebula.doctor.host import Host, last_error

ENGINE, IMAGE = "docker", "image"
INFO = (
    DOCKER,
    "info",
    "--format",
    '{"version": {{json .ServerVersion}}, "options": {{json .SecurityOptions}}}',
)


def engine(host: Host) -> Iterator[Finding]:
    """Check that the engine responds, and that it uses no user namespaces, which would remap user 49999."""
    try:
        output = host.commands.run(*INFO)
    except ClusterError as error:
        missing = "not installed" in str(error)
        fix = (
            "use the disk image, which contains Docker; on another machine: apt install docker.io"
            if missing
            else "systemctl restart docker; `journalctl -u docker` has the reason, often a full disk"
        )
        yield problem(ENGINE, f"it does not respond: {last_error(str(error))}", fix)
        return
    try:
        found = json.loads(output)
        version, options = str(found["version"]), [str(each) for each in found["options"] or []]
    except (ValueError, KeyError, TypeError):
        yield problem(
            ENGINE,
            f"unexpected output {output[:100]!r}",
            "expected Docker or podman-docker as /usr/bin/docker",
        )
        return
    host.facts.docker_answers = True
    mapped = [each for each in options if "userns" in each or "rootless" in each]
    if mapped:
        text = (
            f"version {version} maps users ({', '.join(mapped)}): user {host.layout.uid} owns no files there"
        )
        yield problem(
            ENGINE, text, "remove userns-remap from /etc/docker/daemon.json, run Docker as root, and reboot"
        )
    else:
        yield ok(ENGINE, f"version {version} responds, without user namespaces")


def image(host: Host) -> Iterator[Finding]:
    """Check that the image of the role exists; none is pulled."""
    name = host.machine.container_image
    if not host.facts.docker_answers:
        yield skipped(IMAGE, "Docker does not respond")
        return
    try:
        found = host.commands.run(DOCKER, "image", "inspect", "--format", "{{.Id}}", name)
    except ClusterError as error:
        fix = "the disk image contains it: use one of this version, or run /opt/oneflower/image/install.sh"
        yield problem(IMAGE, f"{name} does not exist: {last_error(str(error))}", f"{fix} {host.machine}")
    else:
        yield ok(IMAGE, f"{name} exists ({found.strip()[:19]})")
