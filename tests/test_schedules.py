"""Checkpoints and schedules: every constant of every torch scheduler counts, alone and nested."""

import inspect
import itertools

import pytest
import torch
from test_loops import Linear, tensors
from torch.nn import functional as F
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import SWALR

import utils

EPOCHS = 4
LOADER = [tensors(4)] * 11


def halved(epoch):
    return 0.5**epoch


def thirds(epoch):
    return 0.3 ** (epoch + 1)


CONSTANTS = {  # what each is made with, and other values
    schedules.LambdaLR: ({"lr_lambda": halved}, {"lr_lambda": thirds}),
    schedules.MultiplicativeLR: ({"lr_lambda": halved}, {"lr_lambda": thirds}),
    schedules.StepLR: ({"step_size": 9, "gamma": 0.5}, {"step_size": 8, "gamma": 0.4}),
    schedules.MultiStepLR: (
        {"milestones": [1, 9], "gamma": 0.5},
        {"milestones": [1, 8], "gamma": 0.4},
    ),
    schedules.ConstantLR: ({"factor": 0.5, "total_iters": 8}, {"factor": 0.4, "total_iters": 9}),
    schedules.LinearLR: (
        {"start_factor": 0.5, "end_factor": 0.9, "total_iters": 8},
        {"start_factor": 0.4, "end_factor": 0.8, "total_iters": 9},
    ),
    schedules.ExponentialLR: ({"gamma": 0.5}, {"gamma": 0.4}),
    schedules.PolynomialLR: ({"total_iters": 2, "power": 1.0}, {"total_iters": 4, "power": 2.0}),
    schedules.CosineAnnealingLR: ({"T_max": 8, "eta_min": 0.0}, {"T_max": 9, "eta_min": 0.1}),
    schedules.CosineAnnealingWarmRestarts: (
        {"T_0": 8, "T_mult": 1, "eta_min": 0.0},
        {"T_0": 9, "T_mult": 2, "eta_min": 0.1},
    ),
    schedules.CyclicLR: (
        {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": 20, "scale_fn": halved},
        {"base_lr": 0.05, "max_lr": 0.3, "step_size_up": 21, "step_size_down": 21}
        | {"mode": "exp_range", "gamma": 0.9, "scale_fn": thirds, "scale_mode": "iterations"}
        | {"cycle_momentum": False, "base_momentum": 0.7, "max_momentum": 0.8},
    ),
    schedules.OneCycleLR: (
        {"max_lr": 0.2, "epochs": 20, "steps_per_epoch": 11},
        {"max_lr": 0.3, "total_steps": 221, "epochs": 21, "steps_per_epoch": 12, "pct_start": 0.4}
        | {"anneal_strategy": "linear", "cycle_momentum": False, "base_momentum": 0.7}
        | {"max_momentum": 0.8, "div_factor": 20.0, "final_div_factor": 1e3, "three_phase": True},
    ),
    schedules.ReduceLROnPlateau: (
        {"patience": 9},
        {"mode": "max", "factor": 0.2, "patience": 8, "threshold": 0.2, "threshold_mode": "abs"}
        | {"cooldown": 1, "min_lr": 0.001, "eps": 1e-6},
    ),
    SWALR: (
        {"swa_lr": 0.1, "anneal_epochs": 8, "anneal_strategy": "cos"},
        {"swa_lr": 0.2, "anneal_epochs": 9, "anneal_strategy": "linear"},
    ),
}


def alone(kind):
    return kind


def in_a_sequence(kind):
    def made(optimizer, **constants):
        parts = [schedules.ConstantLR(optimizer), kind(optimizer, **constants)]
        return schedules.SequentialLR(optimizer, parts, milestones=[1])

    return made


def in_a_sequence_in_a_chain(kind):
    def made(optimizer, **constants):
        parts = [schedules.ConstantLR(optimizer), in_a_sequence(kind)(optimizer, **constants)]
        return schedules.ChainedScheduler(parts)

    return made


def fit(make, checkpoint=None, epochs=3, optimizer=None, stop_at=None, resume=True):
    """Return the learning rates of a run; `make` takes the optimizer. Stopped as by Ctrl-C."""
    torch.manual_seed(0)
    calls = itertools.count(1)

    def loss_function(outputs, labels):
        if next(calls) == stop_at:
            raise KeyboardInterrupt
        return F.cross_entropy(outputs, labels)

    if optimizer is None:
        net = Linear()
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        parts = net, optimizer, make(optimizer)
    else:
        parts = optimizer
    net, optimizer, scheduler = parts
    history = utils.fit(
        net, "cpu", LOADER, LOADER, optimizer, epochs, scheduler, loss_function=loss_function,
        checkpoint=checkpoint, resume=resume and checkpoint is not None, verbose=False,
    )  # fmt: skip
    return history.learning_rate


def kinds_of_torch():
    base = schedules.LRScheduler
    kinds = [kind for kind in vars(schedules).values() if inspect.isclass(kind)]
    kinds = {kind for kind in kinds if issubclass(kind, base) and "get_lr" in vars(kind)}
    return kinds | {schedules.ReduceLROnPlateau, SWALR}


def test_every_scheduler_of_torch_is_among_them():
    assert kinds_of_torch() - {schedules.LRScheduler} == CONSTANTS.keys()
    for kind, (_, others) in CONSTANTS.items():
        names = inspect.signature(kind).parameters.keys()
        assert names - {"optimizer", "last_epoch", "verbose"} == others.keys()


@pytest.mark.parametrize("nest", [alone, in_a_sequence, in_a_sequence_in_a_chain])
@pytest.mark.parametrize("kind", CONSTANTS, ids=lambda kind: kind.__name__)
def test_a_schedule_with_another_constant_is_refused(kind, nest, tmp_path):
    if kind is schedules.ReduceLROnPlateau and nest is not alone:
        pytest.skip("fit takes none inside another")
    constants, others = CONSTANTS[kind]
    fit(lambda optimizer: nest(kind)(optimizer, **constants), tmp_path / "c.pt")
    for name, value in others.items():
        other = constants | {name: value}
        with pytest.raises(ValueError, match=r"of another run.*(scheduler|parameter group)"):
            fit(lambda optimizer, o=other: nest(kind)(optimizer, **o), tmp_path / "c.pt", 4)
    again = fit(lambda optimizer: nest(kind)(optimizer, **constants), tmp_path / "c.pt", EPOCHS)
    assert again == fit(lambda optimizer: nest(kind)(optimizer, **constants), epochs=EPOCHS)


def sequence(*kinds, milestones=(2,)):
    def made(optimizer):
        parts = [kind(optimizer) for kind in kinds]
        return schedules.SequentialLR(optimizer, parts, milestones=list(milestones))

    return made


def chain(*kinds):
    return lambda optimizer: schedules.ChainedScheduler([kind(optimizer) for kind in kinds])


@pytest.mark.parametrize(
    ("first", "other", "named"),
    [
        ((sequence, 2), (sequence, 3), "milestones"),
        ((sequence, 2), (chain, None), "SequentialLR"),
        ((chain, 2), (chain, 3), "kind"),
        ((chain, "linear"), (chain, 2), "kind"),
    ],
)
def test_other_parts_are_refused(first, other, named, tmp_path):
    def made(shape, variant):
        if shape is sequence:
            kinds = schedules.ConstantLR, schedules.LinearLR
            return sequence(*kinds, milestones=[variant])
        kinds = [schedules.ConstantLR] * (variant if isinstance(variant, int) else 1)
        return chain(*kinds, *[schedules.LinearLR] * (variant == "linear"))

    fit(made(*first), tmp_path / "c.pt")
    with pytest.raises(ValueError, match=named):
        fit(made(*other), tmp_path / "c.pt", EPOCHS)


def test_functions_are_known_by_the_rates_they_give(tmp_path):
    fit(lambda optimizer: schedules.LambdaLR(optimizer, halved), tmp_path / "c.pt")
    again = fit(
        lambda optimizer: schedules.LambdaLR(optimizer, lambda e: 1 / 2**e), tmp_path / "c.pt", 3
    )
    assert again == [0.1, 0.05, 0.025]
    with pytest.raises(
        ValueError, match=r"learning rate at step 1 is 0\.04.*, the checkpoint's 0\.05"
    ):
        fit(lambda optimizer: schedules.LambdaLR(optimizer, lambda e: 0.4**e), tmp_path / "c.pt", 4)


class Counting:
    """A function with a state of its own, which looking ahead must not change."""

    def __init__(self):
        self.calls = 0

    def __call__(self, epoch):
        self.calls += 1
        return 1 / self.calls


def test_a_function_with_a_state_goes_on(tmp_path):
    def make(optimizer):
        return schedules.LambdaLR(optimizer, Counting())

    expected = fit(make, epochs=EPOCHS)
    assert fit(make, tmp_path / "c.pt") == expected[:3]
    assert fit(make, tmp_path / "c.pt", EPOCHS) == expected


@pytest.mark.parametrize("kind", CONSTANTS, ids=lambda kind: kind.__name__)
def test_the_same_objects_go_on_and_new_ones_after_them(kind, tmp_path):
    """Broken off, resumed with the same objects, broken off again, resumed in a new process."""

    def make(optimizer):
        return kind(optimizer, **CONSTANTS[kind][0])

    torch.manual_seed(0)
    net = Linear()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    parts = net, optimizer, make(optimizer)
    with pytest.raises(KeyboardInterrupt):
        fit(None, tmp_path / "c.pt", EPOCHS, parts, stop_at=15)
    with pytest.raises(KeyboardInterrupt):
        fit(None, tmp_path / "c.pt", EPOCHS, parts, stop_at=5)
    assert fit(make, tmp_path / "c.pt", EPOCHS) == fit(make, epochs=EPOCHS)


def test_objects_that_have_moved_are_compared_by_what_they_were_made_with(tmp_path):
    def moved(total_iters):
        net = Linear()
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        scheduler = schedules.PolynomialLR(optimizer, total_iters)
        optimizer.step()
        scheduler.step()
        return net, optimizer, scheduler

    fit(lambda optimizer: schedules.PolynomialLR(optimizer, 8), tmp_path / "c.pt")
    with pytest.raises(ValueError, match="total_iters is 9, the checkpoint's 8"):
        fit(None, tmp_path / "c.pt", EPOCHS, moved(9))
    assert len(fit(None, tmp_path / "c.pt", EPOCHS, moved(8))) == EPOCHS
