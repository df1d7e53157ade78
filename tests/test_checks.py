"""What fit takes and what it refuses: parts, labels, loaders, schedules, dtypes. All quick."""

import copy
import itertools
import random
import re

import numpy as np
import pytest
import torch
from test_loops import Linear, sgd, tensors
from torch.nn import functional as F
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    TensorDataset,
)
from torch.utils.data.distributed import DistributedSampler
from torchvision.transforms import v2

import model as networks
import utils
from batched import DeviceLoader
from checkpoints import evaluated_weights, load_checkpoint
from data import find_mnist, load_mnist
from history import History, epoch_line
from recipes import normalised


def batches(n, size=32):
    return list(zip(*(tensor.split(size) for tensor in tensors(n)), strict=True))


def fit(net, optimizer, epochs=2, scheduler=None, loader=None, **settings):
    loader = batches(96) if loader is None else loader  # 3 batches
    return utils.fit(net, "cpu", loader, batches(32), optimizer, epochs, scheduler, **settings)


def values(state):
    """Return nested state_dicts as a text that two equal ones share."""
    if isinstance(state, torch.Tensor):
        return state.tolist()
    if isinstance(state, dict):
        return {key: values(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [values(value) for value in state]
    return re.sub(r" at 0x\w+", "", repr(state))


def snapshot(net, optimizer, scheduler=None, averaged_model=None, generator=None):
    """Return all that a refused call must leave as it was."""
    states = [part.state_dict() for part in (net, optimizer, averaged_model, scheduler) if part]
    states += [generator.get_state()] if generator else []
    return values([states, net.training, torch.get_rng_state(), random.getstate()])


# --- Parts that don't belong together ------------------------------------------------------------


def ema(net):
    return AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)


def of_another_net(net, optimizer):
    return {"optimizer": sgd(networks.Net4())}


def of_another_optimizer(net, optimizer):
    return {"scheduler": schedules.CosineAnnealingLR(sgd(net), 2)}


def nested_of_another_optimizer(net, optimizer):
    other = [schedules.ConstantLR(sgd(net)), schedules.StepLR(sgd(net), 1)]
    return {"scheduler": schedules.ChainedScheduler(other[:1])}


def a_fresh_average_of_another_net(net, optimizer):
    return {"averaged_model": ema(networks.Net4())}


def a_used_average_of_another_net(net, optimizer):
    other = networks.Net4()
    averaged_model = ema(other)
    fit(other, sgd(other), averaged_model=averaged_model)
    return {"averaged_model": averaged_model}


def an_average_of_another_class(net, optimizer):
    return {"averaged_model": AveragedModel(networks.Net2())}


def partly_used_up(net, optimizer):
    scheduler = schedules.OneCycleLR(optimizer, 0.1, total_steps=6)
    optimizer.step()
    scheduler.step()
    return {"scheduler": scheduler}


def too_short_after_a_warm_up(net, optimizer):
    parts = [schedules.ConstantLR(optimizer), schedules.OneCycleLR(optimizer, 0.1, total_steps=3)]
    return {"scheduler": schedules.SequentialLR(optimizer, parts, milestones=[2])}


def too_short_in_a_chain(net, optimizer):
    return {
        "scheduler": schedules.ChainedScheduler(
            [schedules.OneCycleLR(optimizer, 0.1, total_steps=5), schedules.ConstantLR(optimizer)]
        )
    }


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (of_another_net, "optimizer"),
        (of_another_optimizer, "scheduler"),
        (nested_of_another_optimizer, "scheduler"),
        (a_fresh_average_of_another_net, "averaged_model"),
        (a_used_average_of_another_net, "averaged_model"),
        (an_average_of_another_class, "averaged_model"),
        (partly_used_up, "scheduler"),
        (too_short_after_a_warm_up, "scheduler"),
        (too_short_in_a_chain, "scheduler"),
    ],
)
def test_parts_of_another_run_are_refused_by_name(wrong, named):
    torch.manual_seed(0)
    net = networks.Net4().eval()
    optimizer = sgd(net)
    parts = {"optimizer": optimizer} | wrong(net, optimizer)
    state = [net, parts["optimizer"], parts.get("scheduler"), parts.get("averaged_model")]
    before, history = snapshot(*state), History()
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        fit(net, history=history, **parts)
    assert snapshot(*state) == before
    assert history == History()


def test_parts_that_do_belong_together_train():
    torch.manual_seed(0)
    net = networks.Net4()
    scale = torch.nn.Parameter(torch.ones(()))  # of the loss function

    def loss_function(outputs, labels):
        return F.cross_entropy(outputs * scale, labels)

    head = list(net.classifier.parameters())
    net.features.requires_grad_(False)
    fit(net, torch.optim.SGD([*head, scale], 0.1), loss_function=loss_function)
    assert scale != 1
    optimizer = torch.optim.AdamW(head, 0.01)
    averaged_model = AveragedModel(net)  # SWA, which begins late
    fit(net, optimizer, epochs=3)
    fit(
        net,
        optimizer,
        averaged_model=averaged_model,
        scheduler=torch.optim.swa_utils.SWALR(optimizer, 0.05),
    )
    history = fit(net, optimizer, averaged_model=averaged_model)  # a run that goes on
    assert averaged_model.n_averaged == 12
    assert history.test_loss[-1] == utils.test_model(averaged_model, "cpu", batches(32)).loss


def a_new_head(net):
    net.classifier[1] = torch.nn.Conv2d(12, 10, 1)


def other_weights(net):
    state = {name: value.clone() for name, value in net.classifier.state_dict().items()}
    net.classifier.load_state_dict(state, assign=True)


def weight_norm(net):
    torch.nn.utils.parametrizations.weight_norm(net.classifier[1])


@pytest.mark.parametrize("change", [a_new_head, other_weights, weight_norm])
def test_an_optimizer_that_misses_parameters_is_refused_by_name(change):
    net = networks.Net4()
    optimizer = sgd(net)
    change(net)
    before, history = snapshot(net, optimizer), History()
    with pytest.raises(ValueError, match=r"^optimizer: expected all parameters.* classifier\.1\."):
        fit(net, optimizer, history=history)
    assert snapshot(net, optimizer) == before
    assert len(fit(net, sgd(net), epochs=1)) == 1
    head = sgd(net.classifier)
    with pytest.raises(ValueError, match=r"features\.0\.0\.weight.* and \d+ more missing"):
        fit(net, head)
    net.features.requires_grad_(False)
    assert len(fit(net, head, epochs=1)) == 1


def test_an_average_without_buffers_is_evaluated_with_its_own_statistics(tmp_path):
    torch.manual_seed(0)
    net, loader = networks.Net2(), batches(96)
    averaged_model = AveragedModel(net)
    history = fit(net, sgd(net, 0.1), averaged_model=averaged_model, checkpoint=tmp_path / "c.pt")
    reference = copy.deepcopy(averaged_model.module)
    reference.load_state_dict(net.state_dict() | dict(averaged_model.module.named_parameters()))
    stale = utils.test_model(reference, "cpu", batches(32))
    update_bn(loader, reference)
    right = utils.test_model(reference, "cpu", batches(32))
    assert history.test_loss[-1] == pytest.approx(right.loss)
    assert history.test_loss[-1] != pytest.approx(stale.loss)
    assert utils.test_model(averaged_model, "cpu", batches(32)) == pytest.approx(right)
    again = networks.Net2()
    again.load_state_dict(evaluated_weights(load_checkpoint(tmp_path / "c.pt")))
    assert utils.test_model(again, "cpu", batches(32)) == pytest.approx(right)


def test_statistics_need_images_that_can_be_read_twice():
    net = networks.Net2()
    averaged_model = AveragedModel(net)
    with pytest.raises(ValueError, match=r"^train_loader: expected .*use_buffers=True"):
        fit(net, sgd(net), 1, loader=iter(batches(96)), averaged_model=averaged_model)
    net = Linear()
    assert fit(net, sgd(net), 1, loader=iter(batches(96)), averaged_model=AveragedModel(net))


def test_a_wrapped_model_belongs_to_its_parameters(tmp_path):
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        for wrap in (
            torch.nn.parallel.DistributedDataParallel,
            lambda net: torch.compile(net, backend="eager"),
        ):
            net = Linear()
            assert len(fit(wrap(net), sgd(net), averaged_model=ema(net))) == 2
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("call", ["train_model", "fit"])
def test_an_optimizer_that_needs_a_closure_is_refused_by_name(call):
    net, loader = Linear(), batches(32)
    optimizer = torch.optim.LBFGS(net.parameters())
    with pytest.raises(TypeError, match="no closure, got LBFGS"):
        if call == "fit":
            fit(net, optimizer)
        else:
            utils.train_model(net, "cpu", loader, optimizer, 1)


# --- When a schedule steps -----------------------------------------------------------------------


def warm_up_then_one_cycle(optimizer):
    parts = [
        schedules.LinearLR(optimizer, 0.1, total_iters=4),
        schedules.OneCycleLR(optimizer, 0.4, total_steps=9),
    ]
    return schedules.SequentialLR(optimizer, parts, milestones=[4])


def chained_cycles(optimizer):
    cycles = schedules.CyclicLR(optimizer, 0.1, 0.2, step_size_up=2)
    return schedules.ChainedScheduler([cycles, schedules.StepLR(optimizer, 5)])


def one_cycle(optimizer):
    return schedules.OneCycleLR(optimizer, 0.4, total_steps=12)


def step_schedule(optimizer):
    return schedules.StepLR(optimizer, 2)


def plateau(optimizer, mode="min"):
    return schedules.ReduceLROnPlateau(optimizer, mode, patience=0)


@pytest.mark.parametrize(
    ("schedule", "step", "per_batch"),
    [
        (warm_up_then_one_cycle, None, True),
        (chained_cycles, None, True),
        (one_cycle, None, True),
        (step_schedule, None, False),
        (step_schedule, "batch", True),
        (chained_cycles, "epoch", False),
    ],
)
def test_a_schedule_steps_as_in_a_loop_by_hand(schedule, step, per_batch):
    rates = {}
    for by_hand in (False, True):
        torch.manual_seed(0)
        net, loader = Linear(), batches(96)
        optimizer = sgd(net, 0.1)
        scheduler = schedule(optimizer)
        if by_hand:
            rates[by_hand] = []
            for epoch in range(1, 5):
                rates[by_hand].append(optimizer.param_groups[0]["lr"])
                scheduler_of_batches = scheduler if per_batch else None
                utils.train_model(
                    net, "cpu", loader, optimizer, epoch, batch_scheduler=scheduler_of_batches
                )
                if not per_batch:
                    scheduler.step()
        else:
            rates[by_hand] = fit(net, optimizer, 4, scheduler, step=step).learning_rate
    assert rates[False] == rates[True]


@pytest.mark.parametrize(("mode", "told"), [("min", "val_loss"), ("max", "val_accuracy")])
def test_a_plateau_is_told_what_its_mode_asks_for(mode, told, monkeypatch):
    net = Linear()
    optimizer = sgd(net)
    scheduler = plateau(optimizer, mode)
    values = []
    monkeypatch.setattr(scheduler, "step", values.append)
    history = fit(net, optimizer, scheduler=scheduler, val_loader=batches(64))
    assert values == getattr(history, told)
    with pytest.raises(ValueError, match="'epoch' for ReduceLROnPlateau, got 'batch'"):
        fit(net, optimizer, scheduler=scheduler, step="batch")
    with pytest.raises(ValueError, match="'batch' or 'epoch', got 'step'"):
        fit(net, optimizer, step="step")


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: schedules.CosineAnnealingLR(optimizer, T_max=6),
        lambda optimizer: schedules.CosineAnnealingWarmRestarts(optimizer, T_0=3),
        lambda optimizer: schedules.LinearLR(optimizer, total_iters=6),
        lambda optimizer: schedules.StepLR(optimizer, step_size=3),
        lambda optimizer: schedules.MultiStepLR(optimizer, milestones=[1, 6]),
        lambda optimizer: schedules.ChainedScheduler([schedules.StepLR(optimizer, step_size=3)]),
    ],
    ids=["T_max", "T_0", "total_iters", "step_size", "milestones", "chained"],
)
def test_a_schedule_counted_in_batches_has_to_say_when_it_steps(make):
    net = Linear()
    optimizer = sgd(net)
    with pytest.raises(
        ValueError, match=r"step='batch' or step='epoch' .* of [36], [12] times the 3"
    ):
        fit(net, optimizer, 2, make(optimizer))
    for step in ("batch", "epoch"):
        net = Linear()
        optimizer = sgd(net)
        assert len(fit(net, optimizer, 2, make(optimizer), step=step)) == 2


def test_a_schedule_counted_in_epochs_need_not_say_it():
    for epochs, length in ((6, 6), (2, 4), (2, 2)):  # of 3 batches
        net = Linear()
        optimizer = sgd(net)
        scheduler = schedules.CosineAnnealingLR(optimizer, T_max=length)
        assert len(fit(net, optimizer, epochs, scheduler)) == epochs


# --- Labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_class_indices_of_any_integer_type(dtype):
    net, (images, labels) = Linear(), tensors(32)
    expected = utils.test_model(net, "cpu", [(images, labels)])
    assert utils.test_model(net, "cpu", [(images, labels.to(getattr(torch, dtype)))]) == expected


def test_class_probabilities():
    net, (images, labels) = Linear(), tensors(32)
    expected = utils.test_model(net, "cpu", [(images, labels)])
    for dtype in (torch.float32, torch.float64, torch.float16):
        hot = F.one_hot(labels, 10).to(dtype)
        assert utils.test_model(net, "cpu", [(images, hot)]) == pytest.approx(expected)
    for mix in (v2.MixUp(num_classes=10), v2.CutMix(num_classes=10)):
        metrics = utils.train_model(net, "cpu", [mix(images, labels)], sgd(net), 1)
        assert 0 <= metrics.accuracy <= 100


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels[:, None],
        lambda labels: labels.float(),
        lambda labels: labels == 1,
        lambda labels: F.one_hot(labels, 10),
        lambda labels: F.one_hot(labels, 12).float(),
        lambda labels: F.one_hot(labels, 10).bool(),
        lambda labels: labels[:, None].float(),
        lambda labels: labels.to(torch.complex64),
        lambda labels: F.one_hot(labels, 10).float()[:, :, None],
    ],
)
def test_labels_of_another_shape_or_kind_are_refused(change):
    net, (images, labels) = Linear(), tensors(32)
    before = copy.deepcopy(net.state_dict())
    for call in (
        lambda loader: utils.train_model(net, "cpu", loader, sgd(net), 1),
        lambda loader: utils.test_model(net, "cpu", loader),
    ):
        with pytest.raises(ValueError, match="labels as class indices"):
            call([(images, change(labels))])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


LOOPS = (
    lambda net, loader: utils.train_model(net, "cpu", loader, sgd(net), 1),
    lambda net, loader: utils.test_model(net, "cpu", loader),
)


@pytest.mark.parametrize("label", [10, -1, 47])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_label_outside_the_classes_is_refused(loop, label, small_root):
    images, labels = tensors(64)
    labels[-1] = label
    train = load_mnist(find_mnist(small_root), True, normalised())
    train.targets[-1] = label
    for loader in (
        [(images, labels)],
        DataLoader(TensorDataset(images, labels), 16),
        DeviceLoader(train, 16),
    ):
        net = Linear()
        with pytest.raises(ValueError, match=f"labels from 0 to 9, .* 10 outputs, got {label}"):
            loop(net, loader)


def test_the_labels_of_a_device_loader_are_checked_before_the_first_step(small_root):
    train, net = load_mnist(find_mnist(small_root), True, normalised()), Linear()
    train.targets[-1] = 10
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="labels from 0 to 9"):
        utils.train_model(net, "cpu", DeviceLoader(train, 16), sgd(net), 1)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.cuda
def test_a_label_outside_the_classes_does_not_abort_cuda(small_root):
    train = load_mnist(find_mnist(small_root), True, normalised())
    train.targets[-1] = 10
    for loader in (DeviceLoader(train, 16, device="cuda"), DataLoader(train, 16)):
        net = Linear().cuda()
        with pytest.raises(ValueError, match="labels from 0 to 9, as the model has 10 outputs"):
            utils.train_model(net, "cuda", loader, sgd(net), 1)
        assert net.layer.weight.isfinite().all().item()  # waits: an abort would show here


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ({"image": tensors(4)[0], "label": tensors(4)[1]}, "a dict with the keys image, label"),
        ((*tensors(4), 1), "a tuple of Tensor, Tensor, int"),
        ([tensors(4)[0], [0, 1, 2, 3]], "a list of Tensor, list"),
        (tensors(2)[0], "Tensor"),
        ([], "a list of nothing"),
    ],
)
def test_batches_that_are_no_pairs_are_refused(loop, batch, got):
    with pytest.raises(TypeError, match=re.escape(f"(images, labels), two tensors, got {got}")):
        loop(Linear(), [batch])


def test_a_label_for_all_images_is_refused():
    net = Linear()
    with pytest.raises(ValueError, match="expected"):
        utils.train_model(net, "cpu", [(tensors(1)[0], torch.tensor(1))], sgd(net), 1)


# --- Loaders and samplers ------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(*tensors(48), strict=True)


class Shuffled(Sampler):
    """An order of its own each epoch, by a generator of its own."""

    def __init__(self, data, generator):
        self.data, self.generator = data, generator

    def __len__(self):
        return len(self.data)

    def __iter__(self):
        if isinstance(self.generator, torch.Generator):
            return iter(torch.randperm(len(self.data), generator=self.generator).tolist())
        order = list(range(len(self.data)))
        self.generator.shuffle(order)
        return iter(order)


def shuffled_loader(generator):
    data = TensorDataset(*tensors(60))
    return DataLoader(data, 20, sampler=Shuffled(data, generator))


def batches_of_a_sampler(generator):
    data = TensorDataset(*tensors(60))
    return DataLoader(data, batch_sampler=BatchSampler(Shuffled(data, generator), 20, False))


class Noisy(TensorDataset):
    """A dataset that draws from a generator of its own."""

    def __init__(self, generator):
        super().__init__(*tensors(30))
        self.generator = generator

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image + torch.rand(image.shape, generator=self.generator), label


def joined(generator):
    return DataLoader(ConcatDataset([Subset(Noisy(generator), range(30)), Noisy(generator)]), 20)


def test_a_stream_without_a_length():
    net = Linear()
    assert len(fit(net, sgd(net), loader=DataLoader(Stream(), 16))) == 2


@pytest.mark.parametrize("make", [shuffled_loader, batches_of_a_sampler, joined])
def test_generators_of_samplers_and_datasets_are_kept(make, tmp_path):
    histories = []
    for cut in (False, True):
        for epochs in (2, 4) if cut else (4,):
            torch.manual_seed(0)
            net, loader = Linear(), make(torch.Generator().manual_seed(5))
            checkpoint = tmp_path / "c.pt" if cut else None
            history = fit(net, sgd(net), epochs, loader=loader, checkpoint=checkpoint, resume=cut)
        histories.append((history.train_loss, history.test_loss))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("make", [shuffled_loader, batches_of_a_sampler])
@pytest.mark.parametrize(
    "generator", [random.Random(1), np.random.default_rng(1), np.random.RandomState(1)]
)
def test_generators_that_no_checkpoint_can_hold_are_refused(make, generator, tmp_path):
    net = Linear()
    with pytest.raises(TypeError, match=r"sampler\.generator as a torch\.Generator"):
        fit(net, sgd(net), loader=make(generator), checkpoint=tmp_path / "c.pt")
    assert len(fit(net, sgd(net), loader=make(generator))) == 2


@pytest.mark.parametrize("in_batches", [False, True])
def test_a_distributed_sampler_is_told_the_epoch(in_batches):
    data = TensorDataset(*tensors(40))
    sampler = DistributedSampler(data, num_replicas=2, rank=0)
    loader = DataLoader(data, 10, sampler=sampler)
    if in_batches:
        loader = DataLoader(data, batch_sampler=BatchSampler(sampler, 10, False))
    net = Linear()
    fit(net, sgd(net), 3, loader=loader)
    assert sampler.epoch == 3


@pytest.mark.parametrize("join", [lambda a, b: a + b, lambda a, b: Subset(a, range(9)), None])
def test_a_part_of_the_sample_stays_marked(join, small_loaders):
    (train, test), net = (loader.dataset for loader in small_loaders()), Linear()
    dataset = ConcatDataset([Subset(train, range(9)), test]) if join is None else join(train, test)
    assert fit(net, sgd(net), loader=DataLoader(dataset, 20)).source == "sample"


# --- A checkpoint that does not fit --------------------------------------------------------------


def run(recipe=None, rates=(0.1, 0.01), **group_settings):
    torch.manual_seed(0)
    random.seed(0)
    net = networks.Net4().eval()
    groups = [
        {"params": net.features.parameters(), "lr": rates[0]},
        {"params": net.classifier.parameters(), "lr": rates[1], **group_settings},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(*tensors(12))
    loader = DataLoader(data, 4, sampler=RandomSampler(data, generator=generator))
    scheduler = recipe(optimizer) if recipe else None
    return net, optimizer, scheduler, ema(net), loader, generator


def fit_run(parts, checkpoint, epochs=2, **settings):
    net, optimizer, scheduler, averaged_model, loader, _ = parts
    settings = {
        "averaged_model": averaged_model,
        "checkpoint": checkpoint,
        "resume": True,
    } | settings
    return fit(net, optimizer, epochs, scheduler, loader, **settings)


@pytest.mark.parametrize(
    ("changed", "epochs", "named"),
    [
        ({"rates": (0.1, 0.02)}, 3, "lr of parameter group 1"),
        ({"weight_decay": 0.1}, 3, "weight_decay of parameter group 1"),
        ({"nesterov": True}, 3, "nesterov of parameter group 1"),
        ({"momentum": 0.5}, 3, "momentum of parameter group 1"),
        ({"recipe": plateau}, 3, "scheduler"),
        ({}, 1, "epochs is 1, the checkpoint has done 2"),
    ],
)
def test_refused_means_untouched(changed, epochs, named, tmp_path):
    fit_run(run(), tmp_path / "c.pt")
    file = (tmp_path / "c.pt").read_bytes()
    parts, history = run(**changed), History()
    state = [*parts[:4], parts[5]]
    before, groups = snapshot(*state), copy.deepcopy(parts[1].param_groups)
    with pytest.raises(ValueError, match=named):
        fit_run(parts, tmp_path / "c.pt", epochs, history=history)
    assert snapshot(*state) == before
    assert str(parts[1].param_groups) == str(groups)
    assert history == History()
    assert (tmp_path / "c.pt").read_bytes() == file


def test_a_schedule_that_the_checkpoint_used_up_is_refused_untouched(tmp_path):
    fit_run(run(one_cycle), tmp_path / "c.pt")  # 6 of 12 steps
    parts = run(one_cycle)
    state = [*parts[:4], parts[5]]
    before = snapshot(*state)
    with pytest.raises(ValueError, match="9 steps to go, got OneCycleLR at step 6 of 12"):
        fit_run(parts, tmp_path / "c.pt", epochs=5)
    assert snapshot(*state) == before


def test_a_state_that_breaks_off_while_loading_is_taken_back(tmp_path):
    fit_run(run(), tmp_path / "c.pt")
    parts = run()
    state = [*parts[:4], parts[5]]

    def broken(state_dict):
        raise RuntimeError("does not fit")

    before, parts[3].load_state_dict = snapshot(*state), broken
    with pytest.raises(RuntimeError, match="does not fit"):
        fit_run(parts, tmp_path / "c.pt", epochs=3)
    assert snapshot(*state) == before


@pytest.mark.parametrize("recipe", [plateau, one_cycle, warm_up_then_one_cycle, chained_cycles])
@pytest.mark.parametrize("stop_at", [8, 10])
def test_the_same_objects_go_on(recipe, stop_at, tmp_path):
    """Broken off in the middle of an epoch, and resumed in the same process."""

    calls = itertools.count(1)

    def stopping(outputs, labels):
        if next(calls) == stop_at:
            raise KeyboardInterrupt
        return F.cross_entropy(outputs, labels)

    parts = run(recipe)
    with pytest.raises(KeyboardInterrupt):
        fit_run(parts, tmp_path / "c.pt", 4, loss_function=stopping)
    resumed = fit_run(parts, tmp_path / "c.pt", 4, loss_function=stopping)
    whole = fit_run(run(recipe), None, 4, resume=False)
    resumed.seconds = whole.seconds
    assert resumed == whole


def test_resume_without_a_checkpoint_file_is_refused():
    net = Linear()
    with pytest.raises(ValueError, match="checkpoint=None"):
        fit(net, sgd(net), resume=True)


# --- Paths ---------------------------------------------------------------------------------------


def test_a_tilde_is_the_home_folder_and_an_empty_path_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    net = Linear()
    history = fit(net, sgd(net), checkpoint="~/c.pt")
    history.save("~/h.json")
    assert {path.name for path in tmp_path.iterdir()} == {"c.pt", "h.json"}
    assert History.load("~/h.json") == history
    assert load_checkpoint("~/c.pt")["history"]["train_loss"] == history.train_loss
    for call in (
        lambda: fit(net, sgd(net), checkpoint=""),
        lambda: history.save(""),
        lambda: History.load(""),
        lambda: load_checkpoint(""),
    ):
        with pytest.raises(ValueError, match="expected a path, got ''"):
            call()
    with pytest.raises(IsADirectoryError, match="expected a file for the checkpoint"):
        fit(net, sgd(net), checkpoint=tmp_path, resume=True)


# --- Dtypes and devices --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_models_of_other_precision(dtype):
    dtype = getattr(torch, dtype)
    net, (images, labels) = networks.Net5().to(dtype), tensors(16)
    loader = [(images.to(dtype), labels)] * 2
    history = utils.fit(net, "cpu", loader, loader, sgd(net), 2, averaged_model=ema(net))
    assert all(torch.tensor(history.train_loss + history.test_loss).isfinite())
    assert net.features[0][0].weight.dtype == dtype
    utils.modelsummary(net)
    assert net.features[0][0].weight.dtype == dtype


@pytest.fixture
def _defaults():
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_defaults")
@pytest.mark.parametrize(
    "setting",
    [
        lambda: torch.set_default_device("meta"),
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.use_deterministic_algorithms(True),
    ],
    ids=["default device", "default dtype", "deterministic"],
)
def test_defaults_of_torch(setting, small_loaders, capsys):
    losses = []
    for change in (lambda: None, setting):
        utils.set_seed(1)
        net = networks.Net5()
        averaged_model = ema(net)
        change()
        loaders = small_loaders()
        if torch.get_default_dtype() == torch.float64:
            net, averaged_model = net.double(), averaged_model.double()
        history = utils.fit(net, "cpu", *loaders, sgd(net), 1, averaged_model=averaged_model)
        losses.append(history.test_loss[0])
        utils.modelsummary(net)
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert "Total params: 7,216" in capsys.readouterr().out


# --- Small things --------------------------------------------------------------------------------


def test_integers_of_numpy_are_integers(small_root):
    n = np.int64(8)
    utils.set_seed(n)
    loaders = utils.data_loader(
        v2.functional.to_image,
        v2.functional.to_image,
        n,
        val_size=np.int32(50),
        root=small_root,
        seed=n,
        test_batch_size=np.uint8(9),
        device="cpu",
        on_device=False,
    )
    assert len(loaders[3]) == 50
    net = networks.Net5(n)
    assert len(utils.fit(net, "cpu", [tensors(8)], [tensors(8)], sgd(net), np.int64(2))) == 2
    with pytest.raises(TypeError, match="got True"):
        utils.set_seed(True)


def test_epoch_lines_fit_in_80_columns():
    full = {"source": "sample", "learning_rate": [1.25e-05], "seconds": [12345.0]}
    for loss, accuracy in ((0.1234, 100.0), (12345.6, 98.76)):
        for sets in (("train", "test"), ("train", "val"), ("train", "val", "test")):
            measured = {f"{name}_loss": [loss] for name in sets}
            measured |= {f"{name}_accuracy": [accuracy] for name in sets}
            for source in ("sample", "full"):
                history = History(**full | measured | {"source": source})
                line = epoch_line(history, 100)
                assert len(line) <= 80, line
                assert line.startswith("Epoch  1/100: train ")
                assert ("(sample)" in line) == (source == "sample")
                assert all(name in line for name in sets)
                assert f"{accuracy:.2f}%" in line


def test_modelsummary_counts_shared_parameters_once(capsys):
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(1, 4, 3)
            self.shared = torch.nn.Conv2d(4, 4, 3)

        def forward(self, images):
            return self.shared(self.shared(self.shared(self.first(images))))

    for net, rows, total in ((networks.Net6(), 14, 1_938), (Twice(), 4, 40 + 148)):
        before = copy.deepcopy(net.state_dict())
        utils.modelsummary(net)
        printed = capsys.readouterr().out
        assert f"Total params: {total:,}\n" in printed
        assert sum(line.strip().startswith("Conv2d") for line in printed.splitlines()) == rows
        assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_imported_loops_are_no_tests(pytester):
    pytester.makepyfile(
        "from utils import test_model, test_model_plateau\n\n\ndef test_mine():\n    pass\n"
    )
    pytester.inline_run().assertoutcome(passed=1)
