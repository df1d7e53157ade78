"""The state of a run: collect it, save it in one atomic write, load it, restore it."""

import copy
import hashlib
import io
import os
import random
import re
import tempfile
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from operator import length_hint
from pathlib import Path

import torch
from torch import nn

KEYS = {
    *("parts", "generators", "python_random", "torch_random", "cuda_random"),
    *("history", "settings"),
}
GROUP = " of parameter group "  # in the names of settings
SCHEDULE_CONSTANTS = (  # of torch's schedulers: how they were constructed, not where they stand
    *("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps"),
    *("total_steps", "T_max", "T_0", "T_mult", "eta_min", "gamma", "step_size", "milestones"),
    "base_lrs",
)


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

    def parts(self):
        """Return the objects with a state_dict, by name; of a compiled model, the original."""
        parts = {
            "model": getattr(self.model, "_orig_mod", self.model),
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "averaged_model": self.averaged_model,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def generators(self):
        """Return the torch.Generators of loaders, samplers and datasets, by name.

        Raises TypeError for a generator of another library, whose state would be lost.
        """
        found = {}
        for place, part in loader_parts(self.loaders):
            for name, value in getattr(part, "__dict__", {}).items():
                if isinstance(value, torch.Generator):
                    found[f"{place}.{name}"] = value
                elif isinstance(value, random.Random) or (
                    type(value).__module__.startswith("numpy.random")
                ):
                    raise TypeError(
                        f"expected {place}.{name} as a torch.Generator, whose state a checkpoint "
                        f"can hold, got {value!r}"
                    )
        return found

    def collect(self):
        """Return the state as plain values and tensors."""
        parts = {name: part.state_dict() for name, part in self.parts().items()}
        if "scheduler" in parts:
            parts["scheduler"] = without_functions(parts["scheduler"])
        return {
            "parts": parts,
            "generators": {name: g.get_state() for name, g in self.generators().items()},
            "python_random": random.getstate(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "history": asdict(self.history),
        }

    def restore(self, saved, settings, epochs, check):
        """Load a saved state, then call `check`.

        Raises ValueError, with nothing changed, for a state of another run or if `check` does.
        """
        before = copy.deepcopy(plain(self.collect()))
        problems = differences(before, saved, settings)
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

    def load(self, state):
        """Load what `collect` returned."""
        for name, part in self.parts().items():
            part.load_state_dict(state["parts"][name])
        for name, generator in self.generators().items():
            generator.set_state(state["generators"][name])
        random.setstate(state["python_random"])
        torch.set_rng_state(state["torch_random"])
        if state["cuda_random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_random"])
        vars(self.history).update(state["history"])


def loader_parts(owner, place=""):
    """Yield a loader, or a dict of loaders, and all samplers and datasets in it, with their names.

    Recurses into what BatchSampler, Subset, ConcatDataset and the like hold.
    """
    if isinstance(owner, (dict, list, tuple)):
        inside = owner.items() if isinstance(owner, dict) else enumerate(owner)
    else:
        yield place, owner
        names = ("loader", "sampler", "batch_sampler", "dataset", "datasets")
        held = getattr(owner, "__dict__", {})
        inside = [(f".{name}", held[name]) for name in names if name in held]
    for name, part in inside:
        yield from loader_parts(part, f"{place}{name}")


def without_functions(state):
    """Return a scheduler's state_dict without the functions in it, which its constructor restores.

    Includes the schedulers inside a SequentialLR or ChainedScheduler.
    """
    if isinstance(state, dict):
        return {k: without_functions(v) for k, v in state.items() if not callable(v)}
    return [without_functions(v) for v in state] if isinstance(state, list) else state


def differences(mine, saved, settings):
    """Return the differences between a run and a saved one, as a list of sentences."""
    then = saved["settings"]
    compared = [(name, settings.get(name), then.get(name)) for name in settings | then]
    if has_moved(mine["parts"].get("scheduler", {})):  # the same objects, partly trained
        compared = [row for row in compared if GROUP not in row[0]]
    compared += [
        (name, sorted(mine[name]), sorted(saved[name])) for name in ("parts", "generators")
    ]
    schedules = [schedule_constants(s["parts"].get("scheduler", {})) for s in (mine, saved)]
    compared += [
        (f"the scheduler's {name}", *(schedule.get(name) for schedule in schedules))
        for name in schedules[0] | schedules[1]
    ]
    return [
        f"{name} is {now!r}, the checkpoint's {then!r}"
        for name, now, then in compared
        if now != then
    ]


def has_moved(state):
    """Return whether a scheduler, or one inside it, has stepped, from its state_dict."""
    nested = state.get("_schedulers", [])
    return state.get("last_epoch", 0) > 0 or any(has_moved(each) for each in nested)


def schedule_constants(state, prefix=""):
    """Return the constants in a scheduler's state_dict, by name, nested schedulers included."""
    constants = {prefix + name: state[name] for name in SCHEDULE_CONSTANTS if name in state}
    for k, nested in enumerate(state.get("_schedulers", [])):
        constants |= schedule_constants(nested, f"{prefix}{k}.")
    return constants


def run_settings(state, loss_function, step=None):
    """Return the settings that identify a run, as a dict of plain values."""
    loader, model = state.loaders["train_loader"], state.parts()["model"]
    dataset, sampler = getattr(loader, "dataset", None), getattr(loader, "sampler", None)
    settings = {
        "model": type(model).__name__,
        "layers": str(model),
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
    return {
        name: re.sub(r" at 0x\w+", "", value) if isinstance(value, str) else value
        for name, value in settings.items()
    }


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
    if not isinstance(state, dict) or state.keys() != KEYS:
        raise ValueError(f"{path} is not a checkpoint of fit: expected the keys {sorted(KEYS)}")
    return state


def evaluated_weights(state):
    """Return the state_dict of the weights that `fit` evaluated: the EMA's if there was one."""
    averaged_model = state["parts"].get("averaged_model")
    if averaged_model is None:
        return state["parts"]["model"]
    weights = {name.removeprefix("module."): tensor for name, tensor in averaged_model.items()}
    del weights["n_averaged"]
    return weights


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
