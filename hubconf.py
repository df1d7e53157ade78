"""Entry points for torch.hub: torch.hub.load(REPOSITORY_OR_FOLDER, "net5", pretrained=True).

Every entry point returns a network of model.py on the CPU: images (N, 1, 28, 28), normalised by
mean 0.1307 and standard deviation 0.3081, to log-probabilities (N, 10). `weights/metadata.json`
says where the pretrained weights come from and what they reach.
"""

import hashlib as _hashlib  # underscores: torch.hub lists what is public here as entry points
import importlib.util as _util
import io as _io
import json as _json
from pathlib import Path as _Path

import torch as _torch

dependencies = ["torch"]

_HERE = _Path(__file__).resolve().parent
_METADATA = _HERE / "weights" / "metadata.json"


def _load_model():
    """Import model.py by its path: the caller may well have a module `model` of another kind."""
    spec = _util.spec_from_file_location("step_by_step_mnist_model", _HERE / "model.py")
    module = _util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_model = _load_model()


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

    Raises ValueError for a width without weights, and for weights that are damaged or do not fit;
    OSError where the files are missing.
    """
    net = _model.Net5(width)
    return _with_weights(net, width) if pretrained else net


def net5_small(pretrained=False):
    """Net5 of width 8: 3,534 parameters."""
    return net5(pretrained, width=8)


def _with_weights(net, width):
    """Fill a Net5 with the weights that metadata.json names for its width, and set it to eval."""
    try:
        entries = {entry["width"]: entry for entry in _json.loads(_METADATA.read_text())}
        entry = entries.get(width)
        path, expected = entry and _METADATA.with_name(entry["file"]), entry and entry["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{_METADATA} is damaged: {error!r}") from error
    if entry is None:
        held = ", ".join(map(str, entries))
        raise ValueError(f"there are pretrained weights for width {held}, not for {width}")
    content = path.read_bytes()
    digest = _hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise ValueError(f"{path}: expected SHA-256 {expected}, got {digest}")
    weights = _torch.load(_io.BytesIO(content), map_location="cpu", weights_only=True)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit Net5 of width {width}: {error}") from error
    return net.eval()
