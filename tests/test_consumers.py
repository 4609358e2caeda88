"""A variable reaches each process that reads it, because its row says so; and none reads another one."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from oneflower.local_cluster import commands
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.roles import Machine
from oneflower.settings import BY_NAME, TABLE, Consumer, Settings, resolve, resolve_for, run_config
from oneflower.settings.values import Boolean, Choice, Decimal, Integer, Password, Text64
from oneflower.settings.variable import RUN_CONFIG, Effect, Role, Variable

PACKAGE = Path(__file__).parents[1] / "src" / "oneflower"
APP_OF = {"FL_BASE_MODEL": "llm-fine-tuning", "ML_FRAMEWORK": "none", "FL_APP": "none"}
# What runs in a process, or starts one, and so reads settings on behalf of these consumers.
READERS = {
    "flower/launch.py": Consumer.SUPERLINK | Consumer.SUPERNODE,
    "flower/arguments.py": Consumer.CONTAINER,
    "opennebula/appliance/*.py": Consumer.CONTAINER,
    "local_cluster/commands.py": Consumer.CONTAINER | Consumer.SUPERLINK | Consumer.SUPERNODE,
    "cli/supervise.py": Consumer.SUPERVISOR | RUN_CONFIG,
}


def another(row):
    """Return a text that is not the default; None where there is no other, or where it is a secret or PEM."""
    match row.kind:
        case Boolean():
            return "NO" if row.default else "YES"
        case Choice(choices):
            return next((choice for choice in choices if choice != row.default), None)
        case Integer():
            return str(int(row.default) + 1) if row.default != 0 else "2"
        case Decimal():
            return str(float(row.default) + 0.1)
        case Text64() | Password():
            return None
    special = {
        "FL_CONTROL_API_ADDRESS": "127.0.0.1:9193",
        "FL_DASHBOARD_ADDRESS": "127.0.0.1:80",
        "FL_FLEET_API_ADDRESS": "10.0.0.1:9092",
        "FL_DATABASE": "state/x.db",
        "FL_CHECKPOINT_PATH": "/x",
        "FL_BASE_MODEL": "/y",
    }
    return special.get(row.name, row.kind.format.example)


def settings_with(row, text):
    context = {row.name: text, "FL_USE_CASE": APP_OF.get(row.name, "image-classification")}
    if row.strategies:
        context["FL_STRATEGY"] = row.strategies[0]
    if row.name == "FL_PRE_AGGREGATION":
        context["FL_STRATEGY"] = "Krum"
    if row.name == "FL_TARGET_METRIC_VALUE":
        context["FL_BEST_METRIC"] = "eval_acc"
    if row.name == "FL_GPU_REQUIRED":
        context["FL_GPU_ENABLED"] = "YES"
    return resolve({}, context | {row.name: text})


def environments(resolution):
    """Return the environments of the appliances' containers, as text, by consumer."""
    layout = Layout(Path("/"))
    link = services.superlink_containers(resolution.settings, layout)
    node = services.supernode_containers(resolution.settings, layout, superlink="10.0.0.5:9092", pairs={})
    supervisor = next((container for container in link if container.supervises), None)
    return {
        Consumer.SUPERLINK: services.environment(link[0], resolution),
        Consumer.SUPERNODE: services.environment(node[0], resolution),
        Consumer.SUPERVISOR: services.environment(supervisor, resolution) if supervisor else "",
    }


CASES = [(row, text) for row in TABLE if (text := another(row)) is not None]


@pytest.mark.parametrize(("row", "text"), CASES, ids=[row.name for row, _ in CASES])
class TestEveryVariable:
    def test_the_environment_of_a_container_has_what_it_reads_and_nothing_else(self, row, text):
        resolution = settings_with(row, text)
        for consumer, environment in environments(resolution).items():
            reads = bool(row.consumers & consumer) or (consumer is Consumer.SUPERVISOR and row.travels)
            reaches = row.role is not Role.SUPERNODE or consumer is Consumer.SUPERNODE
            if row.name == "FL_USE_CASE" and text == "none":
                continue
            assert (f"{row.name}={text}\n" in environment) == (reads and reaches), consumer

    def test_the_processes_of_up_get_what_they_read(self, row, text):
        settings = settings_with(row, text).settings
        told = commands.environment({}, settings, nodes=2, token="t", flwr_home=Path("/h"))
        wanted = bool(row.consumers & (Consumer.SUPERLINK | Consumer.SUPERNODE))
        assert (told.get(row.name) == text) == wanted

    def test_a_process_parses_what_it_reads(self, row, text):
        for consumer in (Consumer.SUPERLINK, Consumer.SUPERNODE):
            value = resolve_for(consumer, {row.name: text}).value_of(row)
            assert value == (row.parse(text) if row.consumers & consumer else row.default)

    def test_the_app_gets_it_in_the_run_config(self, row, text):
        settings = settings_with(row, text).settings
        found = run_config(settings).get(row.run_config_key, "absent")
        assert found == (settings.value_of(row) if row.consumers & RUN_CONFIG else "absent")


def settings_read(module):
    """Return the fields of Settings that a module reads from something named settings."""
    names = {field.name for field in fields(Settings)}
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute) or node.attr not in names:
            continue
        owner = node.value
        if "settings" in (getattr(owner, "id", ""), getattr(owner, "attr", "")):
            yield node.attr


@pytest.mark.parametrize("pattern", READERS)
def test_what_reads_a_variable_is_a_consumer_of_it(pattern):
    """Otherwise it would always read the default, for nobody hands the variable on."""
    read = {(module.name, name) for module in PACKAGE.glob(pattern) for name in settings_read(module)}
    assert read
    rows = {row.field: row for row in TABLE}
    assert not {(module, name) for module, name in read if not rows[name].consumers & READERS[pattern]}


def row(**columns):
    given = {"role": Role.BOTH, "consumers": Consumer.SUPERNODE}
    return Variable(name="FL_X", label="X y", kind=Boolean(), default=False, help="X", **(given | columns))


class TestRefusedRows:
    def test_a_row_without_consumers(self):
        with pytest.raises(TypeError, match="consumers"):
            Variable(name="FL_X", label="X y", kind=Boolean(), default=False, help="X", role=Role.BOTH)

    @pytest.mark.parametrize(
        ("role", "consumers"),
        [
            (Role.SUPERNODE, Consumer.SUPERVISOR),
            (Role.SUPERNODE, Consumer.CLIENTAPP),
            (Role.SUPERLINK, Consumer.SUPERNODE),
        ],
    )
    def test_a_consumer_that_the_variable_would_not_reach(self, role, consumers):
        with pytest.raises(ValueError, match="does not reach"):
            row(role=role, consumers=consumers)

    @pytest.mark.parametrize(
        "columns",
        [{"consumers": Consumer.SERVERAPP}, {"effect": Effect.MODEL}],
        ids=["no effect", "an effect"],
    )
    def test_an_effect_belongs_to_the_run_config(self, columns):
        with pytest.raises(ValueError, match="effect"):
            row(**columns)


@pytest.mark.parametrize("machine", list(Machine))
def test_a_machine_has_its_own_variables(machine):
    assert BY_NAME["FL_WARM_EXECUTOR"] in machine.variables() or machine is Machine.SUPERLINK
    assert BY_NAME["FL_MAX_RESTARTS"] in machine.variables() or machine is Machine.SUPERNODE
