"""Does the container engine answer, and is the image there."""

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
    """Ask the engine, and look for user namespaces: they change who user 49999 is."""
    try:
        said = host.commands.run(*INFO)
    except ClusterError as error:
        missing = "not installed" in str(error)
        mend = (
            "use the disk image, which brings Docker; on another machine: apt install docker.io"
            if missing
            else "systemctl restart docker; `journalctl -u docker` says why it ended, often a full disk"
        )
        yield problem(ENGINE, f"it does not answer: {last_error(str(error))}", mend)
        return
    try:
        found = json.loads(said)
        version, options = str(found["version"]), [str(each) for each in found["options"] or []]
    except (ValueError, KeyError, TypeError):
        yield problem(
            ENGINE, f"it answered {said[:100]!r}", "expected Docker, or podman-docker, as /usr/bin/docker"
        )
        return
    host.learned.docker_answers = True
    mapped = [each for each in options if "userns" in each or "rootless" in each]
    if mapped:
        text = (
            f"version {version} maps users ({', '.join(mapped)}): user {host.layout.uid} owns nothing inside"
        )
        yield problem(
            ENGINE, text, "remove userns-remap from /etc/docker/daemon.json, run it as root; reboot"
        )
    else:
        yield ok(ENGINE, f"version {version} answers, and maps no users")


def image(host: Host) -> Iterator[Finding]:
    """See that the image of the role is there: nothing is pulled."""
    name = host.machine.container_image
    if not host.learned.docker_answers:
        yield skipped(IMAGE, "Docker does not answer")
        return
    try:
        found = host.commands.run(DOCKER, "image", "inspect", "--format", "{{.Id}}", name)
    except ClusterError as error:
        mend = "the disk image carries it: use one of this version, or run /opt/oneflower/image/install.sh"
        yield problem(IMAGE, f"{name} is not there: {last_error(str(error))}", f"{mend} {host.machine}")
    else:
        yield ok(IMAGE, f"{name} is there ({found.strip()[:19]})")
