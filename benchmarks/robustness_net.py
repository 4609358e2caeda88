"""The image-classification app's local training, compiled from robustness_net.c.

The same steps as in PyTorch, five times as fast on one core; sums are in another order, so that the last
digits differ.

Without a C compiler, for other images than 28 x 28 grey ones, and where a loss is not finite, the app's own
training does the work.
"""

import ctypes
import functools
import hashlib
import math
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from os import environ, getpid
from pathlib import Path
from typing import Any, Final

import numpy as np

SOURCE: Final = Path(__file__).with_suffix(".c")
FOLDER: Final = SOURCE.parents[1] / ".cache" / "robustness"
FLAGS: Final = ("-O2", "-funroll-loops", "-march=native", "-std=gnu11", "-fPIC", "-shared")
NORMS: Final = ("features.1", "features.5")
COUNTER: Final = "num_batches_tracked"
MOST_IN_A_BATCH: Final = 256
SHAPE: Final = (28, 1, 10)
Training = Callable[..., tuple[Any, float]]


@functools.cache
def library() -> Any:
    """Compile, once for each version of the source, and load; None without a compiler."""
    compiler = shlex.split(environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        return None
    made = FOLDER / f"{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if not made.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        new = made.with_suffix(f".{getpid()}")
        subprocess.run([*compiler, *FLAGS, str(SOURCE), "-o", str(new), "-lm"], check=True)
        new.replace(made)
    loaded = ctypes.CDLL(str(made))
    loaded.train.restype = ctypes.c_double
    return loaded


def compiled_training(client: Any, own: Training) -> Training:
    """Return the local training of this client module, compiled where that can be; `own` is the app's."""
    import torch
    from image_classification.model import ImageShape

    from oneflower.flower.api import ArrayRecord
    from oneflower.flower.records import array_view
    from oneflower.sdk.client import set_determinism
    from oneflower.sdk.torch_app import shuffled

    def train(  # as the app's, which the client calls with a device and the server without one
        arrays: Any,
        images: Any,
        run_config: Mapping[str, object],
        info: Any,
        on: torch.device = client.PROCESSOR,
    ) -> tuple[ArrayRecord, float]:
        options = client.DEFAULTS.from_run_config(run_config, least_rows=2)
        shape = ImageShape.from_run_config(run_config)
        fits = (shape.size, shape.channels, shape.num_classes) == SHAPE
        fits = fits and on.type == "cpu" and options.batch_size <= MOST_IN_A_BATCH
        if library() is None or not fits or info.proximal_mu:
            return own(arrays, images, run_config, info, on)
        shuffling = set_determinism(info.seed, info.round, info.partition_id)
        rows = torch.stack(list(shuffled(len(images), options, shuffling, whole_batches=True)))
        weights = {name: array_view(array).copy() for name, array in arrays.items()}
        loss = _call(weights, images, rows.numpy(), info.lr or options.lr)
        if not math.isfinite(loss):
            return own(arrays, images, run_config, info, on)
        return ArrayRecord({name: torch.from_numpy(values) for name, values in weights.items()}), loss

    return train


def _call(weights: dict[str, Any], images: Any, rows: Any, lr: float) -> float:
    """Train; the weights become what was trained."""
    packed = {
        norm: np.concatenate([weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]])
        for norm in NORMS
    }
    passed = []
    for name, values in weights.items():
        layer, _, kind = name.rpartition(".")
        if kind == "running_mean":
            passed.append(packed[layer])
        elif kind not in {"running_var", COUNTER}:
            passed.append(np.ascontiguousarray(values))
            weights[name] = passed[-1]
    pointers = (ctypes.c_void_p * len(passed))(*(each.ctypes.data for each in passed))
    loss = library().train(
        pointers,
        ctypes.c_void_p(images.pixels.contiguous().data_ptr()),
        ctypes.c_void_p(images.labels.contiguous().data_ptr()),
        ctypes.c_void_p(rows.ctypes.data),
        ctypes.c_int64(len(rows)),
        ctypes.c_int64(rows.shape[1]),
        ctypes.c_float(lr),
    )
    for norm, both in packed.items():
        weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"] = map(np.copy, np.split(both, 2))
        weights[f"{norm}.{COUNTER}"] += len(rows)
    return float(loss)
