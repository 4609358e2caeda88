"""`oneflower appliance doctor` on a machine with real systemd: well, and after things were broken."""

import io
import json
import tarfile

import pytest
from hosts_watching import failure_of, own_kind

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(300)]

ONEFLOWER = "/opt/oneflower/venv/bin/oneflower"
CHECKPOINTS = "/opt/flower/checkpoints"


def doctor(host, *words):
    """Return what doctor found by check: the worst outcome, and everything that was said."""
    document = json.loads(host.run(ONEFLOWER, "appliance", "doctor", "--json", *words, check=False))
    worst = {}
    for row in document["checks"]:
        outcome, said = worst.get(row["check"], ("skipped", ""))
        ranks = ["skipped", "ok", "warning", "problem"]
        outcome = max(outcome, row["outcome"], key=ranks.index)
        worst[row["check"]] = (outcome, f"{said}{row['found']} -> {row['fix']}\n")
    return document["ok"], worst


@own_kind
def test_doctor_finds_what_was_broken_and_names_the_remedy(lab, service, wait, tell):
    """All is well on a machine that is READY; then each thing that is broken is told with its remedy."""
    host, (node, _) = service
    for each in (host, node):
        each.boot()
        wait(f"{each.role} is READY", each.is_ready, describe=lambda each=each: failure_of(each))
    before = host.run("systemctl", "show", "--property=InvocationID", "flower-superlink.service")
    well, found = doctor(host)
    tell(host.run(ONEFLOWER, "appliance", "doctor", check=False))
    assert well, found
    assert bad(found) == {}
    assert found["onegate-publish"][0] == found["tls"][0] == found["fleet-api"][0] == "ok"
    assert "FL_DOCTOR" not in host.published()
    assert host.run("systemctl", "show", "--property=InvocationID", "flower-superlink.service") == before
    well, found = doctor(node)
    assert well, found
    assert bad(found) == {}
    assert found["registration"][0] == found["service"][0] == found["tls"][0] == "ok"

    # Without it the unit cannot start again, however slow this machine is.
    host.run("mv", "/opt/flower/config/flower-superlink.env", "/opt/flower/config/gone")
    host.run("systemctl", "kill", "--signal=SIGKILL", "flower-superlink.service")
    host.run("systemctl", "stop", "flower-report.service")
    host.run("chown", "root:root", CHECKPOINTS)
    host.run("chmod", "0755", CHECKPOINTS)
    lab._stop_onegate()
    well, found = doctor(host, "--bundle", "/root/report.tar.gz")
    tell(host.run(ONEFLOWER, "appliance", "doctor", check=False))
    assert not well
    expected = {
        "flower-superlink.service": "systemctl restart flower-superlink.service",
        "flower-report.service": "systemctl start flower-report.service",
        "folder-checkpoints": f"chown 49999:49999 {CHECKPOINTS}",
        "onegate": "opennebula-gate",
        "route": "refuses connections",
    }
    for name, remedy in expected.items():
        outcome, said = found[name]
        assert outcome == "problem", (name, said)
        assert remedy in said, (name, said)
    holds_a_bundle(host)
    well, found = doctor(node)
    tell(node.run(ONEFLOWER, "appliance", "doctor", check=False))
    assert (well, bad(found).keys() >= {"onegate", "route"}) == (False, True)


def bad(found):
    return {name: said for name, (outcome, said) in found.items() if outcome not in ("ok", "skipped")}


def holds_a_bundle(host):
    file = host.file("/root/report.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(file.read_bytes())) as archive:
        texts = {member.name: archive.extractfile(member).read().decode() for member in archive}
    assert "opennebula-gate" in texts["report/doctor.txt"]
    unit = texts["report/units/flower-superlink.service.txt"]
    assert "ExecStart=" in unit
    assert "Main process exited" in unit
    assert host.token not in "".join(texts.values())
    assert file.stat().st_mode & 0o777 == 0o600
