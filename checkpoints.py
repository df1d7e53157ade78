"""The state of a run: collect it, save it in one atomic write, load it, restore it."""

import hashlib
import io
import os
import random
import re
from dataclasses import asdict, dataclass
from operator import length_hint
from pathlib import Path

import torch
from torch import nn

SCHEDULE_CONSTANTS = (  # of torch's schedulers: what they were made with, not where they are
    *("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps"),
    *("total_steps", "T_max", "T_0", "T_mult", "eta_min", "gamma", "step_size", "milestones"),
    "base_lrs",
)
CHECKPOINT_KEYS = {
    "parts",
    "generators",
    "python_random",
    "torch_random",
    "cuda_random",
    "history",
    "settings",
}


@dataclass
class RunState:
    """Everything that decides how a run goes on."""

    model: nn.Module
    averaged: nn.Module | None
    optimizer: torch.optim.Optimizer
    scheduler: object
    train_loader: object
    test_loader: object
    history: object
    val_loader: object = None

    def parts(self):
        """Return the parts that have a state_dict, by name; a compiled model counts as itself."""
        parts = {"model": getattr(self.model, "_orig_mod", self.model)}
        parts |= {"optimizer": self.optimizer, "scheduler": self.scheduler}
        parts |= {"averaged": self.averaged}
        return {name: part for name, part in parts.items() if part is not None}

    def generators(self):
        """Return the loaders' own random generators, by name."""
        names = ("train_loader", "test_loader", "val_loader")
        generators = {name: getattr(getattr(self, name), "generator", None) for name in names}
        return {name: generator for name, generator in generators.items() if generator is not None}

    def collect(self):
        """Return the state as plain values and tensors."""
        parts = {name: part.state_dict() for name, part in self.parts().items()}
        if "scheduler" in parts:  # some keep functions in it, which their constructors bring anyway
            parts["scheduler"] = {k: v for k, v in parts["scheduler"].items() if not callable(v)}
        return {
            "parts": parts,
            "generators": {name: g.get_state() for name, g in self.generators().items()},
            "python_random": random.getstate(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "history": asdict(self.history),
        }

    def restore(self, saved, settings, epochs):
        """Take over a saved state; ValueError, with nothing changed, if it is of another run."""
        mine = plain(self.collect())
        compared = [
            (name, settings.get(name), saved["settings"].get(name))
            for name in settings | saved["settings"]
        ]
        compared += [
            (name, sorted(mine[name]), sorted(saved[name])) for name in ("parts", "generators")
        ]
        schedules = [state["parts"].get("scheduler", {}) for state in (mine, saved)]
        compared += [
            (f"the scheduler's {name}", *(schedule.get(name) for schedule in schedules))
            for name in SCHEDULE_CONSTANTS
        ]
        differing = [
            f"{name} is {now!r}, the checkpoint's {then!r}"
            for name, now, then in compared
            if now != then
        ]
        done = len(saved["history"]["test_loss"])
        if epochs < done:
            differing.append(f"epochs is {epochs}, the checkpoint has done {done}")
        if differing:
            raise ValueError("this checkpoint is of another run: " + "; ".join(differing))
        for name, part in self.parts().items():
            part.load_state_dict(saved["parts"][name])
        for name, generator in self.generators().items():
            generator.set_state(saved["generators"][name])
        random.setstate(saved["python_random"])
        torch.set_rng_state(saved["torch_random"])
        if saved["cuda_random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(saved["cuda_random"])
        vars(self.history).update(saved["history"])


def run_settings(state, loss_function):
    """Return what tells one run from another, as plain values."""
    loader, model = state.train_loader, state.parts()["model"]
    dataset, sampler = getattr(loader, "dataset", None), getattr(loader, "sampler", None)
    settings = {
        "model": type(model).__name__,
        "layers": str(model),
        "averaged": state.averaged is not None,
        "validation": state.val_loader is not None,
        "optimizer": f"{type(state.optimizer).__name__} {state.optimizer.defaults}",
        "scheduler": type(state.scheduler).__name__,
        "loss_function": getattr(loss_function, "__qualname__", repr(loss_function)),
        "loader": type(loader).__name__,
        "batch_size": getattr(loader, "batch_size", None),
        "drop_last": getattr(loader, "drop_last", None),
        "shuffle": getattr(loader, "shuffle", type(sampler).__name__),
        "images": length_hint(dataset),
        "transforms": str(getattr(dataset, "transform", None)),
    }
    return {
        name: re.sub(r" at 0x\w+", "", value) if isinstance(value, str) else value
        for name, value in settings.items()
    }


def plain(value, name="checkpoint"):
    """Return a value of the plain types that a checkpoint may hold; TypeError names any other."""
    if value is None or isinstance(value, (bool, str, torch.Tensor)):
        return value
    for kind in (int, float):  # numpy's numbers among them
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, dict):
        return {plain(k, name): plain(v, f"{name}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item, f"{name}[{k}]") for k, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise TypeError(f"expected numbers, strings and tensors for a checkpoint, {name} is {value!r}")


def checkpoint_bytes(state):
    """Return a state as the bytes of a checkpoint, its SHA-256 behind it."""
    buffer = io.BytesIO()
    torch.save(plain(state), buffer)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()


def check_checkpoint(path, resume, state):
    """Raise TypeError or OSError if a state cannot be kept, or not in this file."""
    checkpoint_bytes(state)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"expected a folder for {path.name}, there is no {path.parent}")
    if path.exists() and not resume:
        raise FileExistsError(f"{path} holds a run: resume it, or choose another file")


def save_checkpoint(path, state):
    """Write a state of plain values and tensors by one replacement of the file."""
    write_atomically(path, checkpoint_bytes(state))


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; ValueError for anything else. Runs no code in the file."""
    content = Path(path).read_bytes()
    payload, digest = content[:-32], content[-32:]
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"{path} is not a checkpoint, or a damaged one: its SHA-256 is wrong")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch makes of bytes that are no checkpoint
        reason = f"{type(error).__name__} in reading it"  # torch's own words fill a screen
        raise ValueError(f"{path} is not a checkpoint: {reason}") from error
    if not isinstance(state, dict) or state.keys() != CHECKPOINT_KEYS:
        raise ValueError(f"{path} is not a checkpoint of fit: it lacks its parts")
    return state


def tested_weights(state):
    """Return the weights that `fit` tested, by name, from a checkpoint: the average if it took one.

    They fit a network of the kind that was trained.
    """
    averaged = state["parts"].get("averaged")
    if averaged is None:
        return state["parts"]["model"]
    weights = {name.removeprefix("module."): tensor for name, tensor in averaged.items()}
    del weights["n_averaged"]
    return weights


def write_atomically(path, content):
    """Write bytes to a file so that a crash at any instant leaves the old content or the new."""
    path = Path(path)
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
