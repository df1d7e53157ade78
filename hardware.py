"""Hardware: memory formats, malloc settings, and the environment recorded with results."""

import ctypes
import os
import platform
import re
from pathlib import Path

import torch
import torchvision


def to_device(model, device):
    """Move a model to a device and return it.

    On a CPU its weights get the channels-last memory format, in which convolutions are faster.
    Values stay the same; results differ by rounding.
    """
    model.to(device)
    if torch.device(device).type == "cpu":
        model.to(memory_format=torch.channels_last)
    return model


def keep_freed_memory():
    """Tell glibc to keep freed memory instead of returning it to the OS; return whether it could.

    Otherwise every training step on a CPU maps its large tensors anew, page by page (mallopt(3):
    M_MMAP_THRESHOLD, M_TRIM_THRESHOLD). Results are bit-equal; the process keeps its peak memory
    until it ends. Without glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    mmap_threshold, trim_threshold = -3, -1  # of malloc.h
    raised = mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)  # older glibc's limit
    return bool(raised and mallopt(trim_threshold, 2**31 - 1))


def environment(device):
    """Return the hardware and the versions that belong beside a result, as a dict."""
    device = torch.device(device)
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        cpuinfo = Path("/proc/cpuinfo")  # where it exists, it says more than platform
        names = re.findall(r"model name\s*: (.+)", cpuinfo.read_text() if cpuinfo.exists() else "")
        hardware = f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
    return {
        "device": str(device),
        "hardware": hardware,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
