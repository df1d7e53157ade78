"""How a schedule was made: what a run and its checkpoint must agree on."""

import copy
import inspect
import warnings

import numpy as np
import torch

from checks import nested_schedulers


def without_functions(state):
    """Return a scheduler's state_dict without the functions in it, which its constructor restores.

    Schedulers inside a SequentialLR or ChainedScheduler are part of it.
    """
    if isinstance(state, dict):
        return {k: without_functions(v) for k, v in state.items() if not callable(v)}
    if isinstance(state, (list, tuple)):
        return [None if callable(v) else without_functions(v) for v in state]
    return state


def has_moved(state):
    """Return whether a scheduler's state_dict is of one that has stepped, or one in it."""
    nested = state.get("_schedulers", [])
    return state.get("last_epoch", 0) > 0 or any(has_moved(each) for each in nested)


def schedule_settings(scheduler, steps):
    """Return how a schedule was made, by name, as plain values.

    That is all of its state_dict as it is now, before the run, with those of the schedulers inside
    it. Functions, such as those of a LambdaLR, are known by what they do: "rates" holds the
    learning rates now and after each of `steps` steps.
    """
    if scheduler is None:
        return {}
    settings = dict(flat(without_functions(scheduler.state_dict())))
    for k, part in enumerate(nested_schedulers(scheduler)):
        settings[f"kind {k}"] = type(part).__name__
    return settings | {"rates": rates(scheduler, steps) if holds_functions(scheduler) else []}


def schedule_differences(mine, saved, scheduler, moved):
    """Return what tells a schedule's settings from saved ones, a sentence each.

    Of a schedule that has moved, only what its constructor takes can be compared.
    """
    names = (mine.keys() | saved.keys()) - {"rates"}
    names = sorted(names & set(constructor_names(scheduler)) if moved else names)
    differing = [name for name in names if mine.get(name) != saved.get(name)]
    kinds = [name for name in differing if name.startswith("kind ")]
    public = [name for name in differing if not name.rpartition(".")[2].startswith("_")]
    found = [
        f"the scheduler's {name} is {mine.get(name)}, the checkpoint's {saved.get(name)}"
        for name in kinds or public or differing  # each follows from those before it
    ]
    steps = zip(mine.get("rates", []), saved.get("rates", []), strict=False)
    for step, (now, then) in enumerate([] if moved or found else steps):
        if now != then:
            now, then = (values[0] if len(values) == 1 else values for values in (now, then))
            about = f"the scheduler's learning rate at step {step}"
            return [f"{about} is {now}, the checkpoint's {then}"]
    return found


def flat(state, prefix=""):
    """Yield the entries of a scheduler's state_dict as text by name, those of nested ones, too."""
    for name, value in state.items():
        if name == "_schedulers":
            for k, nested in enumerate(value):
                yield from flat(nested, f"{prefix}{k}.")
        else:
            yield prefix + name, repr(without_tensors(value))


def without_tensors(value):
    """Return a value with its tensors and NumPy's numbers, even in lists and dicts, as numbers."""
    if isinstance(value, (torch.Tensor, np.generic)):
        return value.tolist()
    if isinstance(value, dict):
        return {name: without_tensors(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_tensors(each) for each in value]
    return value


def constructor_names(scheduler, prefix=""):
    """Yield the names under which what a constructor took may be in `schedule_settings`."""
    for name in inspect.signature(type(scheduler)).parameters.keys() - {"last_epoch"}:
        yield from (prefix + name, f"{prefix}{name}s")  # max_lr is kept as max_lrs
    for k, nested in enumerate(getattr(scheduler, "_schedulers", [])):
        yield from constructor_names(nested, f"{prefix}{k}.")


def holds_functions(scheduler):
    """Return whether a scheduler, or one inside it, holds functions."""
    return any(
        any(map(callable, value if isinstance(value, list) else [value]))
        for part in nested_schedulers(scheduler)
        for value in vars(part).values()
    )


def rates(scheduler, steps):
    """Return the learning rates of the groups now and after each of some steps: a list of lists.

    Copies take the steps: scheduler and optimizer stay as they are. Ends early where a step fails.
    """
    optimizer = copy.copy(scheduler.optimizer)
    optimizer.param_groups = [
        {name: copy.deepcopy(v) if name != "params" else v for name, v in group.items()}
        for group in scheduler.optimizer.param_groups
    ]
    again, found = copied(scheduler, optimizer), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer has taken no steps
        for _ in range(steps + 1):
            found.append([float(group["lr"]) for group in optimizer.param_groups])
            try:
                again.step()
            except Exception:  # whatever a function raises after its last step
                break
    return found


def copied(scheduler, optimizer):
    """Return a copy of a scheduler, and of those inside it, that steps another optimizer."""
    again = copy.copy(scheduler)
    again.optimizer = optimizer
    for name, value in vars(again).items():
        if name == "_schedulers":
            vars(again)[name] = [copied(nested, optimizer) for nested in value]
        elif isinstance(value, list) and any(map(callable, value)):
            vars(again)[name] = list(map(copy.copy, value))  # objects with a state of their own
    return again
