"""Make Flower's records of PyTorch models that NumPy has no type for, or say which array cannot be sent.

bfloat16 and the types of 8 bits travel as float32, which holds each of their values; `load_state_dict` rounds
to the model's own type again. Flower 1.25 raises a TypeError for them that names no array.
"""

from collections.abc import Mapping
from functools import wraps
from typing import Any, Final

from oneflower.errors import AppError
from oneflower.flower.api import ArrayRecord

_REMEDIES: Final = {
    "sparse": "send it dense: tensor.to_dense()",
    "quantized": "send it dequantised: tensor.dequantize()",
    "complex": "send its real and imaginary parts as two arrays: torch.view_as_real(tensor)",
    "not on a device": "load its weights first: it is on the device 'meta'",
}
_DONE: Final = "_oneflower_names_arrays"


def name_arrays() -> None:
    """Let `ArrayRecord` of this process convert what it can, and name what it cannot; once."""
    original: Any = ArrayRecord.from_torch_state_dict
    if hasattr(original, _DONE):
        return
    plain: Any = original.__func__

    @wraps(plain)
    def from_torch_state_dict(cls: type[ArrayRecord], state_dict: Any, **options: Any) -> ArrayRecord:
        made: ArrayRecord = plain(cls, sendable(state_dict), **options)
        if not options.get("keep_input", True):
            state_dict.clear()
        return made

    setattr(from_torch_state_dict, _DONE, True)
    function: Any = from_torch_state_dict
    replaced: Any = classmethod(function)
    ArrayRecord.from_torch_state_dict = replaced  # type: ignore[method-assign]


def sendable(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict whose tensors NumPy can hold.

    Raises
    ------
    AppError
        A tensor has no such form; the text names it.
    """
    return {name: _sendable(name, tensor) for name, tensor in state.items()}


def _sendable(name: str, tensor: Any) -> Any:
    problem = _problem(tensor)
    if problem is not None:
        raise AppError(
            f"array {name!r} of the model cannot be sent: it is {problem} ({tensor.dtype}, {tensor.layout}); "
            f"expected a dense tensor of numbers. {_REMEDIES[problem][0].upper()}{_REMEDIES[problem][1:]}"
        )
    kind = str(tensor.dtype)
    return tensor.float() if kind == "torch.bfloat16" or kind.startswith("torch.float8") else tensor


def _problem(tensor: Any) -> str | None:
    if str(tensor.layout) != "torch.strided":
        return "sparse"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_complex():
        return "complex"
    return "not on a device" if tensor.device.type == "meta" else None
