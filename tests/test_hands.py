"""Generated digits and what is no digit: their format, their seeds, and the loader they go into."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, first_digits

import hubconf
import model as networks
import predict
import train
import utils
from experiments import prepare
from mnist_format import BOX
from photo import hands, negatives, training
from recipes import RECIPES, normalised

POOL = 200, 50, 90


@pytest.fixture
def loader_of(small_loaders):
    """Build a loader with generated images beside the small set's: `loader_of(seed)`."""

    def build(seed=3, beside=training.BESIDE):
        loader, _ = small_loaders(seed=seed)
        return training.with_generated(loader, seed, beside, POOL)

    return build


def in_format(images):
    """Say of each image (N, 28, 28) whether it is in MNIST's format: scale, box, centre of mass."""
    ys, xs = np.mgrid[:28, :28]
    for image in images:
        mass = image.sum(dtype=float)
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        sides = np.ptp(rows) + 1, np.ptp(columns) + 1
        centre = (ys * image).sum() / mass, (xs * image).sum() / mass
        at_edge = [min(lines[0], 27 - lines[-1]) == 0 for lines in (rows, columns)]
        near = [abs(c - 14) <= 0.52 or edge for c, edge in zip(centre, at_edge, strict=True)]
        yield image.max() == 255 and max(sides) <= BOX and all(near)


@pytest.fixture(scope="module")
def generated():
    """360 generated digits and their labels."""
    return hands.digits(360, seed=5)


def test_every_digit_is_in_mnist_s_format(generated):
    images, labels = generated
    assert images.shape == (360, 28, 28)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [60, 60, *[30] * 8]
    assert all(in_format(images))


def test_negatives_and_restyled_digits_are_in_mnist_s_format():
    own, labels = hands.digits(100, seed=6)
    images, kept = hands.restyled_digits(120, 7, own, labels)
    assert all(in_format(images))
    assert set(kept) <= set(labels)
    for images in (negatives.negatives(150, 7), negatives.negatives(150, 7, own)):
        assert images.shape == (150, 28, 28)
        assert all(in_format(images))


@pytest.mark.parametrize("label", range(10))
def test_digits_differ_in_more_than_their_pens(generated, label):
    images, labels = generated
    own = images[labels == label][:20].reshape(20, -1)
    assert len(np.unique(own, axis=0)) == 20
    widths = [(image.reshape(28, 28).any(axis=0)).sum() for image in own]
    assert len(set(widths)) > 4
    ink = own.mean(axis=1)
    assert ink.max() > 1.5 * ink.min()


def test_restyling_keeps_what_a_digit_is():
    """A ring stays a ring, whatever its pen: one hole, in the middle."""
    image = np.zeros((1, 28, 28), dtype=np.uint8)
    ys, xs = np.mgrid[:28, :28] + 0.5
    ring = np.abs(np.hypot(ys - 14, xs - 14) - 8) < 1.6
    image[0, ring] = 255
    images, labels = hands.restyled_digits(40, 1, image, np.array([0]))
    assert set(labels) == {0}
    assert (images[:, 13:15, 13:15].mean(axis=(1, 2)) < 40).all()
    assert (images.max(axis=(1, 2)) == 255).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: hands.digits(60, seed)[0],
        lambda seed: hands.restyled_digits(20, seed, *hands.digits(20, 1))[0],
        lambda seed: negatives.negatives(60, seed),
    ],
    ids=["digits", "restyled", "negatives"],
)
def test_a_seed_decides_all_images(make):
    assert np.array_equal(make(4), make(4))
    assert not np.array_equal(make(4), make(5))


def test_batches_are_in_proportion(loader_of):
    loader = loader_of()
    sizes = training.BESIDE
    assert len(loader) == 5  # of 300 images, 64 a batch
    assert loader.batch_size == 64 + sum(sizes)
    for size, (images, labels) in zip((64, 64, 64, 64, 44), loader, strict=True):
        assert images.shape == (size + sum(sizes), 1, 28, 28)
        assert (labels == negatives.NO_DIGIT).sum() == sizes[2]
        assert (labels[-sizes[2] :] == negatives.NO_DIGIT).all()


def test_batches_are_decided_by_the_seed(loader_of):
    first, again, other = loader_of(3), loader_of(3), loader_of(4)
    for (one, labels), (same, _), (another, _) in zip(first, again, other, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, another)
        assert labels.dtype == torch.int64


def test_epochs_see_other_images(loader_of):
    loader = loader_of()
    epochs = [torch.cat([images[-12:] for images, _ in loader]) for _ in range(2)]
    assert not torch.equal(*epochs)


def test_no_test_image_is_used(tmp_path):
    """Two data sets that differ in their test images alone give the same training batches."""
    batches = []
    for name in ("one", "other"):
        root = first_digits(tmp_path / name, train=100, test=50)
        if name == "other":
            for path in (root / "MNIST" / "raw").glob("t10k-images*"):
                content = path.read_bytes()
                path.write_bytes(content[:16] + bytes(len(content) - 16))
        loader, *_ = utils.data_loader(
            normalised(), normalised(), 64, root=root, seed=1, device="cpu"
        )
        batches.append(list(training.with_generated(loader, 1, pool=POOL)))
    for (images, labels), (same, same_labels) in zip(*batches, strict=True):
        assert torch.equal(images, same)
        assert torch.equal(labels, same_labels)


def test_no_digit_counts_less_in_the_loss():
    outputs = torch.randn(4, 11, generator=torch.Generator().manual_seed(1)).log_softmax(dim=1)
    labels = torch.tensor([3, 10, 0, 10])
    losses = -outputs[range(4), labels]
    weights = torch.tensor([1, training.NO_DIGIT_WEIGHT, 1, training.NO_DIGIT_WEIGHT])
    assert training.NO_DIGIT_WEIGHT < 1
    expected = (losses * weights).sum() / weights.sum()
    assert torch.isclose(training.weighted_loss(outputs, labels), expected)


def test_an_interrupted_run_goes_on(tmp_path, small_root, monkeypatch):
    monkeypatch.setattr(training, "with_generated", partial(training.with_generated, pool=POOL))
    net = partial(networks.Net5, width=4)

    def run(epochs, **checkpoint):
        experiment = prepare(net, RECIPES["hands"](), epochs=3, root=small_root, device="cpu")
        experiment.epochs = epochs
        experiment.fit(progress=False, verbose=False, **checkpoint)
        return experiment

    path = tmp_path / "run.pt"
    run(1, checkpoint=path)
    resumed, whole = run(3, checkpoint=path, resume=True), run(3)
    assert resumed.history.train_loss == whole.history.train_loss
    assert resumed.history.test_loss == whole.history.test_loss


def test_the_trained_weights_on_images_that_no_run_has_seen():
    entries = json.loads((REPOSITORY / "weights" / "metadata.json").read_text())
    (entry,) = [entry for entry in entries if entry["name"] == "net5_hands"]
    assert entry["parameters"] < 8_000
    reached = training.held_out(hubconf.net5_hands(pretrained=True))
    assert reached == pytest.approx(entry["held_out"], abs=0.06)  # an image's rounding
    assert reached["digits_right"] > 99.5
    assert reached["lowest_digit_right"] > 98
    assert reached["digits_refused"] < 0.2
    assert reached["negatives_refused"] > 90


def test_a_run_of_train_py_can_be_read_with(tmp_path, small_root, monkeypatch):
    monkeypatch.setattr(training, "with_generated", partial(training.with_generated, pool=POOL))
    run = tmp_path / "run"
    command = ["--recipe", "hands", "--epochs", "1", "--root", str(small_root), "--out", str(run)]
    assert train.main([*command, "--device", "cpu"]) == 0
    probabilities = predict.read_digits(predict.network(run), torch.zeros(1, 28, 28))
    assert probabilities.shape == (1, 11)
