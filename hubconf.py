"""Entry points for torch.hub: torch.hub.load(REPOSITORY_OR_FOLDER, "net5", pretrained=True).

There is an entry point for every network of model.py's NETS, with the network's own arguments, and
`net5_hands`, a Net5 for handwriting that MNIST lacks: its 11th class is "no digit". Each returns
the network on the CPU. It maps images (N, 1, 28, 28), normalised by mean 0.1307 and standard
deviation 0.3081, to log-probabilities (N, classes), 10 by default. `weights/metadata.json` says how
the pretrained weights were trained, and their accuracy.
"""

import copyreg as _copyreg  # underscores: torch.hub lists what is public here as entry points
import hashlib as _hashlib
import importlib.util as _util
import inspect as _inspect
import io as _io
import json as _json
import sys as _sys
from functools import partial as _partial
from pathlib import Path as _Path

import torch as _torch

dependencies = ["torch"]

_HERE = _Path(__file__).resolve().parent
_METADATA = _HERE / "weights" / "metadata.json"


def _entry_point(name, network):
    """Return the entry point of a network: `pretrained`, then the network's own arguments."""
    signature = _inspect.signature(network)

    def entry_point(pretrained=False, *arguments, **named):
        given = signature.bind(*arguments, **named).arguments
        return _pretrained(name, network, given) if pretrained else network(**given)

    first, own = _inspect.signature(entry_point).parameters["pretrained"], signature.parameters
    entry_point.__signature__ = signature.replace(parameters=[first, *own.values()])
    entry_point.__name__ = entry_point.__qualname__ = name
    entry_point.__doc__ = f"""{network.__name__}: {network.__doc__}
    Pretrained: as it was trained, in eval mode. Raises ValueError for an argument other than that
    of the weights, and for weights that are damaged or do not fit; OSError where the files are
    missing.
    """
    return entry_point


def _pretrained(name, network, given):
    """Return a network, in eval mode, with the weights that metadata.json has for its name."""
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
    defaults = {key: own.default for key, own in _inspect.signature(network).parameters.items()}
    if defaults | trained_with | given != defaults | trained_with:
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


def _net5_hands(width=12, classes=11):
    """for handwriting that MNIST lacks, by the recipe `hands`; the last class is "no digit"."""
    return _model.Net5(width, classes)


_model = _load_model()
globals().update({name: _entry_point(name, network) for name, network in _model.NETS.items()})
_net5_hands.__name__ = "Net5 of 11 classes"  # for the docstring
net5_hands = _entry_point("net5_hands", _net5_hands)
