"""The state of a run: collect it, save it in one atomic write, load it, restore it."""

import copy
import hashlib
import io
import os
import random
import re
import tempfile
from dataclasses import asdict, dataclass, field
from numbers import Integral, Real
from operator import length_hint
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from loader_state import LoaderState
from schedules import has_moved, schedule_differences, schedule_settings, without_functions

KEYS = {"parts", "history", "settings"}  # of a checkpoint, among others
GROUP = " of parameter group "  # in the names of settings


@dataclass
class RunState:
    """Everything that decides how a run goes on.

    `loaders` maps names to loaders or None; `history` is a `History`.
    """

    model: nn.Module
    averaged_model: nn.Module | None
    optimizer: torch.optim.Optimizer
    scheduler: object
    loaders: dict
    history: object
    loader_state: LoaderState = field(init=False)

    def __post_init__(self):
        self.loader_state = LoaderState(self.loaders)

    def parts(self):
        """Return the objects with a state_dict, by name."""
        parts = {name: getattr(self, name) for name in ("model", "optimizer", "scheduler")}
        parts |= {"averaged_model": self.averaged_model}
        return {name: part for name, part in parts.items() if part is not None}

    def other_parameters(self):
        """Return the parameters that are optimized but not the model's, such as a loss's own."""
        own = set(self.model.parameters())
        groups = self.optimizer.param_groups
        return [each for group in groups for each in group["params"] if each not in own]

    def collect(self):
        """Return the state as plain values and tensors.

        Raises TypeError for loaders with a state that a checkpoint cannot hold.
        """
        self.loader_state.check()
        parts = {}
        for name, part in self.parts().items():
            names = bare_names(part, averaged=name == "averaged_model")
            parts[name] = {names.get(key, key): value for key, value in part.state_dict().items()}
        if "scheduler" in parts:
            parts["scheduler"] = without_functions(parts["scheduler"])
        parts["other_parameters"] = [each.detach() for each in self.other_parameters()]
        return {
            "parts": parts,
            "loaders": self.loader_state.collect(),
            "python_random": random.getstate(),
            "numpy_random": numpy_random(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "history": asdict(self.history),
        }

    def restore(self, saved, settings, epochs, check):
        """Take over a saved state, then call `check`; return the settings that the run keeps.

        Those are the saved ones if the schedule has moved: it no longer shows how it was made.
        Raises ValueError, with nothing changed, for a state of another run or if `check` does.
        """
        before = copy.deepcopy(plain(self.collect()))
        problems = differences(before, saved, settings, self.scheduler)
        done = len(saved["history"]["train_loss"])
        if epochs < done:
            problems.append(f"epochs is {epochs}, the checkpoint has done {done}")
        if problems:
            raise ValueError("this checkpoint is of another run: " + "; ".join(problems))
        try:
            self.load(saved)
            check()
        except Exception as error:  # whatever a part's load_state_dict raises
            self.load(before)
            raise ValueError(f"this checkpoint does not fit: {error}") from error
        return saved["settings"] if has_moved(before["parts"].get("scheduler", {})) else settings

    def load(self, state):
        """Load what `collect` returned."""
        for name, part in self.parts().items():
            wrapped = {
                bare: key
                for key, bare in bare_names(part, averaged=name == "averaged_model").items()
            }
            values = state["parts"][name].items()
            part.load_state_dict({wrapped.get(key, key): value for key, value in values})
        others = state["parts"]["other_parameters"]
        for parameter, value in zip(self.other_parameters(), others, strict=True):
            parameter.detach().copy_(value)
        self.loader_state.load(state["loaders"])
        random.setstate(state["python_random"])
        set_numpy_random(state["numpy_random"])
        torch.set_rng_state(state["torch_random"])
        if state["cuda_random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_random"])
        vars(self.history).update(state["history"])


def numpy_random():
    """Return the state of NumPy's global generator as plain values."""
    kind, key, *rest = np.random.get_state()
    return [kind, key.tolist(), *rest]


def set_numpy_random(state):
    """Set NumPy's global generator to a state of `numpy_random`."""
    kind, key, *rest = state
    np.random.set_state((kind, np.array(key, dtype=np.uint32), *rest))


# --- Networks in wrappers ----------------------------------------------------------------------


def inner_name(module):
    """Return the name by which a wrapper of a network holds it, None for any other module."""
    if "_orig_mod" in module._modules:  # torch.compile
        return "_orig_mod"
    wrappers = (DataParallel, DistributedDataParallel, AveragedModel)
    return "module" if isinstance(module, wrappers) else None


def unwrapped(model):
    """Return the network inside torch.compile, (Distributed)DataParallel or AveragedModel."""
    while name := inner_name(model):
        model = model.get_submodule(name)
    return model


def bare_names(part, averaged):
    """Return the keys of a state_dict without what wrappers of networks put in: {key: bare key}.

    Wrappers of the whole network count, and those of its layers. With `averaged`, the outermost
    AveragedModel is no wrapper: its `module.` and `n_averaged` stay.
    """
    modules = part.named_modules(remove_duplicate=False) if isinstance(part, nn.Module) else ()
    wrappers = {name: module for name, module in modules if inner_name(module)}
    if averaged:
        averages = (k for k, each in wrappers.items() if isinstance(each, AveragedModel))
        wrappers.pop(next(averages, None), None)
    prefixes = {name: f"{name}." if name else "" for name in wrappers}
    names = {}
    for key in part.state_dict():
        names[key] = key
        for name in reversed(wrappers):  # the innermost first
            wrapped = f"{prefixes[name]}{inner_name(wrappers[name])}."
            if names[key].startswith(wrapped):
                names[key] = prefixes[name] + names[key].removeprefix(wrapped)
    return names


# --- What must agree ---------------------------------------------------------------------------


def differences(mine, saved, settings, scheduler):
    """Return what tells a run from a saved one, a sentence each."""
    if mine.keys() | {"settings"} != saved.keys():
        return ["it was saved by another version of this code"]
    then = saved["settings"]
    moved = has_moved(mine["parts"].get("scheduler", {}))  # the same objects, partly trained
    names = settings.keys() | then.keys()
    compared = [(name, settings.get(name), then.get(name)) for name in names - {"schedule"}]
    if moved:
        compared = [row for row in compared if GROUP not in row[0]]
    places = [(sorted(s["parts"]), sorted(s["loaders"]["generators"])) for s in (mine, saved)]
    compared += zip(("parts", "generators"), *places, strict=True)
    found = [
        f"{name} is {now!r}, the checkpoint's {then!r}"
        for name, now, then in compared
        if now != then
    ]
    schedules = settings["schedule"], then.get("schedule", {})
    return found + schedule_differences(*schedules, scheduler, moved)


def run_settings(state, loss_function, step=None, steps=0):
    """Return what tells one run from another, as plain values; the run takes `steps` of `step`."""
    loader, model = state.loaders["train_loader"], unwrapped(state.model)
    dataset, sampler = getattr(loader, "dataset", None), getattr(loader, "sampler", None)
    settings = {
        "model": type(model).__name__,
        # older torch leaves bias out of a BatchNorm's repr
        "layers": str(model).replace("affine=True, track_", "affine=True, bias=True, track_"),
        "averaged_model": state.averaged_model is not None,
        "evaluated_on": [name for name, loader in state.loaders.items() if loader is not None][1:],
        "optimizer": f"{type(state.optimizer).__name__} {state.optimizer.defaults}",
        "scheduler": type(state.scheduler).__name__,
        "step": step,
        "loss_function": getattr(loss_function, "__qualname__", repr(loss_function)),
        "loader": type(loader).__name__,
        "batch_size": getattr(loader, "batch_size", None),
        "drop_last": getattr(loader, "drop_last", None),
        "shuffle": getattr(loader, "shuffle", type(sampler).__name__),
        "images": length_hint(dataset),
        "transforms": str(getattr(dataset, "transform", None)),
    }
    for k, group in enumerate(state.optimizer.param_groups):
        lr = float(group.get("initial_lr", group["lr"]))  # that before the schedule
        values = group | {"params": len(group["params"]), "lr": lr, "initial_lr": lr}
        settings |= {f"{name}{GROUP}{k}": str(value) for name, value in values.items()}
    settings = {
        name: re.sub(r" at 0x\w+", "", value) if isinstance(value, str) else value
        for name, value in settings.items()
    }
    return settings | {"schedule": schedule_settings(state.scheduler, steps)}


def plain(value, name="checkpoint"):
    """Return a value as the plain types that a checkpoint may hold; TypeError names any other."""
    if value is None or isinstance(value, (bool, str, torch.Tensor)):
        return value
    for kind, convert in ((Integral, int), (Real, float)):  # numpy's numbers are among them
        if isinstance(value, kind):
            return convert(value)
    if isinstance(value, dict):
        return {plain(k, name): plain(v, f"{name}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item, f"{name}[{k}]") for k, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise TypeError(f"expected numbers, strings and tensors for a checkpoint, {name} is {value!r}")


def file_path(path):
    """Return a path with ~ expanded; ValueError for an empty one."""
    if not str(path):
        raise ValueError("expected a path, got ''")
    return Path(path).expanduser()


def checkpoint_bytes(state):
    """Return a state as the bytes of a checkpoint, followed by their SHA-256."""
    buffer = io.BytesIO()
    torch.save(plain(state), buffer)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()


def check_checkpoint(path, resume, state):
    """Raise TypeError or OSError if a state cannot be saved, or not in this file."""
    checkpoint_bytes(state)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"expected a folder for {path.name}, there is no {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"expected a file for the checkpoint, got the folder {path}")
    if path.exists() and not resume:
        raise FileExistsError(f"{path} holds a run: resume it, or choose another file")
    tempfile.TemporaryFile(dir=path.parent).close()  # OSError where nothing can be written


def save_checkpoint(path, state):
    """Write a state of plain values and tensors by one replacement of the file."""
    write_atomically(path, checkpoint_bytes(state))


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; ValueError for anything else. Runs no code in the file."""
    path = file_path(path)
    content = path.read_bytes()
    payload, digest = content[:-32], content[-32:]
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"{path} is not a checkpoint, or is damaged: its SHA-256 does not match")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's own messages fill a screen
        raise ValueError(
            f"{path} is not a checkpoint: {type(error).__name__} reading it"
        ) from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise ValueError(f"{path} is not a checkpoint of fit: expected the keys {sorted(KEYS)}")
    return state


def evaluated_weights(state):
    """Return the state_dict of the weights that `fit` evaluated: the EMA's if there was one.

    It fits the network by itself, whatever wrapped it in training.
    """
    weights = state["parts"]["model"]
    if "averaged_model" in state["parts"]:
        averaged = state["parts"]["averaged_model"].items()
        weights = {name.removeprefix("module."): tensor for name, tensor in averaged}
    return {name: tensor for name, tensor in weights.items() if name != "n_averaged"}


def write_atomically(path, content):
    """Write bytes to a file so that a crash at any instant leaves the old content or the new."""
    path = file_path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
