"""Seed every global random generator of a process: the same numbers for the same seed, round and partition.

An app may import its framework in the middle of a message. What is imported then is seeded as soon as it is
there, so that it makes no difference whether the process had it before.

JAX has no global generator: its apps make keys of their own, which are the same as long as their numbers are.
"""

import hashlib
import importlib.abc
import importlib.machinery
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final, Literal

NUMPY_SEEDS: Final = 2**32
TENSORFLOW_SEEDS: Final = 2**31


def derived_seed(*parts: int | str) -> int:
    """Hash the parts into a seed of 63 bits: neighbouring rounds and partitions get unrelated streams."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(*parts: int | str) -> int:
    """Seed Python, NumPy, and PyTorch, TensorFlow and Keras where they are or will be imported.

    A client is seeded by (seed, round, partition, message type), a server by (seed, "server", round).

    Returns
    -------
    int
        The seed: `derived_seed` of the parts.
    """
    number = derived_seed(*parts)
    _seed(number)
    return number


@contextmanager
def seeded(*parts: int | str) -> Iterator[int]:
    """Seed as `seed_everything` for a block; the generators then go on where they were before it.

    In a simulation the server has the same process, and draws as if its clients had others.
    """
    if _watch.ends:
        yield seed_everything(*parts)
        return
    states, before = _states(), _watch.number
    try:
        yield seed_everything(*parts)
    finally:
        _watch.number = before
        _restore(states)


def ends_with_its_message() -> None:
    """Say that this process serves one message: `seeded` sets nothing back, which would copy pages."""
    _watch.ends = True


def _seed(number: int) -> None:
    _watch.start(number)
    for name, seeder in _SEEDERS.items():  # Keras first: it seeds others, too
        module = sys.modules.get(name)
        if module is not None:
            seeder(module, number)
    random.seed(number)


def _seed_keras(keras: Any, number: int) -> None:
    """Reset its generator, too, which draws for whatever is given no seed."""
    keras.utils.set_random_seed(number % TENSORFLOW_SEEDS)


def _seed_tensorflow(tensorflow: Any, number: int) -> None:
    tensorflow.random.set_seed(number % TENSORFLOW_SEEDS)


def _seed_numpy(numpy: Any, number: int) -> None:
    numpy.random.seed(number % NUMPY_SEEDS)


def _seed_torch(torch: Any, number: int) -> None:
    """Seed every device, and prefer deterministic algorithms: an app that needs another one gets a warning.

    An app that forbids others has done so itself.
    """
    torch.manual_seed(number)
    # cuBLAS reads this at its first call and is not deterministic without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not torch.are_deterministic_algorithms_enabled():
        choose_deterministic_algorithms(torch, "warn")


def choose_deterministic_algorithms(torch: Any, mode: Literal["warn", "error"]) -> None:
    """Do as `torch.use_deterministic_algorithms(True)`, without importing PyTorch's compiler.

    That imports 840 modules in each process, which takes as long as PyTorch itself, to set one variable of
    the compiler's configuration. Where the compiler is imported later, it takes it from the environment.
    """
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    compiler = sys.modules.get("torch._inductor.config")
    if compiler is not None:
        compiler.deterministic = True  # type: ignore[attr-defined]
    torch.set_deterministic_debug_mode(mode)


_SEEDERS: Final[dict[str, Callable[[Any, int], None]]] = {
    "keras": _seed_keras,
    "tensorflow": _seed_tensorflow,
    "numpy": _seed_numpy,
    "torch": _seed_torch,
}


# --- states -------------------------------------------------------------------------------------------


def _states() -> dict[str, Any]:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    return {
        "python": random.getstate(),
        "numpy": numpy and numpy.random.get_state(),
        "torch": torch and torch.get_rng_state(),
        "cuda": torch and torch.cuda.is_initialized() and torch.cuda.get_rng_state_all(),
    }


def _restore(states: dict[str, Any]) -> None:
    """Set what had a state; a module that was imported since then keeps its own."""
    random.setstate(states["python"])
    if states["numpy"]:
        sys.modules["numpy"].random.set_state(states["numpy"])
    if states["torch"] is not None:
        sys.modules["torch"].set_rng_state(states["torch"])
    if states["cuda"]:
        sys.modules["torch"].cuda.set_rng_state_all(states["cuda"])


# --- late imports ---------------------------------------------------------------------------------------


class _Watch(importlib.abc.MetaPathFinder):
    """Seeds a framework right after it was imported, and tells those that wait for it."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.ends = False
        self.waiting: list[Callable[[str, ModuleType], None]] = []

    def start(self, number: int) -> None:
        self.number = number
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the module as the others do, and seed it when it has been executed."""
        if fullname not in _SEEDERS:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((each for each in found if each is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Seeding(spec.loader, self)
        return spec

    def imported(self, module: ModuleType) -> None:
        """Seed a module that has just been imported."""
        if self.number is not None:
            state = random.getstate()  # the app goes on with the numbers that it would have had
            _SEEDERS[module.__name__](module, self.number)
            random.setstate(state)
        for each in self.waiting:
            each(module.__name__, module)


class _Seeding(importlib.abc.Loader):
    """Loads a module as its own loader does."""

    def __init__(self, loader: Any, watch: _Watch) -> None:
        self._loader, self._watch = loader, watch

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Create the module with its own loader."""
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, which sees its own loader and never this one."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._watch.imported(module)


_watch: Final = _Watch()


@contextmanager
def told_of_imports(tell: Callable[[str, ModuleType], None]) -> Iterator[None]:
    """Call `tell` with each framework that is imported during the block, after it was seeded."""
    _watch.waiting.append(tell)
    if _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)
    try:
        yield
    finally:
        _watch.waiting.remove(tell)
