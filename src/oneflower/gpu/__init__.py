"""The NVIDIA GPUs of this machine: which are there, which layer fails, and what they measure."""

from oneflower.gpu.detect import detect
from oneflower.gpu.found import Found, Gpu, Layer
from oneflower.gpu.framework import Probe
from oneflower.gpu.pci import pci_gpus
from oneflower.gpu.programs import Ran, Run, run_program

__all__ = ["Found", "Gpu", "Layer", "Probe", "Ran", "Run", "detect", "pci_gpus", "run_program"]
