"""Entry points for torch.hub: torch.hub.load(REPOSITORY_OR_FOLDER, "net5", pretrained=True).

Every entry point returns a network of model.py on the CPU: images (N, 1, 28, 28), normalised by
mean 0.1307 and standard deviation 0.3081, to log-probabilities (N, 10). `weights/metadata.json`
says where the pretrained weights come from and what they reach.
"""

import hashlib as _hashlib  # underscores: torch.hub lists what is public here as entry points
import io as _io
import json as _json
from pathlib import Path as _Path

import torch as _torch

import model as _model

dependencies = ["torch"]
_WEIGHTS = _Path(__file__).resolve().parent / "weights"


def net1():
    """Net1, untrained: 257,354 parameters."""
    return _model.Net1()


def net2():
    """Net2, untrained: 19,942 parameters."""
    return _model.Net2()


def net3():
    """Net3, untrained: 19,942 parameters."""
    return _model.Net3()


def net4():
    """Net4, untrained: 7,216 parameters."""
    return _model.Net4()


def net5(pretrained=False, width=12):
    """Net5 of a width, 7,216 parameters by default; pretrained at widths 12 and 8.

    Raises ValueError for a width without weights, and for weights that are damaged or do not fit.
    """
    net = _model.Net5(width)
    return _with_weights(net, width) if pretrained else net


def net5_small(pretrained=False):
    """Net5 of width 8: 3,534 parameters."""
    return net5(pretrained, width=8)


def _with_weights(net, width):
    """Fill a Net5 with the weights that metadata.json names for its width, and set it to eval."""
    entries = _json.loads((_WEIGHTS / "metadata.json").read_text())
    entry = next((entry for entry in entries if entry["width"] == width), None)
    if entry is None:
        held = ", ".join(str(entry["width"]) for entry in entries)
        raise ValueError(f"there are pretrained weights for width {held}, not for {width}")
    path = _WEIGHTS / entry["file"]
    content = path.read_bytes()
    digest = _hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        raise ValueError(f"{path}: expected SHA-256 {entry['sha256']}, got {digest}")
    weights = _torch.load(_io.BytesIO(content), map_location="cpu", weights_only=True)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit Net5 of width {width}: {error}") from error
    return net.eval()
