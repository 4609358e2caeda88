"""Add FedProx's proximal term to the gradients that Keras 3's optimizers get, on PyTorch, TensorFlow or JAX.

The gradients get mu * (w - w_global) before the optimizer clips, accumulates or decays anything, as if the
term were in the loss. w_global is matched as in `torch_term`: by shape and value, when a variable is first
trained.

TensorFlow and JAX compile a training step once, with w_global in it. What was compiled in an earlier message
is compiled once more: `Model.fit` and `Model.train_on_batch` forget their step, and JAX all of its steps. A
`tf.function` of the app's own that lives longer than its message is refused.
"""

import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from oneflower.errors import AppError
from oneflower.flower.calls.proximal import Term, current_term

METHODS: Final = ("fit", "train_on_batch")
_compiled: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""The optimizers whose steps were compiled by TensorFlow with the term of some message."""


def add_hooks(keras: Any, term: Term) -> Callable[[], None]:
    """Add the hooks to all optimizers and models of Keras; return what removes them."""
    if not hasattr(keras, "Optimizer") or int(keras.__version__.partition(".")[0]) < 3:
        return lambda: None
    hooks = _Hooks(keras)
    term.checks.append(hooks.refuse_old_steps)
    undo = [_replace(keras.Optimizer, "apply", hooks.apply)]
    undo += [_replace(keras.Model, name, hooks.training) for name in METHODS]

    def remove() -> None:
        for each in undo:
            each()
        hooks.forget()

    return remove


def _replace(owner: type, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Replace a method that the class may have inherited."""
    inherited = name not in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, make(before))
    return (lambda: delattr(owner, name)) if inherited else (lambda: setattr(owner, name, before))


class _Hooks:
    """The hooks of one message. An optimizer may apply another one: the term is added once."""

    def __init__(self, keras: Any) -> None:
        self._ops = keras.ops
        self._backend: str = keras.backend.backend()
        self._references: dict[int, tuple[Any, Any]] = {}
        self._models: dict[int, Any] = {}
        self._seen: set[int] = set()
        self._open = threading.local()  # TensorFlow runs each replica of a model in a thread
        self._before = [(each, self._steps_of(each)) for each in _compiled]
        self._forget_steps_of_jax()

    def apply(self, original: Any) -> Any:
        """Return `Optimizer.apply` with the term."""

        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            term = current_term()
            if term is None:
                return original(optimizer, grads, trainable_variables)
            grads = list(grads)
            if trainable_variables is not None:
                trainable_variables = list(trainable_variables)
            variables = getattr(optimizer, "_trainable_variables", [])
            variables = variables if trainable_variables is None else trainable_variables
            within: set[int] = getattr(self._open, "ids", set())
            if grads and len(grads) == len(variables):
                term.steps += 1
                self._seen.add(id(optimizer))
                if self._is_compiling():
                    _compiled.add(optimizer)
                scale = getattr(optimizer, "loss_scale_factor", None)
                mu = term.mu * (1.0 if scale is None else scale) / self._replicas()
                grads = [
                    grad if id(each) in within else self._with_term(term, mu, grad, each)
                    for grad, each in zip(grads, variables, strict=True)
                ]
            self._open.ids = within | {id(each) for each in variables}
            try:
                return original(optimizer, grads, trainable_variables)
            finally:
                self._open.ids = within

        return apply

    def training(self, original: Any) -> Any:
        """Return `Model.fit` or `train_on_batch` that compiles the step of this message."""

        def train(model: Any, *args: Any, **kwargs: Any) -> Any:
            term = current_term()
            if term is not None:
                if id(model) not in self._models:
                    self._models[id(model)] = model
                    self._forget_step(model)
                if self._backend == "jax":  # it takes the values out of the variables while it trains
                    for each in model.trainable_variables:
                        self._reference(term, each)
            return original(model, *args, **kwargs)

        return train

    def refuse_old_steps(self) -> None:
        """Fail where a step was run that an earlier message compiled: its w_global is an old one."""
        for optimizer, before in self._before:
            if id(optimizer) not in self._seen and self._steps_of(optimizer) != before:
                raise AppError(
                    "the proximal term could not be added: the app keeps a tf.function between messages, and "
                    "it still has the global model of an earlier one. Make the tf.function in the function "
                    "that trains; or add the term to the loss, and set FL_PROXIMAL_TERM=app"
                )

    def forget(self) -> None:
        """Let no step that was compiled with the term outlive the message."""
        for model in self._models.values():
            self._forget_step(model)
        self._forget_steps_of_jax()

    def _with_term(self, term: Term, mu: Any, grad: Any, variable: Any) -> Any:
        if not getattr(variable, "trainable", True) or getattr(variable, "overwrite_with_gradient", False):
            return grad
        reference = self._reference(term, variable)
        if reference is None:
            return grad
        value = self._ops.convert_to_tensor(variable)
        if self._backend == "torch":
            value = value.detach()
        pull = self._ops.cast(value - reference, value.dtype) * self._ops.cast(mu, value.dtype)
        return pull if grad is None else self._dense(grad) + self._ops.cast(pull, grad.dtype)

    def _reference(self, term: Term, variable: Any) -> Any:
        """Return the global value of a variable, which it must have when it is first trained."""
        known = self._references.get(id(variable))
        if known is None:
            known = self._references[id(variable)] = variable, self._found(term, variable)
            if known[1] is None:
                term.left_out[id(variable)] = tuple(variable.shape)
            else:
                term.matched += 1
        return known[1]

    def _found(self, term: Term, variable: Any) -> Any:
        own = self._value_now(variable)
        if own is None:
            return None
        values = np.asarray(self._ops.convert_to_numpy(own))
        same = (
            np.array_equal(each.astype(values.dtype), values) for each in term.by_shape.get(values.shape, ())
        )
        return own if any(same) else None

    def _value_now(self, variable: Any) -> Any:
        """Return a copy of what the variable holds outside of a compilation; None if it holds nothing."""
        value = getattr(variable, "_value", variable)  # `value` is that of the step which is being compiled
        if value is None or callable(value):
            return None
        if self._backend == "torch":
            return value.detach().clone()
        if self._backend == "tensorflow":
            tensorflow = sys.modules["tensorflow"]
            with tensorflow.init_scope():
                return tensorflow.identity(value)
        if isinstance(value, sys.modules["jax"].core.Tracer):
            return None
        return np.array(value)  # its memory may be given to the next step

    def _dense(self, grad: Any) -> Any:
        """Return the gradient of an embedding as an array: the term acts on all of its rows."""
        if self._backend == "tensorflow":
            tensorflow = sys.modules["tensorflow"]
            return tensorflow.convert_to_tensor(grad) if isinstance(grad, tensorflow.IndexedSlices) else grad
        if self._backend == "torch":
            return grad.to_dense() if grad.is_sparse else grad
        return grad.todense() if hasattr(grad, "todense") else grad

    def _is_compiling(self) -> bool:
        return self._backend == "tensorflow" and not sys.modules["tensorflow"].executing_eagerly()

    def _replicas(self) -> int:
        """Return among how many replicas TensorFlow will add the gradients up."""
        if self._backend != "tensorflow":
            return 1
        return int(sys.modules["tensorflow"].distribute.get_strategy().num_replicas_in_sync)

    def _steps_of(self, optimizer: Any) -> int:
        return int(self._ops.convert_to_numpy(optimizer.iterations))

    def _forget_step(self, model: Any) -> None:
        """Forget the compiled step of a model, as `compile` does."""
        if self._backend != "torch" and getattr(model, "train_function", None) is not None:
            model.train_function = None

    def _forget_steps_of_jax(self) -> None:
        if self._backend == "jax":
            sys.modules["jax"].clear_caches()
