"""Loaders with a state of their own: a resumed run is exact, or it is refused with the reason."""

import contextlib
import itertools
import random
from functools import partial

import numpy as np
import pytest
import torch
from test_loops import Linear, sgd, tensors
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset

import utils

N = 30


def losses(make, checkpoint, steps=((4, None),), **settings):
    """Return the training losses of a run in steps of (epochs, the batch to stop it at or None)."""
    for epochs, stop_at in steps:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        net, calls = Linear(), itertools.count(1)

        def loss_function(outputs, labels, stop_at=stop_at, calls=calls):
            if next(calls) == stop_at:
                raise KeyboardInterrupt
            return F.cross_entropy(outputs, labels)

        with contextlib.suppress(KeyboardInterrupt):
            history = utils.fit(
                net,
                "cpu",
                make(),
                [tensors(10)],
                sgd(net, 0.1),
                epochs,
                loss_function=loss_function,
                checkpoint=checkpoint,
                resume=checkpoint is not None,
                verbose=False,
                **settings,
            )
    return history.train_loss


# --- Exact ---------------------------------------------------------------------------------------


class Order(Sampler):
    """A base for samplers that remember; subclasses return the next epoch's order."""

    def __len__(self):
        return N

    def __iter__(self):
        return iter(self.order())


class Counting(Order):
    epoch = 0

    def __init__(self):
        self.epoch = 0

    def order(self):
        self.epoch += 1
        return torch.randperm(N, generator=torch.Generator().manual_seed(self.epoch)).tolist()


class Shuffling(Order):
    def __init__(self, indices):
        self.indices = indices

    def order(self):
        if isinstance(self.indices, torch.Tensor):
            self.indices = self.indices[torch.randperm(N)]
        else:
            (random if isinstance(self.indices, list) else np.random).shuffle(self.indices)
        return [int(each) for each in self.indices]


class Stateful(Order):
    """Hides its state from all but its own state_dict."""

    def __init__(self):
        self.seeds = itertools.count(1).__reduce__()[1], [object()]

    def order(self):
        (seed,), _ = self.seeds
        self.seeds = (seed + 1,), [object()]
        return torch.randperm(N, generator=torch.Generator().manual_seed(seed)).tolist()

    def state_dict(self):
        return {"seed": self.seeds[0][0]}

    def load_state_dict(self, state):
        self.seeds = (state["seed"],), [object()]


def sampled(sampler):
    return lambda: DataLoader(TensorDataset(*tensors(N)), 10, sampler=sampler())


class Stream(IterableDataset):
    """Goes on where the last epoch ended."""

    def __init__(self):
        self.position, self.seen = 0, {"images": 0}

    def __iter__(self):
        pairs = list(zip(*tensors(50), strict=True))
        for _ in range(20):
            self.seen["images"] += 1
            self.position = (self.position + 7 * self.seen["images"]) % 50
            yield pairs[self.position]


class Changed(Dataset):
    """Images changed by a function, kept once they are read."""

    def __init__(self, change):
        self.change, self.cache, self.pairs = change, {}, list(zip(*tensors(N), strict=True))

    def __len__(self):
        return N

    def __getitem__(self, index):
        image, label = self.cache.setdefault(index, self.pairs[index])
        return self.change(image), label


def noise(image, generator):
    return image + torch.rand(image.shape, generator=generator)


class Noise:
    def __init__(self, generator):
        self.generator = generator

    def __call__(self, image):
        return noise(image, self.generator)


def of_numpy(image):
    return image + torch.from_numpy(np.random.rand(*image.shape)).float()


def changed(make):
    return lambda: DataLoader(Changed(make(torch.Generator().manual_seed(1))), 10)


def in_a_closure(generator):
    return lambda image: noise(image, generator)


class Wrapper:
    """A loader around another, which counts its epochs and leaves out one batch in each."""

    def __init__(self):
        self.inner, self.epoch = sampled(Counting)(), 0

    def __len__(self):
        return len(self.inner) - 1

    def __iter__(self):
        self.epoch += 1
        for k, batch in enumerate(self.inner):
            if k != self.epoch % len(self.inner):
                yield batch


EXACT = {
    "counter": sampled(Counting),
    "list": sampled(lambda: Shuffling(list(range(N)))),
    "array": sampled(lambda: Shuffling(np.arange(N))),
    "tensor": sampled(lambda: Shuffling(torch.arange(N))),
    "state_dict": sampled(Stateful),
    "stream": lambda: DataLoader(Stream(), 10),
    "transform": changed(Noise),
    "closure": changed(in_a_closure),
    "partial": changed(lambda generator: partial(noise, generator=generator)),
    "bound method": changed(lambda generator: Noise(generator).__call__),
    "list of transforms": changed(lambda generator: partial(every, [Noise(generator)])),
    "numpy": changed(lambda generator: of_numpy),
    "wrapper": Wrapper,
}


def every(transforms, image):
    for transform in transforms:
        image = transform(image)
    return image


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_a_resumed_run_is_exact(make, tmp_path):
    whole = losses(make, None)
    assert losses(make, tmp_path / "c.pt", [(2, None), (4, None)]) == whole
    assert len(set(whole)) == 4
    one_object = make()
    assert losses(lambda: one_object, tmp_path / "d.pt", [(4, 5), (4, None)]) == whole


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_that_stay(persistent, tmp_path):
    def make():
        data = Changed(partial(noise, generator=None))
        return DataLoader(data, 10, shuffle=True, num_workers=1, persistent_workers=persistent)

    whole = losses(make, None, [(3, None)])
    assert losses(make, tmp_path / "c.pt", [(1, None), (3, None)]) == whole


def test_what_has_not_changed_is_not_the_checkpoint_s(tmp_path):
    def made(batches):
        sampler = Counting()
        sampler.name = batches
        return lambda: DataLoader(TensorDataset(*tensors(N)), 10, sampler=sampler)

    losses(made("first"), tmp_path / "c.pt", [(1, None)])
    loader = made("second")()
    losses(lambda: loader, tmp_path / "c.pt", [(2, None)])
    assert (loader.sampler.name, loader.sampler.epoch) == ("second", 2)


def test_a_refused_checkpoint_leaves_the_loader(tmp_path):
    losses(sampled(Counting), tmp_path / "c.pt", [(2, None)])
    loader = sampled(Counting)()
    with pytest.raises(ValueError, match="of another run"):
        losses(lambda: loader, tmp_path / "c.pt", settings={"seed": 2})
    assert loader.sampler.epoch == 0


def test_parameters_of_the_loss_are_kept(tmp_path):
    def run(checkpoint, *steps):
        for epochs in steps:
            torch.manual_seed(0)
            net, scale = Linear(), torch.nn.Parameter(torch.ones(()))
            optimizer = torch.optim.SGD([*net.parameters(), scale], 0.1)

            def loss_function(outputs, labels, scale=scale):
                return F.cross_entropy(outputs * scale, labels)

            history = utils.fit(
                net, "cpu", [tensors(20)], [tensors(10)], optimizer, epochs, verbose=False,
                loss_function=loss_function, checkpoint=checkpoint, resume=True,
            )  # fmt: skip
        return history.train_loss, scale.item()

    assert run(tmp_path / "c.pt", 2, 4) == run(tmp_path / "d.pt", 4)


# --- Refused -------------------------------------------------------------------------------------


class Endless:
    """A loader that takes batches from one iterator, epoch after epoch."""

    def __init__(self):
        self.batches = itertools.cycle([tensors(10, seed) for seed in range(5)])

    def __iter__(self):
        return itertools.islice(self.batches, 3)


REFUSED = {
    "iterator": (Endless, "batches to start anew"),
    "generator": (lambda: (tensors(10) for _ in range(3)), "train_loader to start anew"),
    "random in a transform": (changed(lambda _: Noise(random.Random(1))), "generator as a torch"),
    "numpy in a closure": (
        changed(lambda _: in_a_closure(np.random.default_rng(1))),
        "generator as a torch",
    ),
}


@pytest.mark.parametrize(("make", "named"), REFUSED.values(), ids=REFUSED)
def test_what_no_checkpoint_can_hold_is_refused_by_name(make, named, tmp_path):
    with pytest.raises(TypeError, match=named):
        losses(make, tmp_path / "c.pt")
    assert not list(tmp_path.iterdir())
