"""Entry points for torch.hub: torch.hub.load(REPOSITORY_OR_FOLDER, "net5", pretrained=True).

Every entry point returns a network of model.py on the CPU: images (N, 1, 28, 28), normalised by
mean 0.1307 and standard deviation 0.3081, to log-probabilities (N, classes), 10 by default.
`weights/metadata.json` says where the pretrained weights come from and what accuracy they reach.
"""

import copyreg as _copyreg  # underscores: torch.hub lists what is public here as entry points
import hashlib as _hashlib
import importlib.util as _util
import io as _io
import json as _json
import sys as _sys
from functools import partial as _partial
from pathlib import Path as _Path

import torch as _torch

dependencies = ["torch"]

_HERE = _Path(__file__).resolve().parent
_METADATA = _HERE / "weights" / "metadata.json"


def net1(classes=10):
    """Net1, untrained: 257,354 parameters."""
    return _model.Net1(classes=classes)


def net2(classes=10):
    """Net2, untrained: 19,942 parameters."""
    return _model.Net2(classes=classes)


def net3(classes=10):
    """Net3, untrained: 19,942 parameters."""
    return _model.Net3(classes=classes)


def net4(pretrained=False, dropout=None, classes=None):
    """Net4: 7,216 parameters, dropout 0.05 by default. Pretrained: as it was trained, in eval mode.

    Raises ValueError for an argument other than that of the weights, and for weights that are
    damaged or do not fit; OSError where the files are missing.
    """
    return _made("net4", pretrained, dropout=dropout, classes=classes)


def net5(pretrained=False, width=None, classes=None):
    """Net5: 7,216 parameters, width 12 by default. Pretrained: as for net4."""
    return _made("net5", pretrained, width=width, classes=classes)


def net6(pretrained=False, width=None, classes=None):
    """Net6: one kernel used four times, width 12 by default. Pretrained: as for net4."""
    return _made("net6", pretrained, width=width, classes=classes)


def _made(name, pretrained, **arguments):
    """Return the network of a name, with the weights that metadata.json has for it if asked."""
    network = getattr(_model, name.capitalize())
    given = {key: value for key, value in arguments.items() if value is not None}
    if not pretrained:
        return network(**given)
    try:
        entries = {
            entry["name"]: (entry["file"], entry["sha256"], dict(entry["arguments"]))
            for entry in _json.loads(_METADATA.read_text())
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{_METADATA} is damaged: {error!r}") from error
    if name not in entries:
        raise ValueError(f"there are pretrained weights for {', '.join(entries)}, not for {name}")
    file, expected, trained_with = entries[name]
    if given != {key: trained_with.get(key) for key in given}:
        raise ValueError(f"the weights of {name} are for {trained_with}, got {given}")
    net, path = network(**trained_with), _METADATA.with_name(file)
    content = path.read_bytes()
    digest = _hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise ValueError(f"{path}: expected SHA-256 {expected}, got {digest}")
    weights = _torch.load(_io.BytesIO(content), map_location="cpu", weights_only=True)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {type(net).__name__}: {error}") from error
    return net.eval()


def _load_model():
    """Import model.py of this folder, once, under a name that no module of the caller's has."""
    path = _HERE / "model.py"
    name = f"step_by_step_mnist_model_{_hashlib.sha256(bytes(path)).hexdigest()[:16]}"
    if name not in _sys.modules:
        spec = _util.spec_from_file_location(name, path)
        module = _util.module_from_spec(spec)
        spec.loader.exec_module(module)
        _sys.modules[name] = module
        for value in vars(module).values():
            if getattr(value, "__module__", None) == name and isinstance(value, type):
                _copyreg.pickle(value, _reduced)
    return _sys.modules[name]


def _reduced(module):
    """Return what pickle needs to build a module of model.py where model.py cannot be imported."""
    empty = _partial(_torch.hub.load, str(_HERE), "_empty", source="local")
    return empty, (type(module).__name__,), module.__dict__


def _empty(name):
    """Return an instance of a class of model.py, to be filled by pickle."""
    module = getattr(_model, name)
    return module.__new__(module)


_model = _load_model()
