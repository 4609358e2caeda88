"""Add FedProx's proximal term to the gradients of PyTorch's optimizers, right before each of their steps.

The gradient of (mu / 2) * ||w - w_global||^2 is mu * (w - w_global). The global value of a parameter is the
array of the message that has its shape and its values when its first step comes: names do not matter, nor how
many optimizers there are. What has none, such as a head that stays local, is left out and reported.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from oneflower.flower.calls.proximal import Term, current_term

Parameter = torch.Tensor


class _Hooks:
    """The hooks of one message. An optimizer may step inside another one's step: the term is added once."""

    def __init__(self) -> None:
        self._references: dict[int, tuple[Parameter, torch.Tensor | None]] = {}
        self._open: list[set[int]] = []

    def before(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Add the term to the gradients, or let the closure do so that computes them."""
        term = current_term()
        trained = [] if term is None else _trained(optimizer)
        new = [each for each in trained if not any(id(each) in step for step in self._open)]
        self._open.append({id(each) for each in trained})
        if term is None or not new:
            return None
        term.steps += 1
        pairs = [(each, value) for each in new if (value := self._reference(term, each)) is not None]
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            _add(term.mu, pairs, getattr(optimizer, "grad_scale", None))
            return None
        wrapped = _with_term(closure, term.mu, pairs)
        return (
            ((args[0], wrapped, *args[2:]), kwargs)
            if len(args) > 1
            else (args, {**kwargs, "closure": wrapped})
        )

    def after(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forget which parameters the step was about."""
        del optimizer, args, kwargs
        if self._open:
            self._open.pop()

    def _reference(self, term: Term, parameter: Parameter) -> torch.Tensor | None:
        """Return the global value of a parameter, which it must have before its first step."""
        known = self._references.get(id(parameter))
        if known is None:
            known = self._references[id(parameter)] = parameter, _found(term, parameter)
            if known[1] is None:
                term.left_out[id(parameter)] = tuple(parameter.shape)
            else:
                term.matched += 1
        return known[1]


def add_hooks() -> Callable[[], None]:
    """Add the hooks to all optimizers; return what removes them."""
    hooks = _Hooks()
    handles = [register_optimizer_step_pre_hook(hooks.before), register_optimizer_step_post_hook(hooks.after)]

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove


def _trained(optimizer: Any) -> list[Parameter]:
    parameters = (each for group in optimizer.param_groups for each in group["params"])
    return [each for each in parameters if each.requires_grad and each.is_floating_point()]


def _found(term: Term, parameter: Parameter) -> torch.Tensor | None:
    own = parameter.detach()
    for array in term.by_shape.get(tuple(parameter.shape), ()):
        value = torch.from_numpy(array.copy()).to(own)  # as load_state_dict converts it
        if torch.equal(value, own):
            return value
    return None


@torch.no_grad()
def _add(mu: float, pairs: list[tuple[Parameter, torch.Tensor]], scale: Any = None) -> None:
    """Add mu * (w - w_global), times the scale that the optimizer will divide gradients by."""
    for parameter, reference in pairs:
        pull = (parameter - reference).mul_(mu)
        if scale is not None:
            pull = pull.mul_(scale)
        if parameter.grad is None:
            if pull.any():  # it took no part in this loss, and did in an earlier one
                parameter.grad = pull
        elif parameter.grad.is_sparse:
            parameter.grad = pull.add_(parameter.grad)
        else:
            parameter.grad.add_(pull.to(parameter.grad.dtype))


def _with_term(
    closure: Callable[[], Any], mu: float, pairs: list[tuple[Parameter, torch.Tensor]]
) -> Callable[[], Any]:
    """Return a closure whose gradients and loss have the term: a line search compares losses."""

    def with_term() -> Any:
        loss = closure()
        _add(mu, pairs)
        if loss is None:
            return None
        with torch.no_grad():
            squares = [(each - reference).square().sum() for each, reference in pairs]
            return loss + sum(mu / 2 * each.to(pairs[0][0].device) for each in squares)

    return with_term
