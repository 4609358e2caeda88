"""A unit gives its program the arguments as they are, without a shell, without secrets, without rights."""

import os
import shutil
import subprocess

import pytest

from oneflower import __version__
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.units import container_unit, report_unit
from oneflower.opennebula.roles import Machine
from oneflower.settings import resolve

LAYOUT = Layout()


def superlink(**given_values):
    return services.superlink_containers(resolve({}, given_values).settings, LAYOUT)


def supernode(pairs=None, **given_values):
    settings = resolve({}, given_values).settings
    return services.supernode_containers(settings, LAYOUT, superlink="10.77.0.2:9092", pairs=pairs or {})


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, ""),
        ({"FL_USE_CASE": "image-classification"}, ""),
        ({"FL_USE_CASE": "tabular-classification"}, "-sklearn"),
        ({"FL_USE_CASE": "xgboost-bagging"}, "-sklearn"),
        ({"ML_FRAMEWORK": "tensorflow"}, "-tensorflow"),
        ({"ML_FRAMEWORK": "jax"}, "-tensorflow"),
        ({"ML_FRAMEWORK": "any"}, "-sklearn"),
    ],
)
def test_the_framework_chooses_the_image_of_both_roles(given, kind):
    for containers, role in ((superlink(**given), "superlink"), (supernode(**given), "supernode")):
        for container in containers:
            assert f"oneflower-{role}{kind}:{__version__}" in container.command()


@pytest.mark.parametrize(
    "container",
    [*superlink(FL_USE_CASE="image-classification"), *supernode()],
    ids=lambda container: container.name,
)
class TestEveryContainer:
    def test_it_has_no_rights(self, container):
        command = container.command()
        for option in (
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--read-only",
            "--user=49999:49999",
            "--pull=never",
        ):
            assert option in command

    def test_it_sees_no_secret_of_the_machine(self, container):
        """The authority's key lies in the configuration, which is never mounted."""
        sources = [mount.source for mount in container.mounts]
        assert not [source for source in sources if str(LAYOUT.authority).startswith(source)]
        assert not [source for source in sources if str(LAYOUT.config).startswith(source)]

    def test_it_may_write_its_state_only(self, container):
        writable = [mount.target for mount in container.mounts if mount.writable]
        assert writable == ([] if container.name == "flower-dashboard" else ["/app/state", "/app/sockets"])

    def test_only_the_dashboard_is_without_the_sockets(self, container):
        """They command the cluster, and the dashboard only reads; its user is that of the others."""
        given = services.environment(container, resolve({}, {}))
        assert ("ONEFLOWER_SOCKETS=/app/sockets" in given) == (container.name != "flower-dashboard")

    def test_it_runs_in_the_foreground_and_comes_back(self, container):
        text = container_unit(container)
        assert ("Restart=on-failure" if container.supervises else "Restart=always") in text
        assert ("--init" in text) != container.supervises
        assert "RestartSec=10" in text
        assert "StartLimitIntervalSec=0" in text
        assert f"ExecStop=/usr/bin/docker stop --time 5 {container.name}" in text
        assert "--detach" not in text
        assert "/bin/sh" not in text


def test_checkpoints_are_mounted_where_the_operator_says():
    (mount,) = [
        m
        for m in superlink(FL_CHECKPOINT_ENABLED="YES", FL_CHECKPOINT_PATH="/data/c p")[0].mounts
        if m.target == "/data/c p"
    ]
    assert mount.option == "--volume=/opt/flower/checkpoints:/data/c p:rw"
    assert len(superlink()[0].mounts) == 7


@pytest.mark.parametrize("machine", [superlink, supernode])
@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("/app/models", "/app/models"),
        ("/app/models/smollm2-135m", "/app/models"),
        ("/app/data/model", "/app/models"),
        ("/mnt/llm", "/mnt/llm"),
    ],
)
def test_models_are_mounted_read_only_where_the_base_model_is_looked_for(machine, asked, target):
    container = machine(FL_BASE_MODEL=asked, FL_USE_CASE="llm-fine-tuning")[0]
    (mount,) = [mount for mount in container.mounts if mount.source == "/opt/flower/models"]
    assert mount.option == f"--volume=/opt/flower/models:{target}:ro"


def test_the_supervisor_is_told_the_base_model_and_sends_it_with_the_run():
    _, supervisor, _ = superlink(FL_USE_CASE="llm-fine-tuning")
    told = environment(supervisor, FL_BASE_MODEL="/app/models/a b")
    assert told["FL_BASE_MODEL"] == "/app/models/a b"


def test_the_supervisor_submits_an_app_or_adopts_what_somebody_submits():
    for given in ({"FL_USE_CASE": "image-classification"}, {"FL_APP": "my-app"}):
        _, supervisor, _ = superlink(**given)
        assert "--adopt" not in supervisor.arguments
    assert superlink()[1].arguments[:3] == ("supervise", "--adopt", "/app/state/ffs")


def test_apps_are_mounted_read_only_on_both_machines():
    for container in (*superlink()[:2], *supernode()):
        assert "--volume=/opt/flower/apps:/app/apps:ro" in container.command()


def test_only_the_superlinks_programs_get_the_operators_run_config():
    """A ServerApp inherits it; a SuperNode gets its run-config from the SuperLink."""
    resolution = resolve({}, {})
    name = "ONEFLOWER_RUN_CONFIG=/app/service/run-config.json"
    assert name in services.environment(superlink()[0], resolution)
    assert name not in services.environment(supernode()[0], resolution)


def test_only_a_supernode_keeps_decoded_data_unless_it_may_not():
    name = "ONEFLOWER_DATA_CACHE"
    for off in ({}, {"FL_DATA_CACHE": "NO"}):
        resolution = resolve({}, off)
        assert name not in services.environment(superlink()[0], resolution)
        place = f"{name}=/app/state/decoded-data\n"
        assert (place in services.environment(supernode()[0], resolution)) == (not off)
        assert (name in services.environment(supernode()[0], resolution)) == (not off)


def test_a_supervisor_that_is_done_stays_done():
    """Its settings, its app or its training are wrong, or it has finished: another start changes nothing."""
    text = container_unit(superlink(FL_USE_CASE="image-classification")[1])
    assert "RestartPreventExitStatus=2 5 6" in text
    assert "RemainAfterExit=yes" in text


def test_executors_of_their_own_are_services():
    assert "flower-superexec" in [c.name for c in superlink(FL_ISOLATION="process")]
    assert "flower-superexec" in [c.name for c in supernode(FL_ISOLATION="process")]


def test_unlimited_retries_leave_the_flag_out():
    assert "--max-retries" not in supernode()[0].arguments
    assert "--max-retries" in supernode(FL_MAX_RETRIES="3")[0].arguments


def test_tls_is_on_unless_the_operator_turns_it_off():
    assert "--insecure" not in superlink()[0].arguments
    assert "/app/certs/superlink.key" in superlink()[0].arguments
    assert "/app/certs/ca.pem" in supernode()[0].arguments
    assert "--insecure" in supernode(FL_TLS_ENABLED="NO")[0].arguments


def environment(container, **given_values):
    return dict(
        line.split("=", 1) for line in services.environment(container, resolve({}, given_values)).splitlines()
    )


def test_only_the_supervisor_reads_the_variables_of_the_training():
    """A changed number of rounds must not start the SuperLink anew."""
    link, supervisor, page = superlink(FL_USE_CASE="image-classification")
    values = {"FL_NUM_ROUNDS": "7", "FL_LOG_LEVEL": "DEBUG"}
    assert environment(supervisor, **values)["FL_NUM_ROUNDS"] == "7"
    assert "FL_NUM_ROUNDS" not in environment(link, **values)
    assert environment(link, **values)["FL_LOG_LEVEL"] == "DEBUG"
    assert environment(page, **values) == environment(page)
    assert environment(link)["ONEFLOWER_JOURNAL"] == "/app/state/journal.jsonl"


TOKEN = "7f3a9c51e08b6d24$(id)"


def test_the_page_is_for_its_own_machine_unless_the_operator_says_otherwise():
    assert superlink()[-1].arguments[-4:] == ("--host", "127.0.0.1", "--port", "8265")
    given_values = {"FL_DASHBOARD_ADDRESS": "[::]:80", "FL_DASHBOARD_TOKEN": TOKEN}
    page = superlink(**given_values)[-1]
    assert page.arguments[-4:] == ("--host", "::", "--port", "80")
    assert environment(page, **given_values)["ONEFLOWER_DASHBOARD_TOKEN"] == TOKEN
    assert TOKEN not in container_unit(page)


def test_the_page_sees_the_journal_and_the_checkpoints_and_no_certificate():
    page = superlink(FL_CHECKPOINT_ENABLED="YES")[-1]
    assert [mount.option for mount in page.mounts] == [
        "--volume=/opt/flower/state:/app/state:ro",
        "--volume=/opt/flower/checkpoints:/app/checkpoints:ro",
    ]


def test_the_page_goes_before_the_training_when_memory_runs_out():
    assert [c.name for c in superlink() if "--oom-score-adj=500" in c.command()] == ["flower-dashboard"]


def test_no_key_reaches_an_environment():
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    given_values = {
        "FL_SSL_CA_CERTFILE": pem,
        "FL_SSL_CERTFILE": pem,
        "FL_SSL_KEYFILE": key,
        "FL_USE_CASE": "image-classification",
    }
    for container in superlink(**given_values):
        assert not [name for name in environment(container, **given_values) if "SSL" in name]


def test_telemetry_is_off_everywhere():
    for container in [*superlink(), *supernode()]:
        assert environment(container)["FLWR_TELEMETRY_ENABLED"] == "0"


def test_a_supernode_with_gpus_knows_that_it_has_the_chosen_ones_alone():
    """They have numbers from 0 in its container."""
    line = "ONEFLOWER_GPUS_CHOSEN=YES"
    with_gpus = resolve({"FL_GPU_ENABLED": "YES", "FL_CUDA_VISIBLE_DEVICES": "3"}, {})
    assert line in services.environment(supernode()[0], with_gpus).splitlines()
    assert line not in services.environment(supernode()[0], resolve({}, {})).splitlines()
    assert line not in services.environment(superlink()[0], with_gpus).splitlines()


@pytest.mark.parametrize("machine", list(Machine))
def test_the_report_has_no_token_in_its_unit(machine):
    text = report_unit(machine)
    assert f"appliance report --role {machine}" in text
    assert "TOKEN" not in text
    assert os.linesep in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_every_unit(tmp_path):
    """Programs that are not installed here are all that it may miss."""
    containers = [
        *superlink(FL_USE_CASE="image-classification", FL_ISOLATION="process"),
        *supernode({"a": "$x %n"}),
    ]
    units = {container.unit: container_unit(container) for container in containers}
    units["flower-report.service"] = report_unit(Machine.SUPERLINK)
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in units)],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "flower-" in line]
    assert not [
        line for line in said if "is not executable" not in line and "Failed to create" not in line
    ], said
