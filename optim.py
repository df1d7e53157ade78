"""Muon for convolution kernels, mixed with SGD for the other parameters.

torch.optim.Muon takes matrices only, and cannot be mixed with SGD in one optimizer.
"""

import torch
from torch.optim import Optimizer


def orthogonalise(matrix, steps=5):
    """Return a matrix (M, N) with its singular values brought near 1, its singular vectors kept.

    Each Newton-Schulz step maps the singular values s, at first at most 1, to
    3.4445 s - 4.775 s^3 + 2.0315 s^5. Five steps bring those above 0.01 into about 0.68 to 1.13.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / wide.norm().clamp_min(1e-7)
    for _ in range(steps):
        gram = x @ x.T  # the smaller of the two products: (min(M, N), min(M, N))
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x if wide is matrix else x.T


def check_group(group):
    """Raise ValueError for a parameter group that Muon cannot update."""
    for name in ("lr", "momentum", "weight_decay"):
        if not group[name] >= 0:
            raise ValueError(f"expected {name} of at least 0, got {group[name]}")
    shapes = [tuple(parameter.shape) for parameter in group["params"]]
    if group["orthogonal"] and any(len(shape) < 2 for shape in shapes):
        raise ValueError(f"expected kernels or matrices in an orthogonal group, got {shapes}")


class Muon(Optimizer):
    """SGD with momentum, whose steps are orthogonalised in groups with `orthogonal=True`.

    Such a group holds kernels of shape (out, in, k, k). The step of each is that of Nesterov's
    momentum, orthogonalised as a matrix of shape (out, in * k * k), times `lr`; before it the
    kernel is scaled to a norm of sqrt(out), so that `lr` is about the relative change of a step.
    Every other group is updated as by torch.optim.SGD. Source: Jordan and others, "Muon: An
    optimizer for hidden layers in neural networks", 2024.

    `params` are parameters or groups, as for any torch optimizer. Raises ValueError for an `lr`,
    `momentum` or `weight_decay` below 0, and for an orthogonal group with a parameter that has
    fewer than two dimensions.
    """

    def __init__(self, params, lr, momentum=0.9, weight_decay=0.0, orthogonal=False):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"orthogonal": orthogonal})

    def add_param_group(self, param_group):
        """Add a group, as torch.optim.Optimizer does; ValueError, without it, for a wrong one."""
        super().add_param_group(dict(param_group))  # a copy: torch fills in the defaults
        try:
            check_group(self.param_groups[-1])
        except (TypeError, ValueError):
            del self.param_groups[-1]
            raise

    @torch.no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient; return what `closure`, if any, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter, group):
        state = self.state[parameter]
        gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        step = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        if group["orthogonal"]:
            nesterov = gradient.add(step, alpha=group["momentum"])
            step = orthogonalise(nesterov.flatten(1)).view_as(parameter)
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp_min(1e-7))
        parameter.add_(step, alpha=-group["lr"])
