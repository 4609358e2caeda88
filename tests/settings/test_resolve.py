"""Which value counts, where it came from, and one report of everything that is wrong."""

import base64
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.errors import SettingsError
from oneflower.settings import BY_NAME, TABLE, Consumer, Notice, Role, Settings, Source, resolve, resolve_for
from oneflower.settings.tokens import is_guessable
from oneflower.settings.values import Password, Text64
from oneflower.tls import make_node_key

UNSET = ["", " ", "\t\n", "null", "NULL", "undefined", " undefined "]


def _pem(label):
    return base64.b64encode(f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()).decode()


CA = {"FL_SSL_CA_CERTFILE": _pem("CERTIFICATE")}
PRIVATE_KEY, PUBLIC_KEY = make_node_key()[0].decode(), make_node_key()[1].pem.decode()
CERT = {"FL_SSL_CERTFILE": _pem("CERTIFICATE")}
KEY = {"FL_SSL_KEYFILE": _pem("PRIVATE KEY")}
MISTAKES = {
    "FL_NUM_ROUNDS": "zero",
    "FL_STRATEGY": "krum",
    "FL_TRIM_BETA": "0.5",
    "FL_SEED": "-1",
    "FL_CHECKPOINT_PATH": "checkpoints",
    "FL_CHECKPOINT_ENABLED": "maybe",
    "FL_SUPERLINK_ADDRESS": "host",
    "FL_DATABASE": "../x",
}


def _problems(environ, context=None, **kwargs):
    with pytest.raises(SettingsError) as caught:
        resolve(environ, context, **kwargs)
    assert caught.value.exit_code == 2
    return str(caught.value)


def _said(environ):
    """Return the problems and notices, whichever there are."""
    try:
        return "\n".join(notice.text for notice in resolve(environ).notices)
    except SettingsError as error:
        return str(error)


class TestSources:
    def test_nothing_given_is_all_defaults(self):
        resolution = resolve({})
        assert all(each.is_default for each in resolution.provenance.values())
        assert set(resolution.provenance) == set(BY_NAME)
        assert resolution.notices == ()

    @pytest.mark.parametrize("text", UNSET)
    def test_an_unanswered_input_is_unset(self, text):
        """Of every type, under both names."""
        names = [name for variable in TABLE for name in (variable.name, variable.alias)]
        assert resolve({}, dict.fromkeys(names, text)) == resolve({})

    def test_blanks_around_a_value_are_dropped(self):
        assert resolve({"FL_NUM_ROUNDS": " 7\n"}).settings.num_rounds == 7

    def test_the_context_gives_a_value(self):
        resolution = resolve({}, {"FL_NUM_ROUNDS": "7"})
        provenance = resolution.provenance["FL_NUM_ROUNDS"]
        assert resolution.settings.num_rounds == 7
        assert (provenance.given, provenance.source, provenance.name) == ("7", "context", "FL_NUM_ROUNDS")

    def test_the_environment_wins_over_the_context_and_says_so(self):
        resolution = resolve({"FL_NUM_ROUNDS": "7"}, {"FL_NUM_ROUNDS": "5"})
        assert resolution.settings.num_rounds == 7
        assert resolution.provenance["FL_NUM_ROUNDS"].source is Source.ENVIRONMENT
        assert resolution.notices == (
            Notice(
                level="info", text="FL_NUM_ROUNDS: '7' from the environment is used, not '5' from the context"
            ),
        )

    def test_an_unset_variable_in_the_environment_does_not_hide_the_context(self):
        assert resolve({"FL_NUM_ROUNDS": ""}, {"FL_NUM_ROUNDS": "5"}).settings.num_rounds == 5

    def test_a_value_that_the_environment_overrides_need_not_be_right(self):
        assert resolve({"FL_NUM_ROUNDS": "7"}, {"FL_NUM_ROUNDS": "x"}).settings.num_rounds == 7

    @pytest.mark.parametrize("variable", TABLE, ids=lambda variable: variable.name)
    def test_every_variable_has_an_alias(self, variable):
        pems = CA | CERT | KEY
        given = pems if isinstance(variable.kind, Text64) else {variable.name: variable.example}
        given = {variable.name: "7f3a9c51e08b6d24" * 2} if isinstance(variable.kind, Password) else given
        if variable.name == "FL_NODE_KEYS":
            given = {variable.name: PUBLIC_KEY}
        if variable.name == "FL_TARGET_METRIC_VALUE":
            given["FL_BEST_METRIC"] = "eval_acc"
        resolution = resolve({}, {f"ONEAPP_{name}": text for name, text in given.items()})
        assert resolution.provenance[variable.name].name == variable.alias
        assert resolution.settings == resolve({}, given).settings

    def test_both_names_with_one_value_are_that_value(self):
        resolution = resolve({}, {"FL_NUM_ROUNDS": "7", "ONEAPP_FL_NUM_ROUNDS": "7 "})
        assert resolution.settings.num_rounds == 7
        assert resolution.provenance["FL_NUM_ROUNDS"].name == "FL_NUM_ROUNDS"

    def test_both_names_with_different_values_are_a_problem(self):
        text = _problems({}, {"FL_NUM_ROUNDS": "7", "ONEAPP_FL_NUM_ROUNDS": "8"})
        assert "FL_NUM_ROUNDS is '7' and ONEAPP_FL_NUM_ROUNDS is '8' (context)" in text

    def test_an_alias_in_the_context_gives_way_to_the_environment(self):
        assert resolve({"FL_NUM_ROUNDS": "7"}, {"ONEAPP_FL_NUM_ROUNDS": "8"}).settings.num_rounds == 7


class TestUnknownNames:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("FL_NUM_ROUND", "FL_NUM_ROUNDS"),
            ("ONEAPP_FL_STRATEGI", "FL_STRATEGY"),
            ("fl_strategy", "FL_STRATEGY"),
            ("FLOWER_VERISON", "FLOWER_VERSION"),
            ("ML_FRAMEWORKS", "ML_FRAMEWORK"),
            ("FL_GPUS", "FL_GPU_ENABLED"),
            ("FL_USE_GPU", "FL_GPU_ENABLED"),
            ("FL_NUM_GPUS", "FL_GPU_ENABLED"),
            ("FL_CUDA", "FL_CUDA_VISIBLE_DEVICES"),
            ("FL_GPU_MEMORY", "FL_GPU_MEMORY_FRACTION"),
        ],
    )
    def test_a_typo_is_a_warning_with_the_nearest_name(self, name, meant):
        (notice,) = resolve({}, {name: "x"}).notices
        assert notice.level == "warning"
        assert name in notice.text
        assert f"did you mean {meant}?" in notice.text

    def test_a_name_that_is_near_to_nothing_is_a_warning_too(self):
        (notice,) = resolve({"FL_QQQQ": "x"}).notices
        assert "did you mean" not in notice.text

    @pytest.mark.parametrize(
        "name", ["SSL_CERT_FILE", "PATH", "ETH0_IP", "FLOWER_POT", "ONEAPP_VNF", "ML_X", "ML_GPUS"]
    )
    def test_names_of_others_are_left_alone(self, name):
        assert resolve({name: "x"}, {name: "x"}).notices == ()

    def test_warnings_are_told_along_with_problems(self):
        assert "did you mean FL_STRATEGY?" in _problems({"FL_STRATEGI": "Krum", "FL_SEED": "x"})


class TestProblems:
    def test_all_are_reported_at_once(self):
        text = _problems({}, MISTAKES)
        assert text.startswith("8 problems in the settings; nothing was started.")
        for name, value in MISTAKES.items():
            assert f"{name} is {value!r} (context)" in text

    def test_each_says_what_was_expected_and_how_to_mend_it(self):
        for line in _problems({}, MISTAKES).splitlines()[1:]:
            assert "; expected " in line
            assert "; write for example FL_" in line or "; did you mean FL_" in line

    def test_a_wrong_case_is_answered_with_the_right_one(self):
        assert "did you mean FL_STRATEGY='Krum'?" in _problems({"FL_STRATEGY": "KRUM"})

    def test_another_framework_is_refused_with_the_reason(self):
        text = _problems({"ML_FRAMEWORK": "tensorflow", "FL_USE_CASE": "image-classification"})
        assert "FL_USE_CASE" in text
        assert "written in pytorch" in text

    def test_a_problem_names_the_alias_that_was_used(self):
        assert "ONEAPP_FL_SEED is 'x'" in _problems({}, {"ONEAPP_FL_SEED": "x"})

    def test_a_secret_is_never_shown(self):
        text = _problems({"FL_SSL_KEYFILE": "c2VjcmV0", "ONEAPP_FL_SSL_KEYFILE": "b3RoZXI="})
        assert "c2VjcmV0" not in text
        assert "b3RoZXI" not in text
        assert "(secret, 8 characters)" in text

    @pytest.mark.parametrize("encodings", [0, 1, 2])
    @pytest.mark.parametrize("name", [row.name for row in TABLE])
    def test_a_private_key_is_not_shown_whichever_variable_it_was_given_to(self, name, encodings):
        """FL_NODE_KEYS quoted 60 characters of a private key, 20 of them of the key itself."""
        text = PRIVATE_KEY
        for _ in range(encodings):
            text = base64.b64encode(text.encode()).decode()
        for whole in (text, text[:200]):
            pieces = [whole[at : at + 8] for at in range(40, len(whole) - 44)]
            said = _said({name: whole})
            assert not any(piece in said for piece in pieces)

    @pytest.mark.parametrize("name", [row.name for row in TABLE])
    @pytest.mark.parametrize("secret", ["7f3a9c51e08b6d24c1", "aW9qd2VmOTg3MjNqa3NkZjg5Mz+/x1Y="])
    def test_a_token_is_not_shown_whichever_variable_it_was_given_to(self, name, secret):
        assert secret[:8] not in _said({name: secret})

    def test_a_path_in_place_of_a_certificate_is_shown(self):
        """That is the mistake, and no secret."""
        assert "'/etc/ssl/node-keys.pem'" in _problems({"FL_NODE_KEYS": "/etc/ssl/node-keys.pem"})

    @pytest.mark.parametrize("row", [row for row in TABLE if row.command], ids=lambda row: row.name)
    def test_a_remedy_does_not_ask_for_what_nothing_expands(self, row):
        """A context is data: FL_X='$(openssl rand -hex 16)' is a token of that text."""
        text = _problems({row.name: "x"})
        assert "$(" not in text
        assert f"run `{row.command}` and write {row.name}='WHAT IT PRINTED'" in text

    def test_what_a_token_must_have_is_said(self):
        text = _problems({"FL_CONTROL_TOKEN": "password" * 4})
        assert "too little is left of it without common words" in text
        assert "of which 8 are left, 5 of them different" in text

    def test_a_long_value_is_shortened(self):
        text = _problems({"FL_NUM_ROUNDS": "9" * 100_000})
        assert len(text) < 1000
        assert "(100000 characters)" in text

    def test_control_characters_are_escaped(self):
        assert "\x1b" not in _problems({"FL_STRATEGY": "\x1b[2J", "FL_\x1b[2J": "x"})

    def test_two_apis_on_one_port_are_a_problem(self):
        """Together with the others, not after they were mended."""
        text = _problems({"FL_CONTROL_API_ADDRESS": "127.0.0.1:9092", "FL_SEED": "x"})
        assert text.startswith("2 problems")
        assert "expected two ports" in text

    def test_one_port_on_two_addresses_is_no_problem(self):
        resolve({"FL_CONTROL_API_ADDRESS": "127.0.0.1:9092", "FL_FLEET_API_ADDRESS": "10.0.0.1:9092"})

    @pytest.mark.parametrize("address", ["0.0.0.0:8265", "10.0.0.1:80", "[::]:8265", "superlink:8265"])
    def test_a_page_for_other_machines_needs_a_token(self, address):
        text = _problems({"FL_DASHBOARD_ADDRESS": address})
        assert "FL_DASHBOARD_TOKEN" in text
        assert "openssl rand" in text
        resolve({"FL_DASHBOARD_ADDRESS": address, "FL_DASHBOARD_TOKEN": "7f3a9c51e08b6d24"})

    @pytest.mark.parametrize("address", ["0.0.0.0:9093", "10.0.0.1:9093", "[::]:9093", "superlink:9093"])
    @pytest.mark.parametrize("left_out", ["FL_TLS_ENABLED", "FL_CONTROL_TOKEN", "FL_FLOWER_WORKAROUNDS"])
    def test_commands_from_other_machines_need_tls_and_a_token(self, address, left_out):
        """A run is code: whoever reaches an open Control API runs it on the SuperLink and every SuperNode."""
        given = {"FL_CONTROL_API_ADDRESS": address, "FL_CONTROL_TOKEN": "7f3a9c51e08b6d24"}
        resolve(given)
        without = {**given, left_out: "" if left_out == "FL_CONTROL_TOKEN" else "NO"}
        text = _problems(without)
        assert "FL_CONTROL_API_ADDRESS" in text
        assert "/opt/flower/sockets/9093.sock" in text, "what to forward through SSH instead"
        assert left_out in text

    def test_commands_from_this_machine_need_neither(self):
        resolve({"FL_CONTROL_API_ADDRESS": "127.0.0.2:9093", "FL_TLS_ENABLED": "NO"})

    @pytest.mark.parametrize(
        "weak",
        [
            *("a" * 32, "0123456789abcdef", "passwordpassword", "abababababababab", "fedcba9876543210"),
            *("ChangeMe-ChangeMe", "oneflower-dashboard", "Password1234567!", "qwertyuiop123456", "short"),
        ],
    )
    @pytest.mark.parametrize("name", ["FL_DASHBOARD_TOKEN", "FL_CONTROL_TOKEN"])
    def test_a_token_that_can_be_guessed_is_a_problem(self, name, weak):
        text = _problems({name: weak})
        assert "openssl rand" in text
        assert weak not in text

    def test_a_random_token_is_never_taken_for_a_weak_one(self):
        rng = Random(1)
        tokens = [f"{rng.getrandbits(bits):0{bits // 4}x}" for bits in (128, 256) for _ in range(5000)]
        assert not any(map(is_guessable, tokens))

    def test_without_the_workarounds_every_user_of_the_machine_is_let_in_and_the_operator_is_warned(self):
        texts = [notice.text for notice in resolve({"FL_FLOWER_WORKAROUNDS": "NO"}).notices]
        assert any("every user of this machine" in text for text in texts)

    def test_a_page_on_a_port_of_flowers_is_a_problem(self):
        assert "expected two ports" in _problems({"FL_DASHBOARD_ADDRESS": "127.0.0.1:9092"})

    @pytest.mark.parametrize("path", ["/a:/etc", "/a,readonly"])
    def test_a_path_that_would_split_a_mount_is_a_problem(self, path):
        assert "container mount" in _problems({"FL_CHECKPOINT_PATH": path})


class TestCertificates:
    @pytest.mark.parametrize("given", [CERT, KEY, CA | CERT, CA | KEY, CERT | KEY])
    @pytest.mark.parametrize("role", list(Role))
    def test_a_part_of_the_three_is_a_problem(self, given, role):
        assert "the three of a SuperLink together or none" in _problems(given, role=role)

    @pytest.mark.parametrize("role", list(Role))
    def test_the_three_together_pass(self, role):
        settings = resolve(CA | CERT | KEY, role=role).settings
        assert settings.ssl_keyfile == KEY["FL_SSL_KEYFILE"]

    def test_the_ca_alone_is_enough_for_a_supernode(self):
        resolve(CA, role=Role.SUPERNODE)
        resolve(CA)
        assert "FL_SSL_CERTFILE" in _problems(CA, role=Role.SUPERLINK)


class TestOneProcess:
    """A process parses what it reads and looks at nothing else: who started it has checked the whole."""

    @pytest.mark.parametrize("prefix", ["", "ONEAPP_"])
    def test_it_gets_its_own_variables_under_both_names(self, prefix):
        settings = resolve_for(Consumer.SUPERNODE, {f"{prefix}FL_WARM_EXECUTOR": "NO"})
        assert (settings.warm_executor, settings.flower_workarounds) == (False, True)

    def test_what_others_read_is_not_looked_at(self):
        environ = {
            "FL_NUM_ROUNDS": "zero",
            "FL_WARM_EXECUTOR": "x",
            "FL_CONTROL_API_ADDRESS": "127.0.0.1:9092",
        }
        assert resolve_for(Consumer.SUPERLINK, environ) == Settings()

    def test_all_problems_are_reported_at_once(self):
        with pytest.raises(SettingsError, match=r"2 problems[\s\S]*WARM[\s\S]*WORKAROUNDS"):
            resolve_for(Consumer.SUPERNODE, {"FL_WARM_EXECUTOR": "x", "FL_FLOWER_WORKAROUNDS": "y"})


@given(st.dictionaries(st.sampled_from(sorted(BY_NAME)), st.text(max_size=20), max_size=8))
def test_any_text_in_any_variable_is_resolved_or_refused(context):
    """Hostile text is refused with a report, and never shows up as another error."""
    try:
        resolution = resolve({}, context)
    except SettingsError as error:
        assert "nothing was started" in str(error)  # noqa: PT017  (either outcome is right)
        return
    assert resolution.settings.num_rounds >= 1
