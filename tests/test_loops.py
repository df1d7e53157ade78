"""The loops against an independent reference, and the whole run."""

import copy
import ctypes
import json
import os
import platform
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

import model as networks
import utils
from checks import scheduler_step
from hardware import keep_freed_memory, to_device
from history import History
from recipes import plateau

DIGITS = 100, 50


def tensors(n=150, seed=0):
    """Return n random images with labels that can be learned: the row of the brightest stripe."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 10
    images = torch.rand(n, 1, 28, 28, generator=generator)
    images[torch.arange(n), 0, 4 + 2 * labels] += 2
    return images, labels


def loader_of(n=150, batch_size=64, **settings):
    return DataLoader(TensorDataset(*tensors(n)), batch_size, **settings)


def sgd(net, rate=0.01):
    return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)


class Linear(nn.Module):
    """The smallest model that learns: logits, no buffers."""

    def __init__(self, outputs=10):
        super().__init__()
        self.layer = nn.Linear(784, outputs)

    def forward(self, images):
        return self.layer(images.flatten(1))


class Broken(Linear):
    """Logits that stop being numbers after a few calls in training."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def forward(self, images):
        self.calls -= self.training
        return super().forward(images) * (1 if self.calls >= 0 else float("nan"))


# --- One epoch ---------------------------------------------------------------------------------


def test_training_equals_a_loop_written_by_hand():
    torch.manual_seed(0)
    net = networks.Net5().double()  # so that no rounding hides a difference
    reference = copy.deepcopy(net)
    images, labels = tensors(150)
    loader = DataLoader(TensorDataset(images.double(), labels), 64)  # batches of 64, 64 and 22
    loss, accuracy = utils.train_model(net, "cpu", loader, sgd(net), 1)

    optimizer, total, correct = sgd(reference), 0.0, 0
    reference.train()
    for images, labels in loader:
        optimizer.zero_grad()
        outputs = reference(images)
        batch_loss = F.nll_loss(outputs, labels)
        batch_loss.backward()
        optimizer.step()
        total += batch_loss.item() * len(labels)
        correct += (outputs.argmax(1) == labels).sum().item()
    for ours, theirs in zip(
        net.state_dict().values(), reference.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert loss == pytest.approx(total / 150, rel=1e-9)
    assert accuracy == pytest.approx(100 * correct / 150)


class FirstPixels(Linear):
    """An image's first ten pixels as logits, which are known for every image."""

    def forward(self, images):
        return images[:, 0, 0, :10] if not self.training else super().forward(images)


def test_evaluation_weighs_images_not_batches(capsys):
    images, _ = tensors(150)
    labels = torch.randint(10, (150,), generator=torch.Generator().manual_seed(1))
    images[torch.arange(130), 0, 0, labels[:130]] += 5  # 130 right, the last 20 by chance
    loader = DataLoader(TensorDataset(images, labels), 64)
    loss, accuracy = utils.test_model(FirstPixels(), "cpu", loader)
    logits = images[:, 0, 0, :10].double()
    right = logits[torch.arange(150), labels]
    correct = (logits.argmax(1) == labels).sum().item()
    assert 130 <= correct < 150
    assert loss == pytest.approx((logits.exp().sum(1).log() - right).mean().item(), rel=1e-5)
    assert accuracy == pytest.approx(100 * correct / 150)
    outputs, in_order = utils.predict(FirstPixels(), "cpu", loader)
    assert torch.equal(outputs, images[:, 0, 0, :10])
    assert torch.equal(in_order, labels)
    net = FirstPixels()
    history = utils.fit(net, "cpu", loader, loader, sgd(net), 1)  # as fit evaluates
    assert (history.test_loss[0], history.test_accuracy[0]) == (loss, accuracy)
    capsys.readouterr()
    utils.test_model(net, "cpu", loader)
    assert capsys.readouterr().out == (
        f"Test set: Average loss: {loss:.4f}, Accuracy: {correct}/150 ({accuracy:.2f}%)\n"
    )


@pytest.mark.parametrize("evaluate", [utils.test_model, utils.test_model_plateau, utils.predict])
def test_evaluation_leaves_weights_and_buffers_untouched(evaluate):
    net = networks.Net4()
    before = copy.deepcopy(net.state_dict())
    evaluate(net, "cpu", loader_of())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_plateau_test_returns_the_loss_as_a_float():
    net, loader = networks.Net4(), loader_of()
    loss = utils.test_model_plateau(net, "cpu", loader)
    assert type(loss) is float
    assert loss == utils.test_model(net, "cpu", loader).loss


def test_logits_and_log_probabilities_are_alike():
    class Logits(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, images):
            return self.net.classifier(self.net.features(images)).flatten(1) + 3.0

    torch.manual_seed(0)
    net = networks.Net5()
    logits = Logits(copy.deepcopy(net))
    loader = loader_of()
    for _ in range(2):
        ours = utils.train_model(net, "cpu", loader, sgd(net), 1)
        theirs = utils.train_model(logits, "cpu", loader, sgd(logits), 1)
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    assert utils.test_model(net, "cpu", loader).loss == pytest.approx(
        utils.test_model(logits, "cpu", loader).loss, rel=1e-3
    )


def test_one_batch_is_memorised():
    torch.manual_seed(0)
    net, loader = networks.Net4(dropout=0.0), loader_of(32, 32)
    optimizer = sgd(net, 0.05)
    for epoch in range(40):
        metrics = utils.train_model(net, "cpu", loader, optimizer, epoch, progress=False)
    assert metrics.accuracy == 100
    assert metrics.loss < 0.1


def test_every_line_over_the_sample_says_so(small_loaders, capsys):
    train_loader, _ = small_loaders()
    subset = DataLoader(torch.utils.data.Subset(train_loader.dataset, range(40)), 20)
    net = Linear()
    for loader in (train_loader, subset):
        utils.train_model(net, "cpu", loader, sgd(net), 7, progress=True)
        utils.test_model(net, "cpu", loader)
        printed = capsys.readouterr()
        assert "Epoch 7 (sample) Loss=" in printed.err
        assert "Test set (sample)" in printed.out
        assert utils.fit(net, "cpu", loader, loader, sgd(net), 1).source == "sample"


def test_a_list_of_batches_will_do(capsys):
    net, batches = Linear(), list(loader_of())
    assert len(utils.fit(net, "cpu", batches, batches, sgd(net), 2)) == 2
    assert "Epoch  2/2" in capsys.readouterr().out


def test_the_progress_bar(capsys):
    net = Linear()
    metrics = utils.train_model(net, "cpu", loader_of(), sgd(net), 7, progress=True)
    last = capsys.readouterr().err.split("\r")[-1]
    assert f"Epoch 7 Loss={metrics.loss:.4f} Batch_id=2 Accuracy={metrics.accuracy:.2f}" in last
    assert last.endswith("\n")  # it stays
    utils.train_model(net, "cpu", loader_of(), sgd(net), 7)  # no terminal here
    assert capsys.readouterr() == ("", "")


def test_autocast_and_compile():
    torch.manual_seed(0)
    net, loader = networks.Net5(), loader_of()
    compiled = torch.compile(net, backend="eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = utils.train_model(compiled, "cpu", loader, sgd(net), 1)
        for _ in range(2):
            last = utils.train_model(compiled, "cpu", loader, sgd(net), 1)
        tested = utils.test_model(compiled, "cpu", loader)
    assert last.loss < first.loss
    assert tested.loss > 0


@pytest.mark.parametrize(
    "loop",
    [
        lambda net, loader: utils.train_model(net, "cpu", loader, sgd(net), 1),
        lambda net, loader: utils.test_model(net, "cpu", loader),
        lambda net, loader: utils.test_model_plateau(net, "cpu", loader),
        lambda net, loader: utils.fit(net, "cpu", loader, loader, sgd(net), 1),
    ],
    ids=["train_model", "test_model", "test_model_plateau", "fit"],
)
def test_empty_loaders_and_wrong_outputs_are_refused(loop):
    with pytest.raises(ValueError, match="at least one batch, got none"):
        loop(Linear(), DataLoader(TensorDataset(*tensors(0)), 4))
    net = Linear(outputs=7)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="labels from 0 to 6, as the model has 7 outputs, got 7"):
        loop(net, loader_of())
    assert torch.equal(before["layer.weight"], net.layer.weight)


@pytest.mark.parametrize("classes", [2, 47])
def test_loops_follow_the_number_of_outputs(classes):
    torch.manual_seed(0)
    (images, _), labels = tensors(188), torch.arange(188) % classes
    images[torch.arange(188), 0, labels // 2 + 2, 14 * (labels % 2)] += 20
    net, loader = Linear(classes), [(images, labels)]
    history = utils.fit(net, "cpu", loader, loader, sgd(net, 0.001), 30)
    outputs, known = utils.predict(net, "cpu", loader)
    assert outputs.shape == (188, classes)
    expected = 100 * (outputs.argmax(dim=1) == known).double().mean().item()
    assert history.test_accuracy[-1] == pytest.approx(expected)
    assert expected > 90
    hot = [(images, F.one_hot(labels, classes).float())]
    assert utils.test_model(net, "cpu", hot) == pytest.approx(utils.test_model(net, "cpu", loader))


def test_a_loss_that_stops_being_a_number_names_epoch_batch_and_learning_rate():
    net = Broken(calls=5)
    with pytest.raises(FloatingPointError, match=r"loss is nan in epoch 4, batch 5, at .* 0\.01"):
        utils.train_model(net, "cpu", loader_of(150, 16), sgd(net), 4)


# --- The whole run -----------------------------------------------------------------------------


class Scripted(Linear):
    """In evaluation, outputs whose loss is the next of these, where all labels are 0."""

    def __init__(self, losses):
        super().__init__()
        self.losses = iter(losses)

    def forward(self, images):
        if self.training:
            return super().forward(images)
        outputs = torch.zeros(len(images), 10)
        outputs[:, 0] = -torch.tensor(next(self.losses)).expm1().div(9).log()
        return outputs


ZEROS = [(torch.zeros(8, 1, 28, 28), torch.zeros(8, dtype=torch.long))]


def test_the_learning_rate_drops_after_patience_2_and_not_before():
    losses = [1.0, 0.5, 0.6, 0.6, 0.6, 0.7, 0.6, 0.6, 0.4]
    net, loader = Scripted(losses), loader_of()
    optimizer = sgd(net, 0.01)
    history = utils.fit(
        net, "cpu", loader, ZEROS, optimizer, len(losses), ReduceLROnPlateau(optimizer, patience=2)
    )
    assert history.test_loss == pytest.approx(losses)
    # Epochs 3, 4 and 5 are no better than epoch 2: the third of them lowers the rate.
    assert history.learning_rate == pytest.approx([0.01] * 5 + [0.001] * 3 + [0.0001])


def test_fit_equals_the_loop_of_the_notebooks(small_loaders):
    recipe, nets, rates, losses = plateau(), [], [], []
    for by_hand in (False, True):
        utils.set_seed(1)
        net = networks.Net4()
        train_loader, test_loader = small_loaders(recipe.train_transforms)
        optimizer = recipe.optimizer(net.parameters())
        scheduler = ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
        if by_hand:
            rates, losses = [], []
            for epoch in range(1, 5):
                rates.append(optimizer.param_groups[0]["lr"])
                utils.train_model(net, "cpu", train_loader, optimizer, epoch)
                losses.append(utils.test_model_plateau(net, "cpu", test_loader))
                scheduler.step(losses[-1])
        else:
            history = utils.fit(net, "cpu", train_loader, test_loader, optimizer, 4, scheduler)
        nets.append(net)
    assert history.test_loss == losses
    assert history.learning_rate == rates
    assert rates[-1] < rates[0]
    for first, second in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("on_device", [True, False])
def test_same_seed_same_result(small_loaders, on_device):
    results = []
    for seed in (1, 1, 2):
        utils.set_seed(seed)
        net = networks.Net4()
        loaders = small_loaders(plateau().train_transforms, seed=seed, on_device=on_device)
        history = utils.fit(net, "cpu", *loaders, sgd(net), 2)
        results.append((history.train_loss, history.test_loss, history.test_accuracy))
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_schedulers_step_as_their_kind_asks():
    net, loader = Linear(), loader_of()
    optimizer = sgd(net, 0.1)
    cosine = CosineAnnealingLR(optimizer, T_max=4)
    history = utils.fit(net, "cpu", loader, loader, optimizer, 4, cosine)
    assert history.learning_rate == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], rel=1e-4)
    optimizer = sgd(net, 0.1)
    one_cycle = OneCycleLR(optimizer, max_lr=0.2, total_steps=4 * len(loader))
    utils.fit(net, "cpu", loader, loader, optimizer, 4, one_cycle)
    assert one_cycle.last_epoch == 12
    assert scheduler_step(None) is None


def test_the_averaged_model_is_the_one_tested():
    torch.manual_seed(0)
    net, loader = networks.Net5(), loader_of()
    averaged_model = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    history = utils.fit(net, "cpu", loader, loader, sgd(net), 3, averaged_model=averaged_model)
    assert averaged_model.n_averaged == 9
    assert history.test_loss[-1] == utils.test_model(averaged_model, "cpu", loader).loss
    assert history.test_loss[-1] != utils.test_model(net, "cpu", loader).loss


def test_history_is_plain_floats_and_survives_a_file(tmp_path, small_loaders, capsys):
    net = networks.Net4()
    history = utils.fit(net, "cpu", *small_loaders(), sgd(net), 3)
    assert history.source == "sample"
    assert len(history) == 3
    assert 1 <= history.best_epoch <= 3
    assert (history.val_loss, history.val_accuracy) == ([], [])
    lists = [value for value in vars(history).values() if isinstance(value, list) and value]
    assert len(lists) == 6
    assert all(type(number) is float for numbers in lists for number in numbers)
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history
    assert json.loads((tmp_path / "history.json").read_text())["source"] == "sample"
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    for k, line in enumerate(printed, 1):
        assert line.startswith(f"Epoch  {k}/3: train {history.train_loss[k - 1]:.4f}")
        assert f"test {history.test_loss[k - 1]:.4f}" in line
        assert "(sample)" in line


def test_the_first_of_the_best_epochs():
    history = History(test_accuracy=[98.0, 99.0, 98.5, 99.0], test_loss=[0.0] * 4)
    assert history.best_epoch == 2


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "3", None])
def test_epochs_are_checked(epochs):
    net = Linear()
    with pytest.raises((ValueError, TypeError), match=f"epochs .*, got {epochs!r}"):
        utils.fit(net, "cpu", loader_of(), loader_of(), sgd(net), epochs)


def test_a_broken_run_keeps_the_history_it_had():
    net, history = Broken(calls=7), History()
    with pytest.raises(FloatingPointError, match="epoch 3, batch 1"):
        utils.fit(net, "cpu", loader_of(), loader_of(), sgd(net), 9, history=history)
    assert len(history) == 2
    net, history = Scripted([0.5, float("inf")]), History()
    with pytest.raises(FloatingPointError, match="test loss is inf after epoch 2"):
        utils.fit(net, "cpu", loader_of(), ZEROS, sgd(net), 9, history=history)
    assert history.test_loss == pytest.approx([0.5])


def test_no_state_stays_in_the_modules(small_loaders):
    before = {name: repr(value) for name, value in vars(utils).items()}
    net = networks.Net4()
    utils.fit(net, "cpu", *small_loaders(), sgd(net), 1)
    assert {name: repr(value) for name, value in vars(utils).items()} == before


def test_validation_images_drive_the_plateau(small_loaders, monkeypatch):
    net, (train_loader, test_loader) = networks.Net4(), small_loaders()
    val_loader, optimizer, told = loader_of(32), sgd(net), []
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    monkeypatch.setattr(scheduler, "step", told.append)
    arguments = (net, "cpu", train_loader, test_loader, optimizer, 2, scheduler)
    history = utils.fit(*arguments, val_loader=val_loader, progress=False)
    assert told == history.val_loss
    assert history.val_loss[-1] == utils.test_model(net, "cpu", val_loader).loss
    assert history.test_loss[-1] == utils.test_model(net, "cpu", test_loader).loss
    told.clear()
    history = utils.fit(*arguments, progress=False)
    assert told == history.test_loss


# --- Devices -----------------------------------------------------------------------------------


def test_to_device_keeps_the_values():
    net, images = networks.Net4(dropout=0.0).eval(), torch.randn(2, 1, 28, 28)
    before = net(images).detach()
    assert to_device(net, "cpu") is net
    assert net.features[1][0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(images), before)


def test_get_device(monkeypatch):
    assert utils.get_device("cpu").type == "cpu"
    for cuda in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda cuda=cuda: int(cuda))
        assert utils.get_device().type == ("cuda" if cuda else "cpu")
    with pytest.raises(RuntimeError, match=r"got cuda \(0 available\)"):
        utils.get_device("cuda")
    with pytest.raises(ValueError, match=r"expected device .*, got 'gpu'"):
        utils.get_device("gpu")


def returned_share(keep, pipe):
    """Send the share of the memory of freed tensors by which the address space shrinks."""

    def address_space():
        return int(Path("/proc/self/statm").read_text().split()[0])  # in pages

    if keep:
        keep_freed_memory()
    torch.set_num_threads(1)
    before = address_space()
    tensors = [torch.ones(3_000_000) for _ in range(8)]
    held = address_space()
    del tensors
    pipe.send((held - address_space()) / (held - before))


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ),
    reason="glibc's malloc is meant, as it is",
)
def test_memory_that_is_freed_is_kept(processes):
    shares = []
    for keep in (False, True):
        receiver, sender = processes.Pipe(duplex=False)
        process = processes.Process(target=returned_share, args=(keep, sender))
        process.start()
        shares.append(receiver.recv())
        process.join()
    assert shares[0] > 0.9
    assert shares[1] < 0.1


def test_where_there_is_no_glibc_memory_is_left_alone(monkeypatch):
    for error in (AttributeError, OSError, TypeError):

        def no_library(_, error=error):
            raise error

        monkeypatch.setattr(ctypes, "CDLL", no_library)
        assert keep_freed_memory() is False


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (1.5, TypeError), (None, TypeError)])
def test_seeds_are_checked(seed, error):
    with pytest.raises(error, match="seed"):
        utils.set_seed(seed)


@pytest.mark.cuda
def test_cuda_trains_and_waits_for_nothing(small_root):
    recipe = plateau()
    train_loader, _, test_loader, _ = utils.data_loader(
        recipe.train_transforms, recipe.test_transforms, 8, root=small_root, device="cuda"
    )
    net = networks.Net4().cuda()
    optimizer = recipe.optimizer(net.parameters())
    utils.train_model(net, "cuda", train_loader, optimizer, 1, progress=False)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchroniz") as caught:
            utils.train_model(net, "cuda", train_loader, optimizer, 2, progress=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(caught) < 15  # 38 batches: a few looks and the end of the epoch
    assert utils.test_model(net, "cuda", test_loader).accuracy > 10
