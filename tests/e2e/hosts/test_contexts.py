"""What a machine makes of a context that is wrong, hostile, or changed."""

import pytest
from hosts_watching import TRAINING, both_kinds, failure_of, is_ready

from oneflower.opennebula.onegate.encoding import decode

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1500)]


@both_kinds
def test_a_bad_context_is_told_with_all_its_mistakes(lab, wait, tell):
    """Not READY, FL_ERROR names everything, so does the journal of the unit; a good context then boots."""
    mistakes = {
        "FL_STRATEGY": "FedMagic",
        "FL_NUM_ROUNDS": "0",
        "FL_NODE_CONFIG": "$(touch /pwned)",
        "FL_CHECKPOINT_PATH": "`touch /pwned`",
    }
    host = lab.add("superlink", 10, **mistakes)
    lab.start_onegate()
    host.boot()
    wait(
        "FL_STATE is failed",
        lambda: host.published().get("FL_STATE") == "failed",
        describe=lambda: failure_of(host),
    )
    told = decode("FL_ERROR", host.published()["FL_ERROR"])
    tell("FL_ERROR, decoded:\n" + told)
    wait(
        "the stage has ended",
        lambda: host.file("/etc/one-appliance/status").read_text() == "configure_failure\n",
    )
    tell("journal:\n" + host.log())
    for name in mistakes:
        assert name in told
        wait(f"the journal names {name}", lambda name=name: host.says(name), timeout_s=60)
    assert not host.published()["gate"]
    assert not host.file("/pwned").exists()
    assert not host.file("/opt/flower").exists()

    host.context = {}
    host.kill()
    host.boot()
    wait("the mended host is READY", host.is_ready, describe=lambda: failure_of(host))
    assert "FL_ERROR" not in host.published()
    tell(
        host.run(
            "systemctl",
            "--no-pager",
            "show",
            "-p",
            "ActiveState",
            "-p",
            "ExecStart",
            "flower-superlink.service",
        )
    )


@both_kinds
def test_a_hostile_context_is_inert_on_a_real_host(lab, wait, tell):
    """Texts that every form accepts, and that a shell, systemd or Docker would take for more than text."""
    hostile = "$(touch /pwned)`touch /pwned`;touch${IFS}/pwned %n %%i \\ ' --privileged"
    link = lab.add(
        "superlink",
        10,
        FL_USE_CASE="image-classification",
        FL_CHECKPOINT_ENABLED="YES",
        FL_CHECKPOINT_PATH=f"/app/{hostile}",
        FL_DATABASE=f"state/{hostile}.db",
        FL_DASHBOARD_ADDRESS="0.0.0.0:8265",
        FL_DASHBOARD_TOKEN="$(touch${IFS}/pwned)`touch${IFS}/pwned`%n",
    )
    note = "$(touch /pwned)`touch /pwned`;touch${IFS}/pwned %n %%i --privileged"
    node = lab.add("supernode", 11, FL_NODE_CONFIG=f'partition-id=0 num-partitions=1 note="{note}"')
    lab.start_onegate()
    for host in (link, node):
        host.boot()
        wait(f"{host.role} is READY", lambda host=host: is_ready(host), describe=lambda h=host: failure_of(h))
        for path in ("/pwned", "/opt/flower/state/pwned", "/opt/flower/checkpoints/pwned"):
            assert not host.file(path).exists()
        mains = host.run(
            "systemctl", "show", "--property=ActiveState", "--value", f"flower-{host.role}.service"
        )
        assert mains.strip() == "active"
    assert link.file(f"/opt/flower/state/state/{hostile.rpartition('/')[0]}").is_dir()
    tell("no marker was made, and the database lies where the text says")
    wait("the page is there", lambda: link.is_reached(8265), describe=lambda: failure_of(link))
    token = link.context["FL_DASHBOARD_TOKEN"]
    assert (page_status(link), page_status(link, token[:-1]), page_status(link, token)) == (
        "401",
        "401",
        "200",
    )
    tell("the page asks for its token, and opens with it")


def page_status(host, token=""):
    command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
    command += ["--header", f"Authorization: Bearer {token}"] if token else []
    return host.run(*command, "http://127.0.0.1:8265/metrics")


@both_kinds
def test_a_boot_changes_only_what_its_context_changes(lab, wait, tell):
    """Stages run again on the running host; a reboot of one's own starts everything again."""
    host = lab.add("superlink", 10, **TRAINING)
    lab.start_onegate()
    host.boot()
    wait("superlink is READY", host.is_ready, describe=lambda: failure_of(host))

    def invocation(unit):
        return host.run("systemctl", "show", "--property=InvocationID", "--value", unit).strip()

    units = ("flower-superlink.service", "flower-supervisor.service")
    first = [invocation(unit) for unit in units]
    host.update_context(NOTE="a value that no variable holds")
    assert [invocation(unit) for unit in units] == first
    tell("the stages ran again: no unit was started anew")
    host.update_context(FL_NUM_ROUNDS="5")
    link, supervisor = (invocation(unit) for unit in units)
    assert (link, supervisor != first[1]) == (first[0], True)
    tell("FL_NUM_ROUNDS changed: the supervisor was started anew, the SuperLink was not")
