"""Muon against plain computations: the singular values, one step by hand, torch's SGD."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import model as networks
import utils
from optim import Muon, orthogonalise
from recipes import RECIPES

DIGITS = 75, 30


def scalar_steps(values, steps=5):
    """Return what the Newton-Schulz polynomial makes of singular values, as plain numbers."""
    for _ in range(steps):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    return values


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_orthogonalise_changes_the_singular_values_alone(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    expected = left @ torch.diag(scalar_steps(values / values.norm())) @ right
    torch.testing.assert_close(orthogonalise(matrix), expected)


@pytest.mark.parametrize("shape", [(8, 9), (12, 108), (10, 12), (12, 6)])
def test_five_steps_bring_singular_values_near_one(shape):
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.21


def test_orthogonalise_takes_any_scale_and_zero():
    matrix = torch.randn(8, 27)
    torch.testing.assert_close(orthogonalise(1000 * matrix), orthogonalise(matrix))
    assert not orthogonalise(torch.zeros(3, 5)).any()


def test_two_orthogonal_steps_by_hand():
    torch.manual_seed(0)
    kernel = torch.nn.Parameter(torch.randn(4, 2, 3, 3, dtype=torch.float64))
    optimizer = Muon([kernel], lr=0.1, momentum=0.9, orthogonal=True)
    expected, momentum = kernel.detach().clone(), torch.zeros(4, 18, dtype=torch.float64)
    for _ in range(2):
        kernel.grad = torch.randn_like(kernel)
        optimizer.step()
        gradient = kernel.grad.reshape(4, 18)
        momentum = 0.9 * momentum + gradient
        left, values, right = torch.linalg.svd(gradient + 0.9 * momentum, full_matrices=False)
        step = left @ torch.diag(scalar_steps(values / values.norm())) @ right
        expected = 2 * expected / expected.square().sum().sqrt()  # sqrt(out) is 2
        expected = expected - 0.1 * step.reshape(4, 2, 3, 3)
        torch.testing.assert_close(kernel.detach(), expected)


def test_other_groups_are_updated_as_by_sgd():
    torch.manual_seed(0)
    start = torch.randn(5, 3)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    optimizers = Muon([ours], **settings), torch.optim.SGD([theirs], **settings)
    for _ in range(4):
        ours.grad = torch.randn_like(ours)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_a_parameter_without_a_gradient_stays():
    used, unused = (torch.nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    optimizer = Muon([used, unused], lr=0.1, orthogonal=True)
    used.grad = torch.ones(3, 3)
    optimizer.step()
    assert not torch.equal(used, torch.ones(3, 3))
    assert torch.equal(unused, torch.ones(3, 3))


def test_step_returns_the_closure_s_loss():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([weight], lr=0.1, orthogonal=True)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"lr": -1}, "lr"), ({"momentum": -0.1}, "momentum"), ({"weight_decay": -1}, "weight_decay")],
)
def test_a_negative_setting_is_refused(settings, named):
    with pytest.raises(ValueError, match=f"{named} .* got -"):
        Muon([torch.nn.Parameter(torch.ones(2, 2))], **({"lr": 0.1} | settings))


def test_a_vector_cannot_be_orthogonalised():
    with pytest.raises(ValueError, match=r"\(2,\)"):
        Muon([torch.nn.Parameter(torch.ones(2))], lr=0.1, orthogonal=True)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, r"\(8,\)"),
        ({"orthogonal": False, "lr": -1.0}, "lr"),
        ({"orthogonal": False, "momentum": float("nan")}, "momentum"),
        ({"orthogonal": False, "weight_decay": -1.0}, "weight_decay"),
        ({"orthogonal": False, "lr": "0.1"}, "str"),
    ],
)
def test_a_group_that_is_refused_leaves_nothing_behind(settings, named):
    kernel, bias = (torch.nn.Parameter(torch.ones(shape)) for shape in ((8, 1, 3, 3), (8,)))
    optimizer = Muon([kernel], lr=0.1, orthogonal=True)
    group = {"params": [bias]} | settings
    given = dict(group)
    with pytest.raises((TypeError, ValueError), match=named):
        optimizer.add_param_group(group)
    assert group == given
    assert len(optimizer.param_groups) == 1
    kernel.grad, bias.grad = torch.ones_like(kernel), torch.ones_like(bias)
    optimizer.step()
    assert not (bias != 1).any()
    optimizer.add_param_group({"params": [bias], "orthogonal": False})  # not "already there"
    optimizer.step()
    assert not (bias == 1).any()


def test_a_run_cut_off_and_resumed_is_exact_to_the_bit(small_loaders, tmp_path):
    def fit(epochs, stop_at=None, **settings):
        utils.set_seed(1)
        recipe, net = RECIPES["quick"](), networks.Net6()
        loaders = small_loaders(recipe.train_transforms, batch_size=16)
        optimizer = recipe.optimizer(net.parameters())
        scheduler = recipe.scheduler(optimizer, epochs, len(loaders[0]))
        steps = itertools.count(1)

        def loss_function(outputs, labels):
            if next(steps) == stop_at:
                raise KeyboardInterrupt
            return recipe.loss_function(outputs, labels)

        utils.fit(
            net, "cpu", *loaders, optimizer, epochs, scheduler,
            loss_function=loss_function, progress=False, verbose=False, **settings,
        )  # fmt: skip
        return net.state_dict()

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(3, stop_at=12, checkpoint=checkpoint)
    alone, resumed = fit(3), fit(3, checkpoint=checkpoint, resume=True)
    assert all(torch.equal(alone[name], resumed[name]) for name in alone)
