"""The first error of a grid ends the app, also where the app's code catches it.

Flower's legacy server calls its clients in a pool of threads and takes what is raised there for a client's
failure, and an own loop may have an `except Exception` around a call. The app would go on, train nothing and
end well.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from oneflower.errors import OneflowerError

P = ParamSpec("P")
R = TypeVar("R")


class FirstError:
    """Remembers the first error that was raised on purpose, and raises it again."""

    def __init__(self) -> None:
        self._error: OneflowerError | None = None
        self._main, self._ended = threading.get_ident(), False

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Run a block, unless one has failed before: then it fails in the same way."""
        self.raise_again()
        try:
            yield
        except OneflowerError as error:
            self._error = self._error or error
            raise

    @contextmanager
    def in_place_of_others(self) -> Iterator[None]:
        """Run the app's code, and raise what failed first, whatever the app has made of it."""
        self._main = threading.get_ident()
        try:
            yield
        except (Exception, SystemExit) as error:
            if self._error is None or self._error is error:
                raise
            raise self._error from error
        finally:
            self._ended = True
        self.raise_again()

    def is_over_for_this_thread(self) -> bool:
        """Whether the app has ended or fails, and this is a thread that Flower's server leaves behind."""
        left_behind = threading.current_thread().daemon and threading.get_ident() != self._main
        return left_behind and (self._ended or self._error is not None)

    def raise_again(self) -> None:
        """Raise the error that is remembered, if there is one."""
        if self._error is not None:
            raise self._error


class Fails(Protocol):
    """What has methods that are `final`."""

    @property
    def first_error(self) -> FirstError:
        """What has failed first."""


S = TypeVar("S", bound=Fails)


def final(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let an error of a method be the last thing that its object does."""

    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.first_error.remembered():
            return method(self, *args, **kwargs)

    return update_wrapper(call, method)


def none_at_the_end(method: Callable[[S], Iterable[int]]) -> Callable[[S], Iterable[int]]:
    """Let a method return nothing to the thread that asks for nodes after the app has ended."""

    def call(self: S) -> Iterable[int]:
        return [] if self.first_error.is_over_for_this_thread() else method(self)

    return update_wrapper(call, method)
