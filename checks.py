"""Checks before and during a run: integers, batches, labels, and parts that belong together."""

import inspect
import operator
from collections.abc import Mapping
from itertools import zip_longest
from operator import length_hint

import torch
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_integer(name, value, minimum, maximum=2**63 - 1):
    """Return a value as an int; TypeError or ValueError unless it is one from minimum to maximum.

    NumPy's integers count, bool does not.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"expected {name} as an integer, got {value!r}") from None
    if value < minimum:
        raise ValueError(f"expected {name} of at least {minimum}, got {value}")
    if value > maximum:
        raise ValueError(f"expected {name} of at most {maximum}, got {value}")
    return value


def check_pair(batch):
    """Return a loader's batch as images and labels; TypeError unless it is these two tensors."""
    if isinstance(batch, Mapping):
        got = f"a dict with the keys {', '.join(map(str, batch))}"
    elif not isinstance(batch, (tuple, list)):
        got = type(batch).__name__
    else:
        if len(batch) == 2 and all(isinstance(part, torch.Tensor) for part in batch):
            return batch
        parts = ", ".join(type(part).__name__ for part in batch)
        got = f"a {type(batch).__name__} of {parts or 'nothing'}"
    raise TypeError(f"expected batches (images, labels), two tensors, got {got}")


def check_batch(outputs, labels):
    """Return outputs as float32 or wider, and integer labels as int64.

    Raises ValueError unless outputs are (N, classes) and labels class indices (N,) or class
    probabilities (N, classes). The range of indices is checked on the CPU only: on a GPU that
    would wait for the device.
    """
    n = labels.shape[0] if labels.dim() else 1
    if outputs.dim() != 2 or outputs.shape[0] != n or outputs.shape[1] < 2:
        raise ValueError(
            f"expected model outputs of shape ({n}, classes), got {tuple(outputs.shape)}"
        )
    classes = outputs.shape[1]
    indices = labels.dim() == 1 and labels.dtype in INTEGERS
    if not (indices or (labels.is_floating_point() and labels.shape == (n, classes))):
        raise ValueError(
            f"expected labels as class indices, integers ({n},), or class probabilities, floats "
            f"({n}, {classes}), got {labels.dtype} {tuple(labels.shape)}"
        )
    if indices and labels.device.type == "cpu":
        check_labels(labels, classes)
    if outputs.dtype in (torch.float16, torch.bfloat16):
        outputs = outputs.float()
    return outputs, labels.long() if indices else labels.to(outputs.dtype)


def check_labels(labels, classes):
    """Raise ValueError for a class index that is not from 0 to classes - 1."""
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise ValueError(
            f"expected labels from 0 to {classes - 1}, as the model has {classes} outputs, got "
            f"{outside[0].item()}"
        )


def check_optimizer(optimizer):
    """Raise TypeError for an optimizer whose step needs a closure, such as LBFGS."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        name = type(optimizer).__name__
        raise TypeError(f"expected an optimizer whose step needs no closure, got {name}")


def check_run(epochs, loaders, history):
    """Return epochs as an int; TypeError or ValueError for a run that could not reach its end."""
    epochs = check_integer("epochs", epochs, minimum=1)
    for name, loader in loaders.items():
        if loader is not None and length_hint(loader, -1) == 0:
            raise ValueError(f"expected {name} with at least one batch, got none")
    if loaders["test_loader"] is None and loaders["val_loader"] is None:
        raise ValueError("expected a test_loader or a val_loader, got None for both")
    if len(history):
        raise ValueError(f"expected an empty history, got one of {len(history)} epochs")
    return epochs


def check_parts(model, optimizer, averaged_model, scheduler):
    """Raise ValueError for an optimizer, EMA or scheduler that belongs to another run.

    An optimizer needs all parameters of the model that require gradients: one made before a layer
    was replaced would never train the new one.
    """
    check_optimizer(optimizer)
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(parameter) in optimized for parameter in model.parameters()):
        raise ValueError("optimizer: expected parameters of this model, got those of another")
    missing = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in optimized
    ]
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise ValueError(
            "optimizer: expected all parameters of this model that require gradients, "
            f"{', '.join(missing[:4])}{more} missing: make it after the last change to the model, "
            "or freeze them with requires_grad_(False)"
        )
    for part in nested_schedulers(scheduler):
        theirs = getattr(part, "optimizer", optimizer)
        if theirs.param_groups is not optimizer.param_groups:
            raise ValueError("scheduler: expected one of this optimizer, got one of another")
    if hasattr(averaged_model, "module") and not is_average_of(model, averaged_model.module):
        raise ValueError("averaged_model: expected an AveragedModel of this model, got another's")


def is_average_of(model, average):
    """Return whether weights may be an average of a model's.

    They need the same shapes and a similar direction: the cosine is near 1 for an EMA, 0.35 between
    Net5's initial and final weights, near 0 between two networks.
    """
    pairs = list(zip_longest(model.parameters(), average.parameters()))
    if any(None in pair or pair[0].shape != pair[1].shape for pair in pairs):
        return False
    weights = [pair for pair in pairs if pair[0].dim() > 1]  # without biases and BatchNorm
    if not weights:
        return True
    mine, theirs = (
        torch.cat([tensor.detach().cpu().float().flatten() for tensor in side])
        for side in zip(*weights, strict=True)
    )
    return torch.equal(mine, theirs) or F.cosine_similarity(mine, theirs, dim=0).item() > 0.1


def lacks_statistics(averaged_model):
    """Return whether an AveragedModel has BatchNorm layers whose statistics are not its own.

    Without `use_buffers`, torch's default, they are those of the model as it was last.
    """
    return not getattr(averaged_model, "use_buffers", True) and any(
        isinstance(module, _BatchNorm) and module.track_running_stats
        for module in averaged_model.modules()
    )


def nested_schedulers(scheduler):
    """Yield a scheduler and those inside it; nothing for None."""
    if scheduler is not None:
        yield scheduler
        for nested in getattr(scheduler, "_schedulers", []):  # SequentialLR, ChainedScheduler
            yield from nested_schedulers(nested)


def scheduler_step(scheduler, step=None):
    """Return when a scheduler steps: after each "batch" or "epoch", or "plateau"; or None."""
    if step not in (None, "batch", "epoch"):
        raise ValueError(f"expected step None, 'batch' or 'epoch', got {step!r}")
    if scheduler is None:
        return None
    if isinstance(scheduler, ReduceLROnPlateau):
        if step == "batch":
            raise ValueError("expected step 'epoch' for ReduceLROnPlateau, got 'batch'")
        return "plateau"
    nested = list(nested_schedulers(scheduler))
    if any(isinstance(part, ReduceLROnPlateau) for part in nested):
        raise ValueError(f"expected no ReduceLROnPlateau inside {type(scheduler).__name__}")
    per_batch = any(isinstance(part, (OneCycleLR, CyclicLR)) for part in nested)
    return step or ("batch" if per_batch else "epoch")


def check_step_is_given(scheduler, epochs, batches):
    """Raise ValueError for a schedule that steps per epoch but looks as if counted in batches.

    For example CosineAnnealingLR(optimizer, T_max=epochs * batches), where an epoch has `batches`
    batches: stepped per epoch, its rate would hardly change.
    """
    names = ("T_max", "T_0", "total_iters", "step_size")
    for part in nested_schedulers(scheduler):
        lengths = [(name, getattr(part, name)) for name in names if hasattr(part, name)]
        for name in ("milestones", "_milestones"):
            lengths += [("milestones", milestone) for milestone in getattr(part, name, ())]
        for name, length in lengths:
            if batches > 1 and length > epochs and length % batches == 0:
                raise ValueError(
                    f"scheduler: expected step='batch' or step='epoch' to be given for "
                    f"{type(part).__name__} with {name} of {length}, {length // batches} times the "
                    f"{batches} batches of an epoch: without it, it steps once an epoch"
                )


def check_schedule(scheduler, steps):
    """Raise ValueError if a schedule ends before the `steps` that remain."""
    milestones = getattr(scheduler, "_milestones", None)  # of a SequentialLR
    for k, nested in enumerate(getattr(scheduler, "_schedulers", [])):
        begin, end = 0, steps
        if milestones is not None:
            begin = max(0, milestones[k - 1] - scheduler.last_epoch) if k else 0
            end = min([steps, *(milestone - scheduler.last_epoch for milestone in milestones[k:])])
        check_schedule(nested, max(0, end - begin))
    total, position = getattr(scheduler, "total_steps", None), getattr(scheduler, "last_epoch", 0)
    if total is not None and max(position, 0) + steps > total:
        raise ValueError(
            f"scheduler: expected one with {steps} steps to go, got {type(scheduler).__name__} "
            f"at step {max(position, 0)} of {total}"
        )
