"""Whatever state a machine is in, its role and context are found, and what is wrong with them is named."""

import base64
from datetime import UTC, datetime

import pytest

from oneflower.aggregation.compiled import Choice
from oneflower.errors import FlowerVersionError, SettingsError
from oneflower.opennebula.doctor import checks_context, find_context, find_machine
from oneflower.opennebula.roles import Machine
from oneflower.settings import render_context
from oneflower.tls import make_authority

ONE_ENV = "run/one-context/one_env"
CURRENT = "run/one-context/context.sh.network"


def write(layout, path, text):
    file = layout.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("role", ["superlink", "supernode"])
def test_the_role_is_that_of_the_image(layout, role):
    write(layout, "etc/one-appliance/service.d/appliance.sh", f'"$X" appliance configure --role {role}\n')
    assert find_machine(layout) is Machine(role)


def test_the_role_is_what_configure_has_left(layout):
    for file in (layout.units / "flower-supernode.service", layout.environment("flower-supernode")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert find_machine(layout) is Machine.SUPERNODE


def test_a_machine_without_a_role_is_asked_for_it(layout):
    with pytest.raises(SettingsError, match="--role superlink"):
        find_machine(layout)


def test_the_context_of_now_wins_over_the_one_that_was_kept(layout):
    """A failed configure keeps the old one: the mistake stands in the new one."""
    write(layout, "opt/flower/config/context.sh", "FL_NUM_ROUNDS='3'\nTOKENTXT='old'\nVMID='7'\n")
    assert find_context(layout, {}).origin.endswith("config/context.sh")
    write(layout, CURRENT, "FL_NUM_ROUNDS='0'\nVMID='7'\n")
    write(layout, ONE_ENV, 'export TOKENTXT="new"\nexport X="$(reboot)"\n')
    found = find_context(layout, {})
    assert found.origin.endswith(CURRENT)
    assert (found.context["FL_NUM_ROUNDS"], found.context["TOKENTXT"]) == ("0", "new")
    assert found.kept["TOKENTXT"] == "old"


def test_before_any_stage_the_environment_files_are_read(layout):
    write(layout, ONE_ENV, 'export VMID="9"\nexport FL_NUM_ROUNDS="4"\nexport TOKENTXT="t"\n')
    assert find_context(layout, {"FL_NUM_ROUNDS": "5"}).context["FL_NUM_ROUNDS"] == "4"
    write(layout, ONE_ENV, 'export TOKENTXT="t"\n')
    found = find_context(layout, {"FL_NUM_ROUNDS": "5", "VMID": "9"})
    assert found.origin == "the environment"
    assert (found.context["FL_NUM_ROUNDS"], found.context["TOKENTXT"]) == ("5", "t")


def test_a_machine_without_a_context_is_told_so(host_of, outcome):
    state, found, _ = outcome(checks_context.context(host_of(kept=False)))
    assert (state, "no context" in found) == ("problem", True)


def test_a_context_that_configure_has_not_taken_is_reported(host_of, layout, outcome):
    context = {"FL_NUM_ROUNDS": "3", "VMID": "10"}
    assert outcome(checks_context.context(host_of(kept=False, **context)))[0] == "warning"
    assert outcome(checks_context.context(host_of(**context)))[0] == "ok"
    write(layout, CURRENT, render_context({**context, "FL_NUM_ROUNDS": "9"}))
    state, found, fix = outcome(checks_context.context(host_of(**context)))
    assert (state, "FL_NUM_ROUNDS" in found, "reboot" in fix) == ("warning", True, True)


def test_every_wrong_setting_is_a_finding(host_of):
    mistakes = {"FL_NUM_ROUNDS": "0", "FL_STRATEGY": "FedMagic", "FL_TRIM_BETA": "nan"}
    host = host_of(**mistakes)
    findings = list(checks_context.settings(host))
    assert [(each.outcome.value, each.found.split()[0]) for each in findings] == [
        ("problem", name) for name in mistakes
    ]
    assert host.facts.resolution is None


def test_a_certificate_that_does_not_fit_is_a_finding(host_of, outcome):
    authority = make_authority(datetime(2010, 1, 1, tzinfo=UTC))
    given = base64.b64encode(authority.certificate_pem()).decode()
    state, found, _ = outcome(checks_context.settings(host_of("supernode", FL_SSL_CA_CERTFILE=given)))
    assert (state, "FL_SSL_CA_CERTFILE expired" in found) == ("problem", True)


def test_good_settings_are_kept_for_the_other_checks(host_of, outcome):
    host = host_of(FL_NUM_ROUNDS="7", FL_NUM_ROUND="8")
    first, last = checks_context.settings(host)
    assert ("FL_NUM_ROUND" in first.found, first.outcome.value) == (True, "warning")
    assert "7 rounds" in last.found
    assert host.facts.resolution.settings.num_rounds == 7


def test_what_withstands_the_malicious_clients_is_a_finding(host_of):
    found = [
        each.found for each in checks_context.settings(host_of(FL_STRATEGY="Krum", FL_NUM_MALICIOUS="1"))
    ]
    assert any("FL_STRATEGY=Krum is none of them: it needs 5 clients (2f+3)" in text for text in found)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, "ONEGATE_ENDPOINT and VMID and the token missing"),
        ({"ONEGATE_ENDPOINT": "http://10.0.0.1:5030", "VMID": "10"}, "the machine has no token"),
    ],
)
def test_a_missing_token_is_told_with_how_to_get_one(host_of, outcome, context, expected):
    state, found, fix = outcome(checks_context.token(host_of(**context)))
    assert (state, expected in found) == ("problem", True)
    assert 'TOKEN = "YES"' in fix


def test_a_supernode_with_an_address_may_do_without(host_of, outcome):
    host = host_of("supernode", FL_SUPERLINK_ADDRESS="10.0.0.5:9092")
    list(checks_context.settings(host))
    assert outcome(checks_context.token(host))[0] == "warning"


def test_a_token_of_another_boot_is_reported(host_of, layout, outcome):
    context = {"ONEGATE_ENDPOINT": "http://10.0.0.1:5030", "VMID": "10", "TOKENTXT": "old"}
    assert outcome(checks_context.token(host_of(vm=10, **context)))[0] == "ok"
    write(layout, CURRENT, render_context({**context, "TOKENTXT": "new"}))
    assert outcome(checks_context.token(host_of(vm=10, **context)))[0] == "problem"


def test_what_aggregates_is_named_and_a_kernel_that_is_broken_is_a_warning(monkeypatch):
    (fine,) = checks_context.aggregation(None)
    assert (fine.check, fine.outcome.value) == ("aggregation", "ok")
    assert fine.found.startswith(("the compiled kernel", "NumPy"))

    broken = Choice(None, "the compiled kernel cannot be loaded (no library)", remark=True)
    monkeypatch.setattr(checks_context, "choice", lambda: broken)
    (found,) = checks_context.aggregation(None)
    assert found.outcome.value == "warning"
    assert "cannot be loaded" in found.found


def test_a_flower_that_is_not_supported_is_named_and_nothing_else_fails_for_it(monkeypatch):
    """Doctor itself needs no Flower: it works on a machine where another was installed."""
    (fine,) = checks_context.flower(None)
    assert (fine.check, fine.outcome.value, fine.found) == ("flower", "ok", "Flower 1.25.0")

    def refuse():
        raise FlowerVersionError("Flower 1.26.0 is installed in /v. oneflower supports Flower 1.25.0")

    monkeypatch.setattr(checks_context, "require_deployed", refuse)
    (found,) = checks_context.flower(None)
    assert found.outcome.value == "problem"
    assert "Flower 1.26.0" in found.found
