"""An `up` is planned and checked before anything is started or written."""

import importlib.util
from pathlib import Path

import pytest

from oneflower.apps_catalogue.find import find_app
from oneflower.errors import AppError, SettingsError
from oneflower.local_cluster.plan import certificates_given, make_plan
from oneflower.settings import resolve


@pytest.fixture
def plan(tiny_app, tmp_path):
    def make(nodes=None, **given):
        return make_plan(resolve({}, given), state=tmp_path / "state", nodes=nodes, app=tiny_app)

    return make


def texts(plan):
    return [notice.text for notice in plan.notices]


def test_nothing_is_written(plan, tmp_path):
    plan()
    assert not (tmp_path / "state").exists()


def test_nodes_default_to_the_clients_that_a_round_needs(plan):
    assert plan().nodes == 2
    assert plan(FL_MIN_AVAILABLE_CLIENTS="4").nodes == 4
    assert plan(FL_MIN_FIT_CLIENTS="5").nodes == 5
    assert plan(FL_STRATEGY="Krum", FL_NUM_MALICIOUS="2").nodes == 7


def test_more_nodes_are_accepted(plan):
    assert plan(nodes=6).nodes == 6


def test_too_few_nodes_are_refused_with_both_numbers(plan):
    with pytest.raises(
        SettingsError, match=r"--nodes 3.*waits for 7.*FL_MIN_AVAILABLE_CLIENTS.*--nodes 7"
    ) as caught:
        plan(nodes=3, FL_STRATEGY="Krum", FL_NUM_MALICIOUS="2")
    assert caught.value.exit_code == 2


def test_a_round_that_draws_its_clients_waits_for_all_of_them(plan):
    """All are started here: a draw from those that a crash has left would be another one."""
    drawn = plan(nodes=6, FL_CLIENTS_PER_ROUND="2")
    assert drawn.settings.min_available_clients == 6
    assert drawn.run_config()["min-available-clients"] == 6
    assert "FL_MIN_AVAILABLE_CLIENTS" in drawn.run_config()["operator-set"]
    given = plan(nodes=6, FL_CLIENTS_PER_ROUND="2", FL_MIN_AVAILABLE_CLIENTS="4")
    assert given.settings.min_available_clients == 4
    assert plan(nodes=6).settings.min_available_clients == 2


def test_checkpoints_go_into_the_state_folder_by_default(plan, tmp_path):
    assert plan().settings.checkpoint_path == str(tmp_path / "state" / "checkpoints")
    assert plan(FL_CHECKPOINT_PATH="/data/c").settings.checkpoint_path == "/data/c"
    assert plan().run_config()["checkpoint-path"] == str(tmp_path / "state" / "checkpoints")


def test_ports_are_free_ones_by_default(plan):
    assert (plan().fleet_port, plan().control_port) == (None, None)
    asked = plan(FL_FLEET_API_ADDRESS="0.0.0.0:19092", FL_CONTROL_API_ADDRESS="127.0.0.1:19093")
    assert (asked.fleet_port, asked.control_port) == (19092, 19093)
    assert any("FL_FLEET_API_ADDRESS" in text and "127.0.0.1 only" in text for text in texts(asked))
    assert not any("FL_CONTROL_API_ADDRESS" in text for text in texts(asked))


def test_tls_is_on_where_supernodes_have_keys_or_the_context_enables_it(plan):
    assert plan().tls
    assert not plan(FL_NODE_AUTH="NO").tls
    assert plan(FL_NODE_AUTH="NO", FL_TLS_ENABLED="YES").tls
    assert not plan(FL_TLS_ENABLED="NO").tls
    assert not certificates_given(plan(FL_TLS_ENABLED="YES").settings)


def test_the_dashboard_is_where_the_operator_says_but_on_loopback(plan):
    assert (plan().dashboard.host, plan().dashboard.port, plan().dashboard.token) == ("127.0.0.1", 8265, "")
    assert plan().dashboard.given == ()
    given = {"FL_DASHBOARD_ADDRESS": "0.0.0.0:8300", "FL_DASHBOARD_TOKEN": "7f3a9c51e08b6d24"}
    asked = plan(**given)
    assert (asked.dashboard.host, asked.dashboard.port) == ("127.0.0.1", 8300)
    assert asked.dashboard.token == given["FL_DASHBOARD_TOKEN"]
    assert asked.dashboard.given == tuple(given)
    assert any("FL_DASHBOARD_ADDRESS" in text and "127.0.0.1 only" in text for text in texts(asked))
    assert plan(FL_DASHBOARD_ADDRESS="127.0.0.2:8300").dashboard.host == "127.0.0.2"
    assert "7f3a9c51e08b6d24" not in repr(asked.dashboard)


def test_the_control_api_is_said_to_be_a_socket_that_other_machines_cannot_reach(plan):
    """It was said to listen on 127.0.0.1, and a token without effect was not mentioned."""
    given = {"FL_CONTROL_API_ADDRESS": "0.0.0.0:19093", "FL_CONTROL_TOKEN": "7f3a9c51e08b6d24"}
    said = texts(plan(**given))
    assert any("sockets/19093.sock" in text and "cannot be reached from other" in text for text in said)
    assert any("FL_CONTROL_TOKEN has no effect" in text for text in said)
    assert not any("FL_CONTROL" in text for text in texts(plan()))
    without = texts(plan(FL_CONTROL_API_ADDRESS="127.0.0.1:19093", FL_FLOWER_WORKAROUNDS="NO"))
    assert not any("FL_CONTROL_API_ADDRESS" in text for text in without)


def test_connections_without_tls_are_said(plan):
    """FL_NODE_AUTH=NO dropped TLS without a word."""
    word = "connects its SuperNodes without TLS"
    assert any(word in text for text in texts(plan(FL_NODE_AUTH="NO")))
    assert not any(word in text for text in texts(plan()))
    assert not any(word in text for text in texts(plan(FL_NODE_AUTH="NO", FL_TLS_ENABLED="YES")))


def test_a_state_folder_may_be_named_by_a_path_with_dots(tiny_app, tmp_path, monkeypatch):
    """It ended with "contains the part ..", of a variable that nobody had set."""
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")

    def root(state):
        return make_plan(resolve({}, {}), state=Path(state), app=tiny_app).folder.root

    assert root("../w/x") == tmp_path / "w" / "x"
    assert root("w") == tmp_path / "here" / "w"
    assert root(tmp_path / "link" / "w") == tmp_path / "link" / "w", "a link stays: it is a setting"
    plan = make_plan(resolve({}, {}), state=Path("../w/x"), app=tiny_app)
    assert plan.run_config()["checkpoint-path"] == str(tmp_path / "w" / "x" / "checkpoints")


def test_disabled_checkpoints_give_a_warning(plan):
    assert any("FL_CHECKPOINT_ENABLED=YES" in text for text in texts(plan()))
    assert not any("FL_CHECKPOINT_ENABLED=YES" in text for text in texts(plan(FL_CHECKPOINT_ENABLED="YES")))


def test_no_use_case_and_no_app_says_what_to_set(tmp_path):
    with pytest.raises(SettingsError, match=r"FL_USE_CASE.*--app"):
        make_plan(resolve({}, {}), state=tmp_path)


def test_a_prebuilt_app_is_found():
    assert (find_app("image-classification") / "pyproject.toml").is_file()


def test_an_app_missing_from_the_installation_is_reported():
    with pytest.raises(SettingsError, match="missing from this installation"):
        find_app("no-such-app")


def test_a_folder_that_is_not_an_app_is_refused(tmp_path):
    with pytest.raises(AppError, match=r"pyproject\.toml") as caught:
        make_plan(resolve({}, {}), state=tmp_path / "state", app=tmp_path)
    assert caught.value.exit_code == 5


def test_an_app_whose_packages_are_missing_is_refused_with_what_to_install(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("peft", "transformers") else found(name)
    )
    resolution = resolve({}, {"FL_USE_CASE": "llm-fine-tuning"})
    with pytest.raises(SettingsError, match=r"transformers and peft.*oneflower\[apps,llm\]") as caught:
        make_plan(resolution, state=tmp_path / "state")
    assert "Apps and frameworks" in str(caught.value)
    assert not (tmp_path / "state").exists()
    make_plan(resolve({}, {"FL_USE_CASE": "image-classification"}), state=tmp_path / "state")


def test_a_missing_base_model_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    given = {"FL_USE_CASE": "llm-fine-tuning", "FL_BASE_MODEL": str(tmp_path / "typo")}
    with pytest.raises(AppError, match="typo holds 0 base models"):
        make_plan(resolve({}, given), state=tmp_path / "state")
    assert not (tmp_path / "state").exists()
    (tmp_path / "typo").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "typo" / name).touch()
    assert make_plan(resolve({}, given), state=tmp_path / "state").run_config()["base-model"].endswith("typo")


def test_an_own_app_of_an_appliance_is_named_as_without_effect(plan):
    assert any("FL_APP=mine has no effect" in text for text in texts(plan(FL_APP="mine")))
