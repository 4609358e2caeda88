"""The stages: everything is checked first, what runs is what was asked for, and only changes change."""

import base64
import json
import os
import re
import secrets
import stat
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from flwr.common.config import parse_config_args

from oneflower.errors import ClusterError, OneflowerError, SettingsError, StateError
from oneflower.opennebula.appliance import bootstrap as bootstrapping
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance.bootstrap import bootstrap
from oneflower.opennebula.appliance.configure import configure
from oneflower.opennebula.appliance.report import look, renew
from oneflower.opennebula.onegate.encoding import decode
from oneflower.settings import TABLE, read_context, training_config
from oneflower.settings.values import Text
from oneflower.tls import certificate_problems, make_authority, make_server_certificate
from oneflower.tls.authority import SERVER_LIFETIME

IMAGES = {"FL_USE_CASE": "image-classification", "ETH0_IP": "10.77.0.2"}
LINK, SUPERVISOR, NODE = "flower-superlink.service", "flower-supervisor.service", "flower-supernode.service"
PAGE = "flower-dashboard.service"
as_root = pytest.mark.skipif(os.getuid() != 0, reason="files are given to another user")


@pytest.fixture(autouse=True)
def healthy(monkeypatch):
    """Flower is not started here: a test turns its health on and off. tests/e2e/hosts has the real one."""
    state = {"superlink": True}
    monkeypatch.setattr(bootstrapping, "superlink_answers", lambda settings, ca, sockets: state["superlink"])
    monkeypatch.setattr(bootstrapping, "HEALTH_TIMEOUT_S", 0.0)
    monkeypatch.setattr(joining, "CA_TIMEOUT_S", 0.0)
    monkeypatch.setattr(joining, "DISCOVERY_TIMEOUT_S", 0.0)
    monkeypatch.setattr(joining, "PARTITION_TIMEOUT_S", 0.0)  # no SuperLink runs that would hand out parts
    return state


def boot(stage):
    configure(stage)
    bootstrap(stage)
    return stage


def tree(root):
    """Content, mode and owner of every file."""
    return {
        path: (
            path.read_bytes(),
            stat.S_IMODE(path.stat().st_mode),
            path.stat().st_uid,
            path.stat().st_mtime_ns,
        )
        for path in root.rglob("*")
        if path.is_file()
    }


@as_root
def test_folders_have_their_owners_and_modes(stage_of, layout):
    configure(stage_of("superlink", **IMAGES, FL_CHECKPOINT_ENABLED="YES"))
    assert (
        layout.state.stat().st_uid == layout.certs.stat().st_uid == layout.checkpoints.stat().st_uid == 49999
    )
    assert (
        stat.S_IMODE(layout.config.stat().st_mode) == stat.S_IMODE(layout.authority.stat().st_mode) == 0o700
    )
    assert layout.config.stat().st_uid == layout.data.stat().st_uid == 0
    assert (layout.state / "state").stat().st_uid == 49999


def test_secrets_are_for_one_user(stage_of, layout):
    configure(stage_of("superlink", vm=10, **IMAGES))
    files = [
        layout.environment("flower-superlink"),
        layout.context,
        layout.authority / "ca.key",
        *(path for path in layout.certs.iterdir()),
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_no_checkpoint_folder_without_checkpoints(stage_of, layout):
    configure(stage_of("superlink", **IMAGES))
    assert not layout.checkpoints.exists()


@as_root
def test_checkpoints_that_cannot_be_written_are_found_at_boot(stage_of, layout):
    layout.base.mkdir(parents=True)
    layout.checkpoints.write_text("a file in the way")
    with pytest.raises(StateError, match="FL_CHECKPOINT_ENABLED"):
        configure(stage_of("superlink", **IMAGES, FL_CHECKPOINT_ENABLED="YES"))


def test_all_mistakes_are_told_at_once_and_nothing_is_written(stage_of, onegate, layout):
    context = {"FL_NUM_ROUNDS": "0", "FL_STRATEGY": "FedMagic", "FL_TRIM_BETA": "nan"}
    with pytest.raises(SettingsError):
        configure(stage_of("superlink", vm=10, **context))
    template = onegate.state.vms[10]["template"]
    told = decode("FL_ERROR", template["FL_ERROR"])
    assert all(name in told for name in context)
    assert template["FL_STATE"] == "failed"
    assert not onegate.state.gate_is_open(10)
    assert not layout.base.exists()


def test_what_withstands_the_malicious_clients_is_logged_at_boot(stage_of, caplog):
    caplog.set_level("INFO")
    expected = {"FL_STRATEGY": "Robust", "FL_NUM_MALICIOUS": "1", "FL_MIN_AVAILABLE_CLIENTS": "3"}
    configure(stage_of("superlink", **IMAGES, **expected))
    assert "FL_STRATEGY=Robust is one of them. For uneven data choose Robust." in caplog.text


def test_configure_twice_changes_nothing(stage_of, layout):
    configure(stage_of("superlink", vm=10, **IMAGES))
    before = tree(layout.root)
    configure(stage_of("superlink", vm=10, **IMAGES))
    assert tree(layout.root) == before


def test_ready_comes_with_everything_and_after_health(stage_of, onegate):
    configure(stage_of("superlink", vm=10, **IMAGES))
    assert onegate.state.vms[10]["template"]["FL_STATE"] == "configuring"
    assert not onegate.state.gate_is_open(10)
    bootstrap(stage_of("superlink", vm=10, **IMAGES))
    template = onegate.state.vms[10]["template"]
    assert onegate.state.gate_is_open(10)
    assert template["FL_ENDPOINT"] == "10.77.0.2:9092"
    ca = decode("FL_CA_CERT", template["FL_CA_CERT"]).encode()
    assert list(certificate_problems(datetime.now(UTC), ca=ca)) == []


def test_a_superlink_that_does_not_answer_is_not_ready(stage_of, onegate, healthy):
    healthy["superlink"] = False
    configure(stage_of("superlink", vm=10, **IMAGES))
    with pytest.raises(ClusterError, match="does not respond"):
        bootstrap(stage_of("superlink", vm=10, **IMAGES))
    assert not onegate.state.gate_is_open(10)
    assert "does not respond" in decode("FL_ERROR", onegate.state.vms[10]["template"]["FL_ERROR"])


def test_a_unit_that_ends_at_once_is_not_ready(stage_of, onegate, commands):
    commands.broken = {SUPERVISOR}
    configure(stage_of("superlink", vm=10, **IMAGES))
    with pytest.raises(ClusterError, match=SUPERVISOR):
        bootstrap(stage_of("superlink", vm=10, **IMAGES))
    assert not onegate.state.gate_is_open(10)


def test_a_supervisor_that_gave_up_is_told_without_waiting(stage_of, onegate, commands, monkeypatch):
    monkeypatch.setattr(bootstrapping, "HEALTH_TIMEOUT_S", 1e9)
    commands.broken = commands.failed = {SUPERVISOR}
    with pytest.raises(ClusterError, match="has ended"):
        boot(stage_of("superlink", vm=10, **IMAGES))
    assert not onegate.state.gate_is_open(10)


def test_a_page_that_does_not_run_hinders_nothing(stage_of, onegate, commands, layout):
    """Neither one that ends at once, nor one that systemd cannot start: the machine is READY before it."""
    commands.broken = {PAGE}
    boot(stage_of("superlink", vm=10, **IMAGES))
    assert onegate.state.gate_is_open(10)
    assert commands.active == {LINK, SUPERVISOR, "flower-report.service"}

    def refuse(*command, run=commands.run):
        if command[1:] == ("restart", PAGE):
            assert onegate.state.gate_is_open(10)
            raise ClusterError("no such image")
        return run(*command)

    commands.run = refuse
    boot(stage_of("superlink", vm=10, **IMAGES))
    assert "FL_ERROR" not in onegate.state.vms[10]["template"]


def test_another_address_of_the_page_leaves_the_superlink_alone(stage_of, commands, layout):
    boot(stage_of("superlink", ETH0_IP="10.77.0.2"))
    commands.restarted()
    token = "7f3a9c51e08b6d24"
    open_page = {"FL_DASHBOARD_ADDRESS": "10.77.0.2:8265", "FL_DASHBOARD_TOKEN": token}
    boot(stage_of("superlink", ETH0_IP="10.77.0.2", **open_page))
    assert commands.restarted() == [SUPERVISOR, PAGE]
    assert token in layout.environment("flower-dashboard").read_text()
    assert token not in (layout.units / PAGE).read_text()


def test_a_page_for_other_machines_without_a_token_is_refused(stage_of):
    with pytest.raises(SettingsError, match="FL_DASHBOARD_TOKEN"):
        configure(stage_of("superlink", FL_DASHBOARD_ADDRESS="0.0.0.0:8265"))


def test_a_boot_after_a_failure_takes_the_error_away(stage_of, onegate):
    with pytest.raises(SettingsError):
        configure(stage_of("superlink", vm=10, FL_NUM_ROUNDS="x"))
    boot(stage_of("superlink", vm=10, **IMAGES))
    assert "FL_ERROR" not in onegate.state.vms[10]["template"]


def test_only_what_changed_is_started_anew(stage_of, commands):
    boot(stage_of("superlink", **IMAGES))
    assert commands.restarted() == [LINK, SUPERVISOR, PAGE]
    boot(stage_of("superlink", **IMAGES))
    assert commands.restarted() == []
    boot(stage_of("superlink", **IMAGES, FL_NUM_ROUNDS="9"))
    assert commands.restarted() == [SUPERVISOR]
    boot(stage_of("superlink", **IMAGES, FL_NUM_ROUNDS="9", FL_LOG_LEVEL="DEBUG"))
    assert commands.restarted() == [LINK, SUPERVISOR]


def test_a_reboot_starts_what_does_not_run(stage_of, commands):
    boot(stage_of("superlink", **IMAGES))
    commands.active.clear()
    commands.restarted()
    boot(stage_of("superlink", **IMAGES))
    assert commands.restarted() == [LINK, SUPERVISOR, PAGE]


def test_units_that_are_no_longer_asked_for_go(stage_of, layout, commands):
    boot(stage_of("superlink", **IMAGES, FL_ISOLATION="process"))
    assert (layout.units / "flower-superexec.service").exists()
    boot(stage_of("superlink", ETH0_IP="10.77.0.2"))
    assert commands.active == {LINK, SUPERVISOR, PAGE}
    assert not (layout.units / "flower-superexec.service").exists()


def test_the_authority_survives_a_reboot_and_a_new_address(stage_of, layout):
    configure(stage_of("superlink", **IMAGES))
    ca, certificate = layout.certificates.ca.read_bytes(), layout.certificates.certificate.read_bytes()
    configure(stage_of("superlink", **{**IMAGES, "ETH0_IP": "10.77.0.3"}))
    assert layout.certificates.ca.read_bytes() == ca
    assert layout.certificates.certificate.read_bytes() != certificate


def test_the_certificate_is_renewed_before_it_expires(stage_of, layout, commands):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    boot(stage_of("superlink", now=start, **IMAGES))
    before = layout.certificates.certificate.read_bytes()
    commands.restarted()
    renew(stage_of("superlink", now=start + SERVER_LIFETIME - timedelta(days=40), **IMAGES))
    assert layout.certificates.certificate.read_bytes() == before
    assert commands.restarted() == []
    renew(stage_of("superlink", now=start + SERVER_LIFETIME - timedelta(days=20), **IMAGES))
    assert layout.certificates.certificate.read_bytes() != before
    assert commands.restarted() == [LINK, SUPERVISOR]


@as_root
@pytest.mark.parametrize("folder", ["data", "models", "apps"])
def test_a_share_of_the_operators_is_left_as_it_is(stage_of, layout, folder):
    """A share refuses root of a guest what it would do to a folder of its own: nothing is asked of it."""
    share = getattr(layout, folder)
    share.mkdir(parents=True)
    share.chmod(0o750)
    os.chown(share, 4321, 4321)
    configure(stage_of("supernode", FL_SUPERLINK_ADDRESS="10.77.0.2:9092", FL_TLS_ENABLED="NO"))
    found = share.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o750, 4321, 4321)


def operators_own(hosts=("127.0.0.1", "10.77.0.2"), made=None):
    authority = make_authority(made or datetime.now(UTC))
    pair = make_server_certificate(authority, hosts, made or datetime.now(UTC))
    pems = (authority.certificate_pem(), *pair)
    names = ("FL_SSL_CA_CERTFILE", "FL_SSL_CERTFILE", "FL_SSL_KEYFILE")
    return {name: base64.b64encode(pem).decode() for name, pem in zip(names, pems, strict=True)}


def test_the_operators_own_certificates_are_used(stage_of, layout):
    own = operators_own()
    configure(stage_of("superlink", **IMAGES, **own))
    assert layout.certificates.key.read_bytes() == base64.b64decode(own["FL_SSL_KEYFILE"])
    assert not (layout.authority / "ca.key").exists()


@pytest.mark.parametrize("encodings", [0, 1, 2])
def test_the_operators_own_certificates_are_taken_in_every_form(stage_of, layout, encodings):
    """The command line of OpenNebula encodes a text64 answer, Sunstone leaves it as it was typed."""
    own = {name: base64.b64decode(text).decode() for name, text in operators_own().items()}
    given = dict(own)
    for _ in range(encodings):
        given = {name: base64.b64encode(text.encode()).decode() for name, text in given.items()}
    configure(stage_of("superlink", **IMAGES, **given))
    certificates = layout.certificates
    written = [path.read_text() for path in (certificates.ca, certificates.certificate, certificates.key)]
    assert written == list(own.values())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (operators_own(hosts=("10.77.0.2",)), "127.0.0.1"),
        (operators_own(made=datetime(2020, 1, 1, tzinfo=UTC)), "expired"),
        ({**operators_own(), "FL_SSL_KEYFILE": operators_own()["FL_SSL_KEYFILE"]}, "is not the key"),
    ],
)
def test_certificates_that_do_not_fit_are_refused_with_the_other_mistakes(stage_of, given, expected):
    with pytest.raises(SettingsError, match="(?s)FL_NUM_ROUNDS.*" + expected):
        configure(stage_of("superlink", FL_NUM_ROUNDS="0", **given))
    with pytest.raises(SettingsError, match=expected):
        configure(stage_of("superlink", **given))


@pytest.fixture
def superlink_is_up(client_of):
    """Publish what a SuperLink does, and return its authority."""
    authority = make_authority(datetime.now(UTC))
    client_of(10).publish(
        {"FL_ENDPOINT": "10.77.0.2:9092", "FL_CA_CERT": authority.certificate_pem().decode()}
    )
    return authority


def test_a_supernode_finds_its_superlink_and_its_part(stage_of, onegate, layout, superlink_is_up):
    boot(stage_of("supernode", vm=12))
    text = (layout.units / NODE).read_text()
    assert '"--superlink" "10.77.0.2:9092"' in text
    assert "partition-id=1 num-partitions=2 member-id=12 client-name='vm-12'" in text
    assert layout.certificates.ca.read_bytes() == superlink_is_up.certificate_pem()
    assert onegate.state.gate_is_open(12)


@pytest.mark.parametrize("cache", ["YES", "NO"])
def test_decoded_data_are_deleted_where_they_may_not_be_kept(stage_of, layout, cache, superlink_is_up):
    layout.decoded_data.mkdir(parents=True)
    (layout.decoded_data / "x.arrays").write_text("rows")
    configure(stage_of("supernode", vm=12, FL_DATA_CACHE=cache))
    assert layout.decoded_data.is_dir() == (cache == "YES")


def test_a_link_in_place_of_the_decoded_data_is_not_followed(stage_of, layout, superlink_is_up, tmp_path):
    """The containers' user may write the folder, and root deletes it."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rows.csv").write_text("1")
    layout.state.mkdir(parents=True)
    layout.decoded_data.symlink_to(tmp_path / "own")
    configure(stage_of("supernode", vm=12, FL_DATA_CACHE="NO"))
    assert not layout.decoded_data.is_symlink()
    assert (tmp_path / "own" / "rows.csv").is_file()


def test_a_part_is_kept_over_a_reboot(stage_of, onegate, layout, superlink_is_up):
    boot(stage_of("supernode", vm=12))
    onegate.state.vms[9] = {"role": "supernode", "ip": "10.77.0.9", "template": {}}
    boot(stage_of("supernode", vm=12))
    kept = {"vm": "12", "index": 1, "count": 2, "member": True, "name": "vm-12"}
    assert json.loads(layout.join.read_text()) == kept


def test_the_operators_own_pairs_win(stage_of, layout, superlink_is_up):
    boot(stage_of("supernode", vm=12, FL_NODE_CONFIG='partition-id=7 site="north"'))
    expected = r'''"partition-id=7 num-partitions=2 client-name='vm-12' site=\"north\""'''
    assert expected in (layout.units / NODE).read_text()


def test_a_base_model_of_its_own_reaches_a_supernodes_app(stage_of, layout, superlink_is_up):
    boot(stage_of("supernode", vm=12, FL_BASE_MODEL="/app/models/a b"))
    (pairs,) = re.findall(r'"--node-config" "([^"]*)"', layout.units.joinpath(NODE).read_text())
    assert parse_config_args([pairs])["base-model"] == "/app/models/a b"
    assert oct(layout.models.stat().st_mode)[-3:] == "755"


def test_a_supernode_without_a_base_model_takes_that_of_the_run(stage_of, layout, superlink_is_up):
    boot(stage_of("supernode", vm=12))
    assert "base-model" not in layout.units.joinpath(NODE).read_text()


def test_a_framework_that_fits_no_app_is_refused_with_the_table_of_what_fits(stage_of, onegate, layout):
    with pytest.raises(SettingsError, match="Apps and frameworks"):
        configure(stage_of("supernode", vm=12, ML_FRAMEWORK="tensorflow", FL_USE_CASE="anomaly-detection"))
    assert not layout.base.exists()


def test_a_framework_whose_image_is_not_on_the_machine_is_refused_before_anything_is_written(
    stage_of, commands, layout, monkeypatch
):
    def absent(*command):
        if command[1:3] == ("image", "inspect"):
            raise ClusterError("No such image")
        return run(*command)

    run = commands.run
    monkeypatch.setattr(commands, "run", absent)
    with pytest.raises(SettingsError, match=r"oneflower-supernode-sklearn:.* is not on this machine"):
        configure(stage_of("supernode", vm=12, FL_USE_CASE="tabular-classification"))
    assert not layout.base.exists()
    configure(stage_of("supernode", vm=12, FL_USE_CASE="anomaly-detection"))


def test_a_supernode_without_a_ca_does_not_start(stage_of, client_of, commands, onegate):
    """It fails closed: without TLS on the other side there is nothing to trust."""
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092"})
    configure(stage_of("supernode", vm=12))
    with pytest.raises(SettingsError, match="FL_TLS_ENABLED"):
        bootstrap(stage_of("supernode", vm=12))
    assert NODE not in commands.active
    assert not onegate.state.gate_is_open(12)


def test_a_supernode_that_is_not_registered_is_not_ready(stage_of, onegate, commands, superlink_is_up):
    commands.said = "INFO :      Starting Flower SuperNode"
    with pytest.raises(ClusterError, match="has not registered this SuperNode"):
        boot(stage_of("supernode", vm=12))
    assert not onegate.state.gate_is_open(12)


def test_a_supernode_alone_is_idle_and_well(stage_of, commands):
    """An image that is tried out has no token and no service, and must reach the end of its bootstrap."""
    boot(stage_of("supernode"))
    assert NODE not in commands.active


def test_a_superlink_alone_is_well(stage_of, commands):
    boot(stage_of("superlink"))
    assert commands.active == {LINK, SUPERVISOR, PAGE}


def test_the_operators_settings_wait_for_a_run_that_is_submitted_without_them(stage_of, layout):
    """The ServerApp of `flwr run` reads them; no secret is among them, for every container reads the file."""
    key = secrets.token_hex(32)
    configure(stage_of("superlink", FL_NUM_ROUNDS="9", FL_CHECKPOINT_ENABLED="YES", FL_CHECKPOINT_KEY=key))
    text = layout.run_config.read_text()
    assert training_config(json.loads(text)).num_rounds == 9
    assert key not in text


def test_an_address_that_is_given_needs_no_service(stage_of, layout, onegate):
    onegate.state.in_service = False
    ca = operators_own()["FL_SSL_CA_CERTFILE"]
    boot(stage_of("supernode", vm=12, FL_SUPERLINK_ADDRESS="10.0.0.5:9092", FL_SSL_CA_CERTFILE=ca))
    assert '"--superlink" "10.0.0.5:9092"' in (layout.units / NODE).read_text()


def test_no_superlink_in_time_is_reported(stage_of, onegate, monkeypatch):
    monkeypatch.setattr(joining, "DISCOVERY_TIMEOUT_S", 0.0)
    configure(stage_of("supernode", vm=12))
    with pytest.raises(ClusterError, match="FL_SUPERLINK_ADDRESS"):
        bootstrap(stage_of("supernode", vm=12))


def test_without_tls_a_supernode_follows_a_superlink_that_was_replaced(
    stage_of, client_of, layout, commands, superlink_is_up
):
    """tests/opennebula/test_trust.py shows what it does with TLS."""
    boot(stage_of("supernode", vm=12, FL_TLS_ENABLED="NO"))
    commands.restarted()
    assert look(stage_of("supernode", vm=12, FL_TLS_ENABLED="NO")) == {"FL_STATE": "waiting"}
    assert commands.restarted() == []
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.8:9092"})
    look(stage_of("supernode", vm=12, FL_TLS_ENABLED="NO"))
    assert commands.restarted() == [NODE]
    assert '"10.77.0.8:9092"' in (layout.units / NODE).read_text()


def test_onegate_that_is_away_does_not_stop_a_running_supernode(stage_of, onegate, commands, superlink_is_up):
    boot(stage_of("supernode", vm=12))
    onegate.state.failures = [500] * 50
    assert look(stage_of("supernode", vm=12))["FL_STATE"] == "waiting"
    assert NODE in commands.active


def test_the_report_reads_the_context_that_configure_kept(stage_of, layout):
    configure(stage_of("supernode", vm=12, FL_NODE_CONFIG='note="it\'s $(reboot) `id`"', ETH0_IP="10.77.0.4"))
    kept = read_context(layout.context)
    assert kept["FL_NODE_CONFIG"] == 'note="it\'s $(reboot) `id`"'
    assert (kept["VMID"], kept["TOKENTXT"], kept["ETH0_IP"]) == ("12", "token-12", "10.77.0.4")


def test_the_report_file_is_private(stage_of, tmp_path):
    target = tmp_path / "report"
    boot(stage_of("superlink", **IMAGES, ONE_SERVICE_REPORT=str(target)))
    assert "[oneflower SuperLink]" in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


HOSTILE = [
    "$(touch {marker})",
    "`touch {marker}`",
    "'; touch {marker}; '",
    '"; touch {marker}; "',
    "a\ntouch {marker}",
    "--flag",
    "; touch {marker}",
    "%n %i",
    "x" * 1_000_000,
    "nul\0byte",
    "bytes \udcff",
    "../../etc/passwd",
]


@pytest.mark.parametrize("variable", [v for v in TABLE if isinstance(v.kind, Text)], ids=lambda v: v.name)
def test_a_hostile_value_is_refused_or_inert(stage_of, layout, tmp_path, client_of, variable):
    """Refused, or written as data: no marker appears, and no file gets a line that it forges."""
    marker = tmp_path / "pwned"
    client_of(10).publish({"FL_ENDPOINT": "10.77.0.2:9092"})
    context = {"FL_TLS_ENABLED": "NO", "FL_CHECKPOINT_ENABLED": "YES"}
    for text in HOSTILE:
        value = text.replace("{marker}", str(marker))
        for machine, vm in (("superlink", 10), ("supernode", 12)):
            with suppress(OneflowerError):
                boot(stage_of(machine, vm=vm, **{**context, variable.name: value}))
        assert not marker.exists(), value[:60]
        for path in [*layout.units.glob("*.service"), *layout.config.glob("*.env")]:
            assert not [line for line in path.read_text().splitlines() if line.lstrip().startswith("touch")]
