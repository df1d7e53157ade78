"""What loaders, samplers, datasets and transforms remember from one epoch to the next."""

import io
import pickle
import random
from collections.abc import Iterator
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

HELD = {"loader", "sampler", "batch_sampler", "dataset", "datasets", "collate_fn"}
HELD |= {"transform", "target_transform", "transforms", "lambd"}  # attributes that are followed
GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
CALLABLES = (FunctionType, MethodType, partial)
FOLLOWED = (*GENERATORS, *CALLABLES, DataLoader, Dataset, Sampler, nn.Module, Iterator)
PLAIN = (int, float, str, type(None), np.integer, np.floating)
SHORT = 100  # a longer list is data: parts are not looked for in it


def loader_parts(owner, place="", seen=None):
    """Yield (place, part) for a loader, or a dict of loaders, and all that decides its batches.

    That is samplers, datasets, transforms and random generators, however they are nested: in each
    other, in lists, closures or partial functions. Each part comes once.
    """
    seen = {} if seen is None else seen
    if id(owner) in seen:
        return
    seen[id(owner)] = owner  # kept, so that no other object gets this id
    if not isinstance(owner, (dict, list, tuple)):
        yield place, owner
    for name, part in inside(owner):
        yield from loader_parts(part, f"{place}{name}", seen)


def inside(owner):
    """Return the parts that an object holds, each with the name that leads to it."""
    if isinstance(owner, (dict, list, tuple)):
        items = owner.items() if isinstance(owner, dict) else enumerate(owner)
        return list(items) if len(owner) <= SHORT else []
    if isinstance(owner, FunctionType):
        cells = zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True)
        held = {name: cell.cell_contents for name, cell in cells if cell != CellType()}
    elif isinstance(owner, MethodType):
        held = {"__self__": owner.__self__}
    elif isinstance(owner, partial):
        held = {"func": owner.func, **dict(enumerate(owner.args)), **owner.keywords}
    else:
        held = {name: value for name, value in attributes(owner).items() if name != "_iterator"}
        held |= owner._modules if isinstance(owner, nn.Module) else {}
    return [(f".{name}", value) for name, value in held.items() if is_part(name, value)]


def is_part(name, value):
    """Return whether what an object holds under a name is a part of the loader."""
    if isinstance(value, (dict, list, tuple)) and len(value) <= SHORT:
        values = value.values() if isinstance(value, dict) else value
        return any(is_part(name, each) for each in values)
    if isinstance(value, io.IOBase) or value is None:
        return False
    has_generator = any(isinstance(each, GENERATORS) for each in attributes(value).values())
    return name in HELD or has_generator or isinstance(value, FOLLOWED)


def attributes(part):
    """Return the dict of an object's attributes; an empty one for a class, function or module."""
    none = isinstance(part, (type, ModuleType, *CALLABLES))
    return {} if none else getattr(part, "__dict__", {})


def end_workers(loaders):
    """End the workers that DataLoaders with `persistent_workers` keep; an epoch starts new ones.

    Their random states are out of reach: with workers that stay, no run could be resumed exactly.
    """
    for _, part in loader_parts(loaders):
        if isinstance(part, DataLoader):
            part._iterator = None


class LoaderState:
    """What a checkpoint keeps of loaders, given as a dict by name.

    - Torch's generators, wherever `loader_parts` finds them.
    - The state_dict of a sampler or dataset that has `state_dict` and `load_state_dict`.
    - Of others that are not torch's own, the attributes that have changed since this object was
      made: numbers, text, lists and dicts of these, and orders, that is 1-D tensors and arrays of
      integers.
    """

    def __init__(self, loaders):
        self.loaders = loaders
        self.start = {place: pickled(held[name]) for place, held, name in self.variables()}

    def check(self):
        """Raise TypeError, naming it, for a state that a checkpoint cannot hold."""
        for place, part in loader_parts(self.loaders):
            if isinstance(part, GENERATORS) and not isinstance(part, torch.Generator):
                raise TypeError(
                    f"expected {place} as a torch.Generator, whose state a checkpoint can hold, "
                    f"got {part!r}"
                )
            if isinstance(part, Iterator):
                raise TypeError(
                    f"expected {place} to start anew in every epoch: a checkpoint cannot hold the "
                    f"position of an iterator, got {part!r}"
                )

    def generators(self):
        """Return the torch.Generators by the places where they are."""
        parts = loader_parts(self.loaders)
        return {place: part for place, part in parts if isinstance(part, torch.Generator)}

    def stateful(self):
        """Return the samplers and datasets that have a state_dict, by place."""
        return {
            place: part
            for place, part in loader_parts(self.loaders)
            if hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
            if not isinstance(part, (nn.Module, DataLoader))
        }

    def variables(self):
        """Yield (place, the dict that holds it, name) for every attribute that may change."""
        stateful = self.stateful()
        for place, part in loader_parts(self.loaders):
            library = type(part).__module__.partition(".")[0]
            if place not in stateful and library not in ("torch", "torchvision", "numpy"):
                held = attributes(part)
                yield from ((f"{place}.{name}", held, name) for name in held)

    def collect(self):
        """Return the state as plain values and tensors."""
        changed = {}
        for place, held, name in self.variables():
            value, now = held[name], pickled(held[name])
            if now != self.start.get(place) and is_kept(value):
                changed[place] = torch.tensor(value) if isinstance(value, np.ndarray) else value
        return {
            "generators": {place: each.get_state() for place, each in self.generators().items()},
            "stateful": {place: part.state_dict() for place, part in self.stateful().items()},
            "variables": changed,
        }

    def load(self, state):
        """Load what `collect` returned; what had not changed becomes as it was at the start."""
        for place, generator in self.generators().items():
            generator.set_state(state["generators"][place])
        for place, part in self.stateful().items():
            part.load_state_dict(state["stateful"][place])
        for place, held, name in self.variables():
            start = self.start.get(place)
            if place in state["variables"]:
                held[name] = replaced(held[name], state["variables"][place])
            elif start is not None and pickled(held[name]) != start:
                held[name] = replaced(held[name], pickle.loads(start))


def pickled(value):
    """Return a value as bytes, None for one of a kind that no checkpoint keeps."""
    if isinstance(value, (list, tuple, dict)):
        first = next(iter(value.values() if isinstance(value, dict) else value), None)
        kept = isinstance(first, (*PLAIN, list, tuple, dict))  # a look at all would take long
    else:
        kept = is_kept(value)
    try:
        return pickle.dumps(value) if kept else None
    except Exception:  # pickle raises what it likes
        return None


def is_kept(value):
    """Return whether a value is one that a checkpoint keeps: see LoaderState."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.ndim == 1 and "int" in str(value.dtype)
    return is_plain(value)


def is_plain(value):
    """Return whether a value is a number or text, or lists and dicts of these."""
    if isinstance(value, dict):
        return is_plain([*value, *value.values()])
    return (
        all(map(is_plain, value)) if isinstance(value, (list, tuple)) else isinstance(value, PLAIN)
    )


def replaced(old, new):
    """Return a new value in place of an old one: in the same list, dict or memory if possible."""
    if isinstance(old, list):
        old[:] = new
    elif isinstance(old, dict):
        old.clear()
        old.update(new)
    elif isinstance(old, (torch.Tensor, np.ndarray)) and old.shape == new.shape:
        old[:] = torch.as_tensor(new) if isinstance(old, torch.Tensor) else np.asarray(new)
    else:
        return np.asarray(new) if isinstance(old, np.ndarray) else new
    return old
