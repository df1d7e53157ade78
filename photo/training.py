"""Training images in addition to MNIST's: generated and restyled digits, and images of no digit.

    python benchmarks/seeds.py --net net5 --recipe hands --seeds 1-5

The 11th class is `negatives.NO_DIGIT`. A run's seed decides the generated images, too.
"""

import copy
from itertools import chain, repeat

import numpy as np
import torch
from torch.nn import functional as F

from batched import DeviceLoader
from mnist_format import MEAN, STD
from photo.hands import digits, restyled_digits
from photo.negatives import NO_DIGIT, negatives

BESIDE = 20, 8, 20  # generated digits, restyled ones and negatives beside each batch of 128
POOL = 80_000, 32_000, 80_000  # of each, made once for a run: an image is seen a few times
HELD_OUT = 1_000_001  # a seed that no run has
NO_DIGIT_WEIGHT = 0.25  # in the loss: a digit refused is worse than a scribble read


class BesideLoader:
    """The batches of a loader, each with a batch of every other loader appended.

    As long as the first loader; the others start again when they end. `extra_classes` names those
    that the first loader's dataset does not have.
    """

    extra_classes = ("no digit",)

    def __init__(self, loader, *others):
        self.loader = [loader, *others]  # the name under which checkpoints look for generators

    @property
    def dataset(self):
        """The dataset of the first loader."""
        return self.loader[0].dataset

    @property
    def batch_size(self):
        """The number of images in a full batch."""
        return sum(loader.batch_size for loader in self.loader)

    def __len__(self):
        return len(self.loader[0])

    def __iter__(self):
        first, *others = self.loader
        endless = [chain.from_iterable(repeat(other)) for other in others]
        for batches in zip(first, *endless, strict=False):
            yield tuple(map(torch.cat, zip(*batches, strict=True)))


def weighted_loss(outputs, labels):
    """Return the mean cross-entropy of log-probabilities (N, 11) and labels (N,).

    An image of no digit has the weight NO_DIGIT_WEIGHT.
    """
    weights = outputs.new_ones(outputs.shape[1])
    weights[NO_DIGIT:] = NO_DIGIT_WEIGHT
    return F.nll_loss(outputs, labels, weights)


@torch.no_grad()
def held_out(net, n=2_000):
    """Evaluate a network on `n` generated digits and `n` negatives that no run has seen.

    Returns a dict in per cent: digits read right, over all digits and for the worst one; digits
    taken for no digit; negatives taken for no digit.
    """
    images, labels = digits(n, HELD_OUT)
    pixels = torch.from_numpy(np.concatenate([images, negatives(n, HELD_OUT)]))[:, None] / 255
    guesses = net.eval()((pixels - MEAN[0]) / STD[0]).argmax(dim=1).numpy()
    read, blank = guesses[:n], guesses[n:]
    by_digit = [(read[labels == digit] == digit).mean() for digit in range(10)]
    shares = {
        "digits_right": (read == labels).mean(),
        "lowest_digit_right": min(by_digit),
        "digits_refused": (read == NO_DIGIT).mean(),
        "negatives_refused": (blank == NO_DIGIT).mean(),
    }
    return {name: round(100 * share.item(), 2) for name, share in shares.items()}


def with_generated(loader, seed, beside=BESIDE, pool=POOL):
    """Return a BesideLoader: a DeviceLoader of MNIST's images with generated ones beside them.

    They get the same transform. `beside` and `pool` hold the numbers of generated digits, restyled
    digits and negatives: added to each batch, and generated in all.
    """
    images, labels = loader.dataset.data.cpu().numpy(), loader.dataset.targets.cpu().numpy()
    sets = (
        digits(pool[0], seed),
        restyled_digits(pool[1], seed, images, labels),
        (negatives(pool[2], seed, images), np.full(pool[2], NO_DIGIT)),
    )
    others = []
    for k, (images, labels) in enumerate(sets):
        dataset = copy.copy(loader.dataset)
        dataset.data, dataset.targets = torch.from_numpy(images), torch.from_numpy(labels)
        others.append(
            DeviceLoader(
                dataset,
                beside[k],
                shuffle=True,
                drop_last=True,
                device=loader.device,
                generator=torch.Generator().manual_seed(seed + (k + 1) * HELD_OUT),
            )
        )
    return BesideLoader(loader, *others)
