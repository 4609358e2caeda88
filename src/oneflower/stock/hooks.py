"""What is put in place of Flower's own in the process of a ServerApp: the app's lines stay as they are.

`Strategy.start` runs our rounds over the strategy on which it was called. `ServerApp.__call__` completes
the run-config, seeds the process, and gives the app a grid that records.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from inspect import signature
from typing import Any

import numpy as np

from oneflower.errors import AppError
from oneflower.flower.api import Array, Context, Grid, Result, ServerApp, strategy
from oneflower.flower.calls.arrays import name_arrays
from oneflower.flower.calls.seeds import seed_everything
from oneflower.flower.failures import open_journal
from oneflower.flower.operator_config import completed
from oneflower.settings import training_config
from oneflower.stock.recording import recorded
from oneflower.stock.start import ARGUMENTS, Started, run_started

Put = Callable[[object, str, object], None]
"""Puts a function in the place of another one: an object, the name of its attribute, the new value."""

_CONTEXT: ContextVar[Context | None] = ContextVar("context", default=None)
_STARTED: ContextVar[list[str] | None] = ContextVar("started", default=None)
_start = strategy.Strategy.start
_call = ServerApp.__call__
_array = Array.__init__


@wraps(_start)
def start(self: strategy.Strategy, *arguments: Any, **named: Any) -> Result:
    """Run the rounds of the ServerApp that is called in this process; outside of one, Flower's own."""
    context = _CONTEXT.get()
    given = _given(self, *arguments, **named)
    if context is None or given is None:
        return _start(self, *arguments, **named)
    _refuse_second(context)
    started = Started(strategy=self, **given)
    seed = training_config(context.run_config).seed
    return run_started(started, context, partial(seed_everything, seed))


def _given(*arguments: Any, **named: Any) -> dict[str, Any] | None:
    """Return the arguments of a start by name; None for such that Flower refuses, with words of its own."""
    try:
        bound = signature(_start).bind(*arguments, **named)
    except TypeError:
        return None
    return {name: value for name, value in bound.arguments.items() if name in ARGUMENTS}


def _refuse_second(context: Context) -> None:
    """Refuse a second strategy of one run where checkpoints are kept: it would resume from the first one's.

    Raises
    ------
    AppError
        The app has started one already.
    """
    started = _STARTED.get()
    if started is None:
        return
    if started and training_config(context.run_config).checkpoint_enabled:
        raise AppError(
            "the app starts a second strategy in one run: a checkpoint folder holds the rounds of one. Give "
            "each a run of its own, or set FL_CHECKPOINT_ENABLED=NO, with which a crash starts the app from "
            "the beginning"
        )
    started.append("one")


@wraps(_call)
def call(self: ServerApp, grid: Grid, context: Context) -> None:
    """Call a ServerApp with the operator's settings and seeded generators, and with a grid that records."""
    name_arrays()
    context.run_config = completed(context.run_config)
    config = training_config(context.run_config)
    journal = open_journal(config, context.run_id)
    token, started = _CONTEXT.set(context), _STARTED.set([])
    try:
        with recorded(grid, context, config, journal) as shown:
            _call(self, shown, context)
    finally:
        _CONTEXT.reset(token)
        _STARTED.reset(started)


@wraps(_array)
def array(self: Array, *arguments: Any, **named: Any) -> None:
    """Make an Array of a NumPy scalar, too: arithmetic turns arrays without dimensions into scalars.

    Flower's FedAdam, FedTrimmedAvg and Bulyan fail without on a model with BatchNorm, whose counters are such
    arrays.
    """
    scalars = (np.asarray(each) if isinstance(each, np.generic) else each for each in arguments)
    _array(self, *scalars, **named)


def install(put: Put = setattr) -> None:
    """Put all of it in place, for as long as this process lives."""
    put(strategy.Strategy, "start", start)
    put(ServerApp, "__call__", call)
    put(Array, "__init__", array)


@contextmanager
def installed() -> Iterator[None]:
    """Put all of it in place for a simulation or a check."""
    install()
    try:
        yield
    finally:
        strategy.Strategy.start = _start  # type: ignore[method-assign]
        ServerApp.__call__ = _call  # type: ignore[method-assign]
        Array.__init__ = _array  # type: ignore[method-assign]
