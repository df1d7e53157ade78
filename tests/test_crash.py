"""Kill -9 at any instant: nothing is lost but the epoch under way, and the end is the same."""

import builtins
import hashlib
import os
import random
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
from tqdm.auto import tqdm

import model as networks
import utils
from checkpoints import load_checkpoint
from recipes import plateau

DIGITS = 80, 40
EPOCHS, BATCH_SIZE, TRAIN_STEPS, TEST_STEPS = 3, 16, 5, 3  # steps an epoch
KILLS = ("step", "evaluation", "half a write", "fsync", "replace", "replaced", "any instant")


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def run(root, folder, killing=None, seed=0):
    """Train on a small set, go on where a run before was killed, and write down the end.

    `killing` says during what to be killed; when exactly, the seed draws.
    """
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is between processes, and outlives a kill
    draw = random.Random(seed)
    sys.stdout = open(folder / "printed", "a", buffering=1)  # noqa: SIM115 (lives as long as this)
    utils.set_seed(1)
    recipe = plateau()
    train_loader, _, test_loader, _ = utils.data_loader(
        recipe.train_transforms,
        recipe.test_transforms,
        BATCH_SIZE,
        root=root,
        device="cpu",
        seed=1,
        test_batch_size=BATCH_SIZE,
    )
    net = networks.Net4()
    optimizer = recipe.optimizer(net.parameters())
    set_trap(killing, net, draw)
    history = utils.fit(
        net,
        "cpu",
        train_loader,
        test_loader,
        optimizer,
        EPOCHS,
        recipe.scheduler(optimizer, EPOCHS, TRAIN_STEPS),
        checkpoint=folder / "checkpoint.pt",
        resume=True,
        progress=False,
    )
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    del history.seconds[:]
    digest.update(repr(history).encode())
    (folder / "end").write_text(digest.hexdigest())


def set_trap(killing, net, draw):
    """Arrange for this process to be killed."""
    countdown = {"step": draw.randrange(1, EPOCHS * TRAIN_STEPS)}
    countdown["evaluation"] = draw.randrange(1, EPOCHS * TEST_STEPS)
    real_open = open
    write = draw.randrange(EPOCHS)  # which of the checkpoints

    def count(module, *_):
        countdown["step" if module.training else "evaluation"] -= 1
        if countdown.get(killing) == 0:
            kill()

    def at_write(work):
        def counted(*arguments):
            nonlocal write
            write -= 1
            if write < 0 and killing != "replaced":
                kill()
            work(*arguments)
            if write < 0:
                kill()

        return counted

    class HalfAFile:
        """A file that is killed in the middle of a write."""

        def __init__(self, *arguments):
            self.file = real_open(*arguments, buffering=0)

        def __enter__(self):
            return self.file if write > 0 else self

        def write(self, content):
            self.file.write(content[: draw.randrange(len(content))])
            kill()

        def __exit__(self, *_):
            nonlocal write
            write -= 1
            self.file.close()

    if killing in ("step", "evaluation"):
        net.register_forward_hook(count)
    elif killing == "half a write":
        builtins.open = lambda path, *mode: (
            HalfAFile if str(path).endswith(".tmp") else real_open
        )(path, *mode)
    elif killing in ("fsync", "replace", "replaced"):
        name = killing.removesuffix("d")
        setattr(os, name, at_write(getattr(os, name)))
    elif killing == "any instant":
        threading.Timer(draw.uniform(0, 0.5), kill).start()


@pytest.fixture
def start(processes):
    """Start `run` in a process of its own; return its exit code."""

    def start(*arguments):
        process = processes.Process(target=run, args=arguments)
        process.start()
        process.join(120)
        return process.exitcode

    return start


def crash(start, root, folder, reference, number):
    """Kill a run, perhaps twice, resume it to its end, and compare the end with the reference."""
    folder.mkdir()
    draw = random.Random(number)
    killing = KILLS[number % len(KILLS)]
    kills = 0
    for attempt in range(draw.choice((1, 1, 1, 2))):
        exit_code = start(root, folder, killing, 1000 * attempt + number)
        assert exit_code in (-signal.SIGKILL, 0)
        kills += exit_code != 0
        checkpoint = folder / "checkpoint.pt"
        kept = 0
        if checkpoint.exists():
            kept = len(load_checkpoint(checkpoint)["history"]["test_loss"])
        printed = Path(folder / "printed").read_text().split("\n")[:-1]  # whole lines
        assert kept >= len({line.split("/")[0] for line in printed if line.startswith("Epoch")})
    (folder / "end").unlink(missing_ok=True)
    assert start(root, folder) == 0
    assert (folder / "end").read_text() == reference, f"kill {number}, {killing}"
    assert not list(folder.glob("*.tmp"))
    return kills


def crash_often(start, root, tmp_path, numbers):
    """Return how many runs were killed, after a check that each ends as the reference does."""
    (tmp_path / "reference").mkdir()
    assert start(root, tmp_path / "reference") == 0
    reference = (tmp_path / "reference" / "end").read_text()
    return sum(crash(start, root, tmp_path / str(n), reference, n) for n in numbers)


pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")


def test_a_few_kills(start, small_root, tmp_path):
    assert crash_often(start, small_root, tmp_path, range(len(KILLS))) >= len(KILLS) - 1


@pytest.mark.long
def test_many_kills(start, small_root, tmp_path):
    kills = crash_often(start, small_root, tmp_path, range(100, 140))
    print(f"{kills} kills")
    assert kills >= 30
