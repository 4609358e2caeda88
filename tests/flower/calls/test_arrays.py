"""What NumPy has no type for travels as float32, or is refused by the array's name with the remedy."""

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord

from oneflower.aggregation import AggregationError
from oneflower.errors import AppError
from oneflower.flower.calls.arrays import name_arrays, sendable
from oneflower.flower.records import array_views


@pytest.fixture(autouse=True)
def named(monkeypatch):
    monkeypatch.setattr(ArrayRecord, "from_torch_state_dict", ArrayRecord.__dict__["from_torch_state_dict"])
    name_arrays()
    name_arrays()  # the second time it does nothing


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_what_numpy_does_not_know_comes_back_with_the_same_values(dtype):
    given = torch.randn(5, generator=torch.Generator().manual_seed(1)).to(dtype)
    record = ArrayRecord({"w": given, "n": torch.tensor(3)})
    assert record["w"].dtype == "float32"
    assert record["n"].dtype == "int64"
    back = record.to_torch_state_dict()["w"].to(dtype)
    assert torch.equal(back.float(), given.float())
    model = torch.nn.Linear(2, 2).to(torch.bfloat16)
    other = torch.nn.Linear(2, 2).to(torch.bfloat16)
    other.load_state_dict(ArrayRecord(model.state_dict()).to_torch_state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("tensor", "remedy"),
    [
        (torch.eye(3).to_sparse(), "to_dense"),
        (torch.zeros(2, dtype=torch.complex64), "view_as_real"),
        (torch.zeros(2, device="meta"), "weights first"),
    ],
)
def test_what_cannot_travel_is_refused_by_name(tensor, remedy):
    with pytest.raises(AppError, match=f"'bad'.*{remedy}"):
        ArrayRecord({"ok": torch.zeros(1), "bad": tensor})
    with pytest.raises(AppError, match="'bad'"):
        sendable({"bad": tensor})


def test_the_input_is_let_go_of_where_the_app_says_so():
    state = {"w": torch.zeros(2)}
    ArrayRecord(state)
    assert state
    ArrayRecord(torch_state_dict=state, keep_input=False)
    assert not state


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(2, complex), "complex numbers; send their real and imaginary parts"),
        (np.array(["a", "b"]), "text; send it in a ConfigRecord"),
        (np.array([b"a"]), "bytes; send them as an array of uint8"),
        (np.array(["2020-01-01"], "M8[D]"), "dates; send them as numbers"),
    ],
)
def test_an_array_that_holds_no_numbers_is_named_with_what_it_holds(values, words):
    record = ArrayRecord({"ok": Array(np.zeros(2)), "bad": Array(values)})
    with pytest.raises(AggregationError, match=f"'bad'.*{words}"):
        array_views(record)
