"""What holds for the declaration of every strategy."""

import re
from pathlib import Path

import numpy as np
import pytest

from oneflower.aggregation import (
    NUM_MALICIOUS,
    PARAMETERS,
    SPECS,
    AggregationError,
    Family,
    Round,
    ordered,
    readers,
    rules,
    spec_of,
)
from oneflower.errors import SettingsError

from .conftest import FEWEST, random_updates, root_of, values_of

DOCS = Path(__file__).parents[2] / "docs" / "aggregation.md"
TESTS = Path(__file__).parent / "rules"
every = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
each = pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)


def test_every_module_among_the_rules_is_a_strategy_of_its_name():
    modules = {path.stem for path in Path(*rules.__path__).glob("*.py")} - {"__init__"}
    assert modules == {spec.name.lower() for spec in SPECS}


def test_the_table_in_the_docs_is_that_of_the_specs():
    """By hand is what the rule does; what it needs and takes is held here."""
    page = DOCS.read_text(encoding="utf-8")
    lines = page.partition("| FL_STRATEGY |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    table = {cells[0]: cells[2:] for cells in rows}
    assert table == {
        spec.name: [
            str(spec.bound),
            "yes" if spec.weights_by_examples else "no",
            ", ".join(f"`{parameter.variable}`" for parameter in spec.parameters),
        ]
        for spec in SPECS
    }
    assert list(table) == [spec.name for spec in SPECS]


def test_names_are_told_apart():
    assert len({spec.name for spec in SPECS}) == len(SPECS)
    assert len({parameter.name for parameter in PARAMETERS}) == len(PARAMETERS)


def test_an_unknown_strategy_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"FL_STRATEGY is 'FedSGD'.*FedAvg.*Krum"):
        spec_of("FedSGD")


@pytest.mark.parametrize(
    "spec", [spec for spec in SPECS if NUM_MALICIOUS in spec.parameters], ids=lambda spec: spec.name
)
def test_who_joins_to_be_quarantined_does_not_lower_f_for_the_others(spec):
    """With updates enough for f malicious clients, f stays; else it falls as far as it must."""
    values = values_of(spec, num_malicious=2)
    enough = spec.minimum_updates(values)
    assert spec.after_quarantine(values, 9, enough) == values
    assert spec.after_quarantine(values, 9, enough + 5) == values
    assert spec.after_quarantine(values, 1, enough - 1)["num_malicious"] == 1
    assert spec.after_quarantine(values, 9, spec.bound(0))["num_malicious"] == 0


@every
class TestSpec:
    def test_its_rule_has_a_test(self, spec):
        assert (TESTS / f"test_{spec.name.lower()}.py").is_file()

    def test_it_says_where_it_comes_from(self, spec):
        assert re.search(r"(19|20)\d\d", spec.source)
        assert 20 <= len(spec.summary) <= 100
        assert not spec.summary.endswith(".")

    def test_its_example_has_enough_clients_and_nothing_to_advise(self, spec):
        values = values_of(spec)
        assert spec.example_clients >= max(2, spec.minimum_updates(values))
        assert spec.advice(values, spec.example_clients) is None

    def test_its_parameters_are_its_values(self, spec):
        assert set(spec.values()) == {parameter.name for parameter in spec.parameters}
        with pytest.raises(AggregationError, match="has no parameter 'speed'"):
            spec.values(speed=1.0)

    def test_it_needs_an_update(self, spec):
        assert spec.minimum_updates(spec.values()) >= 1

    def test_only_strategies_that_expect_malicious_clients_count_those_that_were_caught(self, spec):
        values = values_of(spec)
        after = spec.after_quarantine(values, 5)
        assert after == ({**values, "num_malicious": 0} if NUM_MALICIOUS in spec.parameters else values)

    def test_what_it_withstands_is_what_its_form_says(self, spec):
        """Where that is nothing, each update's change is bounded."""
        count = max(spec.example_clients, 3)
        withstood = spec.withstands(values_of(spec), count)
        assert (withstood > 0) == (spec.family is Family.ROBUST)
        assert 2 * withstood < count or spec.needs_root  # with data of its own it needs no majority

    def test_a_robust_rule_ignores_the_number_that_a_client_chooses(self, spec):
        assert spec.weights_by_examples == (spec.family is not Family.ROBUST)

    def test_its_state_is_named_arrays_of_the_model(self, spec):
        """So a checkpoint can hold it, and a resume compare it with the model."""
        model = {"w": np.ones((2, 3), np.float32), "n": np.array(3)}
        for name, array in spec.init(model).items():
            assert re.fullmatch(r"[a-z]+/w", name)
            assert (array.shape, array.dtype) == ((2, 3), np.float32)
        updates = ordered(random_updates_of(model))
        made = spec.aggregate(updates, model, spec.init(model), values_of(spec), Round(root=root_of(updates)))
        assert spec.init(model).keys() == made.state.keys()


def random_updates_of(model):
    return [
        type(update)(client=update.client, arrays={**model, "w": update.arrays["w"]}, num_examples=1.0)
        for update in random_updates(FEWEST, (2, 3))
    ]


@each
class TestParameter:
    def test_its_default_is_in_its_bounds(self, parameter):
        assert parameter.in_bounds(parameter.default)

    def test_a_value_out_of_its_bounds_is_refused_with_its_variable(self, parameter):
        spec = readers(parameter)[0]
        below = parameter.minimum - 1
        with pytest.raises(AggregationError, match=f"{parameter.name} is {below}.*{parameter.variable}"):
            spec.values(**{parameter.name: below})

    def test_it_has_the_type_of_its_default(self, parameter):
        assert type(parameter.of({parameter.name: parameter.default})) is type(parameter.default)
        assert type(parameter.minimum) is type(parameter.default)
