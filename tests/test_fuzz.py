"""Random damage to data files and checkpoints: a clear error or sound data, nothing else."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from conftest import first_digits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.optim import SGD

import checkpoints
import model as networks
import utils
from checkpoints import load_checkpoint
from data import IDX_FILES, find_mnist, load_mnist
from recipes import normalised

CASES = int(os.environ.get("FUZZ_CASES", 150))
often = settings(
    max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@st.composite
def damages(draw):
    """Draw a function that damages bytes: cuts, flips, insertions, some of them near the start."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "replace"]))
    early = draw(st.booleans())
    place = draw(st.integers(0, 40) if early else st.floats(0, 1))
    bit = draw(st.integers(0, 7))
    extra = draw(st.binary(max_size=20))

    def damage(content):
        at = min(place if early else int(place * len(content)), max(len(content) - 1, 0))
        if kind == "cut":
            return content[:at]
        if kind == "flip":
            return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
        return content[:at] + extra + content[at + (len(extra) if kind == "replace" else 0) :]

    return damage


@pytest.fixture(scope="module")
def tiny_root(tmp_path_factory):
    """A torchvision root with 20 + 10 digits."""
    return first_digits(tmp_path_factory.mktemp("tiny"), train=20, test=10)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of an unknown source
@often
@given(name=st.sampled_from(list(IDX_FILES)), damage=damages())
def test_data_files(tiny_root, name, damage):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(tiny_root, folder, dirs_exist_ok=True)
        path = Path(folder, "MNIST", "raw", name)
        path.write_bytes(damage(path.read_bytes()))
        try:
            found = find_mnist(folder)
            sets = [load_mnist(found, train, None) for train in (True, False)]
        except ValueError as error:
            assert str(error).startswith(folder)
            return
        for dataset, count in zip(sets, (20, 10), strict=True):
            assert (dataset.data.shape, dataset.data.dtype) == ((count, 28, 28), torch.uint8)
            assert dataset.targets.shape == (count,)
            assert 0 <= dataset.targets.min() <= dataset.targets.max() <= 9


@pytest.fixture(scope="module")
def checkpoint(tiny_root, tmp_path_factory):
    """The bytes of a checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    train_loader, _, test_loader, _ = utils.data_loader(
        normalised(), normalised(), 10, root=tiny_root
    )
    net = networks.Net5()
    optimizer = SGD(net.parameters(), lr=0.01, momentum=0.9)
    utils.fit(
        net,
        "cpu",
        train_loader,
        test_loader,
        optimizer,
        1,
        checkpoint=path,
        progress=False,
        verbose=False,
    )
    return path.read_bytes()


@often
@given(damage=damages(), signed=st.booleans())
def test_checkpoints(checkpoint, damage, signed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        if signed:  # damage under a digest that fits: for torch's own reader
            payload = damage(checkpoint[:-32])
            path.write_bytes(payload + hashlib.sha256(payload).digest())
        else:
            path.write_bytes(damage(checkpoint))
        try:
            state = load_checkpoint(path)
        except ValueError as error:
            assert str(error).startswith(str(path))
            return
        assert state.keys() >= checkpoints.KEYS
        if not signed:
            assert path.read_bytes() == checkpoint
