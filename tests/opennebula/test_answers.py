"""The file for `oneflow-template instantiate` answers what OneFlow asks, and nothing that it would lose.

The two checks that refuse a file were read in OneFlow's ``oneflow-server.rb``, 6.8.0, 7.0.1 and 7.4.0.
"""

import base64
import re

import pytest

from oneflower.errors import SettingsError
from oneflower.opennebula.templates.answers import service_answers
from oneflower.opennebula.templates.oneflow import Form, name_in, service
from oneflower.settings import BY_NAME, TABLE, form_default, resolve

KEYS = {Form.SIX: ("custom_attrs", "custom_attrs_values"), Form.SEVEN: ("user_inputs", "user_inputs_values")}
FORMS = pytest.mark.parametrize("form", list(Form))
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = PEM.replace("CERTIFICATE", "PRIVATE KEY")


def answers(form, *pairs, **options):
    return service_answers(form, pairs, **{"network": 0, **options})[0]


def values(form, *pairs, **options):
    return answers(form, *pairs, **options)[KEYS[form][1]]


@FORMS
@pytest.mark.parametrize("all_inputs", [False, True])
def test_every_input_of_the_service_is_answered(form, all_inputs):
    """``(user_inputs.keys - user_inputs_values.keys).empty?``, else OneFlow refuses the file."""
    asked = service(form, all_inputs=all_inputs)[KEYS[form][0]]
    assert set(values(form, all_inputs=all_inputs)) == set(asked)


@FORMS
def test_every_network_of_the_service_is_answered(form):
    """``networks.keys - networks_values.collect(keys)`` must be empty, and each value an object."""
    assert answers(form, network=7)["networks_values"] == [
        {name: {"id": "7"}} for name in service(form)["networks"]
    ]


@FORMS
def test_values_are_text_and_what_is_not_given_keeps_its_default(form):
    """OneFlow 6 answers an integer with error 500; an empty text means unset in the machine."""
    found = values(form, "FL_NUM_ROUNDS=20", all_inputs=True)
    assert all(isinstance(value, str) for value in found.values())
    assert found == {name_in(form, v): form_default(v) for v in TABLE} | {"FL_NUM_ROUNDS": "20"}
    assert resolve(found).settings == resolve({"FL_NUM_ROUNDS": "20"}).settings


@FORMS
def test_a_value_is_written_in_its_normal_form(form):
    found = values(
        form, "FL_CHECKPOINT_ENABLED=yes", "FL_NUM_ROUNDS=5.0", "FL_USE_CASE=", "FL_STRATEGY= Krum "
    )
    assert found["FL_CHECKPOINT_ENABLED"] == "YES"
    assert found["FL_NUM_ROUNDS"] == "5"
    assert found["FL_USE_CASE"] == "none"
    assert found["FL_STRATEGY"] == "Krum"


def test_a_minimum_that_the_strategy_raises_stands_as_it_was_given():
    found = values(Form.SIX, "FL_STRATEGY=Krum", "FL_NUM_MALICIOUS=2", "FL_MIN_FIT_CLIENTS=3")
    assert found["FL_MIN_FIT_CLIENTS"] == "3"


def test_a_certificate_becomes_one_line():
    found = values(Form.SEVEN, f"FL_SSL_CA_CERTFILE={PEM}", f"FL_SSL_CERTFILE={PEM}", f"FL_SSL_KEYFILE={KEY}")
    assert base64.b64decode(found["FL_SSL_CA_CERTFILE"]).decode() == PEM


@FORMS
def test_all_problems_are_named_at_once(form):
    pairs = (
        "FL_NUM_ROUNDS=0",
        "FL_STRATEGY=fedavg",
        "FL_NUM_ROUND=3",
        "rounds",
        "FL_USE_CASE=a",
        "FL_USE_CASE=b",
    )
    with pytest.raises(SettingsError) as caught:
        answers(form, *pairs)
    text = str(caught.value)
    assert "FL_NUM_ROUNDS is '0'" in text
    assert "FL_STRATEGY is 'fedavg'" in text
    assert "'FL_NUM_ROUND' is not a variable" in text
    assert "did you mean FL_NUM_ROUNDS?" in text
    assert "'rounds' has no =" in text
    assert "FL_USE_CASE is given twice" in text


def test_a_secret_is_not_shown_in_a_problem():
    with pytest.raises(SettingsError) as caught:
        answers(Form.SEVEN, "FL_DASHBOARD_TOKEN=hunter2")
    assert "hunter2" not in str(caught.value)


def test_form_7_takes_what_the_short_form_does_not_ask():
    """OneFlow 7 puts every answer into the context of every role."""
    assert values(Form.SEVEN, "FL_SEED=7")["FL_SEED"] == "7"
    assert "FL_SEED" not in values(Form.SEVEN)


def test_form_6_refuses_what_oneflow_6_would_lose():
    """It puts answers where the service marks them, and a quote or a backslash ends the line there."""
    with pytest.raises(SettingsError, match="FL_SEED is not an input of the short form"):
        answers(Form.SIX, "FL_SEED=7")
    assert values(Form.SIX, "FL_SEED=7", all_inputs=True)["FL_SEED"] == "7"
    for text in ('site="north"', "site='a\\b'"):
        with pytest.raises(SettingsError, match="FL_NODE_CONFIG contains"):
            answers(Form.SIX, f"FL_NODE_CONFIG={text}", all_inputs=True)
    quoted = values(Form.SIX, "FL_NODE_CONFIG=site='north'", all_inputs=True)["FL_NODE_CONFIG"]
    assert quoted == "site='north'"


@FORMS
@pytest.mark.parametrize("path", ["/a${b}", "/a]]>b", "/a\\", "/a\U0001f600"])
def test_what_opennebula_cuts_or_refuses_is_refused_here(form, path):
    """Measured on 7.4: ``${x}`` is deleted, the others end in error 500 or a service that never deploys."""
    with pytest.raises(SettingsError, match="FL_CHECKPOINT_PATH contains"):
        answers(form, f"FL_CHECKPOINT_PATH={path}", all_inputs=True)


def test_a_secret_in_the_answers_is_a_warning():
    """OneFlow 7 hands every answer to every role."""
    _, notices = service_answers(Form.SEVEN, ["FL_DASHBOARD_TOKEN=sixteen-letters-and-more"], network=0)
    assert [notice.level for notice in notices] == ["warning"]
    assert "every VM of the service" in notices[0].text
    assert service_answers(Form.SEVEN, ["FL_DASHBOARD_TOKEN="], network=0)[1] == ()


def test_oneflow_6_fills_every_mark_of_the_service():
    """Its substitution, as 6.8 does it: ``$KEY`` in a role's contents is replaced where KEY is answered."""
    found = answers(Form.SIX, "FL_NUM_ROUNDS=20", network=7)
    filled = dict(found["custom_attrs_values"])
    networks = {name: value["id"] for each in found["networks_values"] for name, value in each.items()}
    for role in service(Form.SIX)["roles"]:
        text = role["vm_template_contents"]
        for key in re.findall(r"\$(\w+)", text):
            text = text.replace(f"${key}", {**filled, **networks}.get(key, f"${key}"))
        assert "$" not in text
        assert 'NETWORK_ID = "7"' in text


@FORMS
def test_a_service_with_gpus_has_them_enabled_and_nothing_is_said_of_a_superlink(form):
    for pairs in (("FL_GPU_REQUIRED=YES", "FL_CUDA_VISIBLE_DEVICES=0,1"), ("FL_GPU_ENABLED=YES",)):
        document, notices = service_answers(form, pairs, network=0, gpu=True)
        assert document[KEYS[form][1]][name_in(form, BY_NAME["FL_GPU_ENABLED"])] == "YES"
        assert notices == ()


def test_a_variable_of_gpus_is_asked_with_the_option_for_them():
    with pytest.raises(SettingsError, match="--gpu` and add --gpu here"):
        service_answers(Form.SIX, ["FL_GPU_ENABLED=YES"], network=0)
