"""The NVIDIA GPUs of this machine: which are there, which layer fails, and what they measure."""

from oneflower.gpu.found import Found, Gpu, Layer

__all__ = ["Found", "Gpu", "Layer"]
