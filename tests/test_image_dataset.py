"""Data sets other than MNIST: by their names in torchvision, and pairs of your own."""

import bz2
import contextlib
import functools
import gzip
import hashlib
import http.server
import json
import pickle
import re
import threading
from functools import partial

import numpy as np
import pytest
import seeds
import torch
from conftest import REPOSITORY
from PIL import Image
from test_loops import Linear, sgd
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset
from torchvision import datasets, transforms
from torchvision.transforms import v2

import model as networks
import predict
import train as train_script
import utils
from batched import DeviceLoader
from data import NAMES, find_mnist, load_data, load_mnist
from experiments import prepare, run
from history import History
from mnist_format import MEAN, STD
from recipes import RECIPES, baseline, best, normalised

PLAIN = transforms.ToTensor()
TRAIN, TEST = 60, 30


def some_images(n, classes=10, side=28, seed=0):
    """Return n images, uint8 (n, side, side), and labels that a bright row gives away."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (n, side, side), generator=generator, dtype=torch.uint8)
    labels = torch.arange(n) % classes
    images[torch.arange(n), labels % side] = 250
    return images, labels


def pair(**settings):
    return some_images(TRAIN, **settings), some_images(TEST, seed=1, **settings)


def idx(tensor, kind=8):
    """Return an IDX file's content: uint8, or int32 for kind 12."""
    sizes = b"".join(size.to_bytes(4, "big") for size in tensor.shape)
    return bytes([0, 0, kind, tensor.dim()]) + sizes + tensor.numpy().tobytes()


def libsvm(images, labels):
    """Return the lines of a file such as USPS's: labels from 1, pixels from -1 to 1."""
    rows = images.flatten(1).double() / 255 * 2 - 1
    return "\n".join(
        " ".join([str(label + 1), *(f"{k}:{value + 1e-9:.9f}" for k, value in enumerate(row, 1))])
        for label, row in zip(labels.tolist(), rows.tolist(), strict=True)
    ).encode()


def write(root, name):
    """Write a small set as the files that torchvision reads; return its images and labels."""
    kind, _, split = name.partition("/")
    classes = len(datasets.EMNIST.classes_split_dict[split]) if split else 10
    sets = pair(classes=classes, side=16 if kind == "USPS" else 28)
    if split == "letters":
        sets = [(images, labels.clamp(min=1)) for images, labels in sets]
    raw = root / kind / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, (images, labels) in zip(("train", "test"), sets, strict=True):
        if kind == "USPS":
            (root / f"usps{'.t' * (part == 'test')}.bz2").write_bytes(
                bz2.compress(libsvm(images, labels))
            )
        elif kind == "QMNIST":
            more = torch.zeros(len(labels), 8, dtype=torch.int32)
            more[:, 0] = labels
            big_endian = torch.from_numpy(more.numpy().byteswap())
            (raw / f"qmnist-{part}-images-idx3-ubyte").write_bytes(idx(images))
            (raw / f"qmnist-{part}-labels-idx2-int").write_bytes(idx(big_endian, kind=12))
        else:
            start = {"train": "train", "test": "t10k"}[part]
            start = f"emnist-{split}-{part}" if split else start
            (raw / f"{start}-images-idx3-ubyte").write_bytes(idx(images))
            (raw / f"{start}-labels-idx1-ubyte").write_bytes(idx(labels.to(torch.uint8)))
    return sets


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise OSError("the network is cut off")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


# --- By name -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name != "MNIST"])
def test_data_sets_of_torchvision_by_name(name, tmp_path, no_network, capsys):
    sets = write(tmp_path, name)
    loaders = utils.data_loader(PLAIN, PLAIN, 20, dataset=name, root=tmp_path, device="cpu")
    kind = name.partition("/")[0]
    for (images, labels), loader, dataset in zip(sets, loaders[::2], loaders[1::2], strict=True):
        assert isinstance(loader, DeviceLoader)
        assert dataset.source == name
        if kind == "EMNIST":
            images = images.transpose(1, 2)  # upright
        if name == "EMNIST/letters":
            labels = labels - 1
        if kind != "USPS":
            assert torch.equal(dataset.data, images)
        assert torch.equal(dataset.targets, labels)
        assert dataset.data.shape[1:] == (28, 28)
        assert labels.max() < len(dataset.classes)
        batch, known = next(iter(loader))
        assert (batch.dtype, known.dtype) == (torch.float32, torch.int64)
        assert batch.shape[1:] == (1, 28, 28)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{name}: 60 training and 30 test images of ")
    assert ("16x16, resized to 28x28" in printed) == (name == "USPS")
    assert printed.count("\n") == 1


def test_names_of_classes(tmp_path):
    for name, first in (
        ("FashionMNIST", ["T-shirt/top", "Trouser"]),
        ("KMNIST", ["o", "ki"]),
        ("QMNIST", ["0", "1"]),
        ("USPS", ["0", "1"]),
        ("EMNIST/letters", ["a", "b"]),
        ("EMNIST/balanced", ["0", "1"]),
    ):
        write(tmp_path, name)
        train, test = load_data(PLAIN, PLAIN, name, root=tmp_path)
        assert list(train.classes[:2]) == list(test.classes[:2]) == first
    assert len(load_data(PLAIN, PLAIN, "EMNIST/balanced", root=tmp_path)[0].classes) == 47


@pytest.mark.parametrize("dataset", [None, "MNIST"])
def test_mnist_stays_as_it_is(dataset, small_root, capsys):
    train = utils.data_loader(
        best().train_transforms, normalised(), 64, dataset=dataset, root=small_root
    )[1]
    assert isinstance(train, datasets.MNIST)
    assert (train.source, list(train.classes)) == ("sample", list("0123456789"))
    assert f"Normalize(mean={MEAN}, std={STD})" in str(train.transform)
    assert capsys.readouterr().out == ""


def test_a_set_is_downloaded_once(tmp_path, monkeypatch):
    write(tmp_path / "server", "FashionMNIST")
    raw, resources = tmp_path / "server" / "FashionMNIST" / "raw", []
    for path in sorted(raw.iterdir()):
        content = gzip.compress(path.read_bytes())
        path.with_suffix(".gz").write_bytes(content)
        resources.append((f"{path.name}.gz", hashlib.md5(content).hexdigest()))
    handler = functools.partial(Quiet, directory=str(raw))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [address])
        monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
        first, _ = load_data(PLAIN, PLAIN, "FashionMNIST", root=tmp_path / "new")
        server.shutdown()
    again, _ = load_data(PLAIN, PLAIN, "FashionMNIST", root=tmp_path / "new")
    assert torch.equal(first.data, again.data)
    assert torch.equal(first.data, pair()[0][0])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.parametrize("name", ["FashionMNIST", "QMNIST", "USPS", "EMNIST/digits"])
def test_without_a_network_it_says_so(name, tmp_path, no_network):
    with pytest.raises(OSError, match=rf"{name} can be neither read from {tmp_path}.*cut off"):
        load_data(PLAIN, PLAIN, name, root=tmp_path)


def test_damaged_files_are_refused(tmp_path, no_network):
    write(tmp_path, "KMNIST")
    path = tmp_path / "KMNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(OSError, match=r"KMNIST can be neither read from .* delete files"):
        load_data(PLAIN, PLAIN, "KMNIST", root=tmp_path)


# --- Pairs -------------------------------------------------------------------------------------


class Items(Dataset):
    """Pairs of a PIL image and a label, counted as they are read."""

    def __init__(self, images, labels):
        self.images, self.labels, self.read = images, labels, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.read += 1
        return Image.fromarray(self.images[index].numpy()), self.labels[index].item()


def of_torchvision(images, labels):
    dataset = datasets.FakeData(1)
    dataset.__class__ = datasets.FashionMNIST
    dataset.data, dataset.targets, dataset.target_transform = images, labels, None
    return dataset


FORMS = {
    "tensors": lambda images, labels: (images, labels),
    "lists": lambda images, labels: (images.numpy(), labels.tolist()),
    "a list of pairs": lambda images, labels: list(zip(images, labels.tolist(), strict=True)),
    "arrays": lambda images, labels: (images.numpy(), labels.numpy().astype(np.uint16)),
    "read-only arrays": lambda images, labels: (
        np.frombuffer(images.numpy().tobytes(), np.uint8).reshape(images.shape),
        labels,
    ),
    "TensorDataset": TensorDataset,
    "TensorDataset with a channel": lambda images, labels: TensorDataset(images[:, None], labels),
    "torchvision's": of_torchvision,
    "Subset": lambda images, labels: Subset(
        TensorDataset(images.flip(0), labels.flip(0)), range(len(images) - 1, -1, -1)
    ),
    "PIL images": Items,
    "joined": lambda images, labels: ConcatDataset(
        [Items(images[:9], labels[:9]), Items(images[9:], labels[9:])]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_pairs_of_your_own(form):
    sets = pair()
    loaded = load_data(PLAIN, PLAIN, [FORMS[form](*each) for each in sets])
    for (images, labels), dataset in zip(sets, loaded, strict=True):
        assert torch.equal(dataset.data, images)
        assert torch.equal(dataset.targets, labels)
        assert dataset.classes == list("0123456789") or form == "torchvision's"
        assert dataset.source == ("FashionMNIST" if form == "torchvision's" else "own data")
        image, label = dataset[3]
        assert torch.equal(image, images[3][None] / 255)
        assert label == labels[3]


def test_files_of_arrays(tmp_path):
    sets, names = pair(classes=3), ["ä", "ö", "ü"]
    for name, (images, labels) in zip(("mine-train", "mine-test"), sets, strict=True):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels, classes=names)
    train, test = load_data(
        PLAIN, PLAIN, (tmp_path / "mine-train.npz", str(tmp_path / "mine-test.npz"))
    )
    assert torch.equal(train.data, sets[0][0])
    assert torch.equal(test.targets, sets[1][1])
    assert (train.source, test.source, train.classes) == ("mine", "mine", names)


def test_two_sets_of_different_origin_are_both_named():
    images, labels = some_images(TEST)
    loaded = load_data(PLAIN, PLAIN, (of_torchvision(images, labels), (images, labels)))
    assert [each.source for each in loaded] == ["FashionMNIST, tested on own data"] * 2
    assert History(loaded[0].source).suffix == "-FashionMNIST-tested-on-own-data"


def test_images_in_memory_are_held_once():
    images, labels = some_images(TRAIN)
    train, _ = load_data(PLAIN, PLAIN, ((images, labels), some_images(TEST)))
    assert train.data.data_ptr() == images.data_ptr()


IMAGES, LABELS = some_images(TRAIN)
BAD_SETS = [
    ((IMAGES / 255, LABELS), ValueError, "uint8 (N, H, W), 0 for dark to 255 for light, got float"),
    ((IMAGES.long(), LABELS), ValueError, "got int64 (60, 28, 28)"),
    ((IMAGES[..., None].expand(-1, -1, -1, 3), LABELS), ValueError, "got uint8 (60, 28, 28, 3)"),
    ((IMAGES[0], LABELS), ValueError, "got uint8 (28, 28)"),
    ((IMAGES[:0], LABELS[:0]), ValueError, "got uint8 (0, 28, 28)"),
    ((IMAGES, LABELS[1:]), ValueError, "labels as integers (60,), one for each image, got int64"),
    ((IMAGES, LABELS.float()), ValueError, "got float32 (60,)"),
    ((IMAGES, nn.functional.one_hot(LABELS)), ValueError, "got int64 (60, 10)"),
    ((IMAGES, LABELS - 1), ValueError, "labels from 0, got -1"),
    ((IMAGES * 0, LABELS), ValueError, "images that differ, got one value, 0"),
    ("nowhere.npz", OSError, "nowhere.npz"),
    (3, TypeError, "a dataset of pairs (image, label), got int"),
    (IMAGES, TypeError, "a dataset of pairs (image, label), got Tensor"),
    ([{"image": 1}], TypeError, "a dataset of pairs (image, label), got list"),
    (TensorDataset(IMAGES), TypeError, "a dataset of pairs (image, label), got TensorDataset"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_SETS, ids=[row[2] for row in BAD_SETS])
def test_sets_that_cannot_be_used(bad, error, message):
    with pytest.raises(error, match=re.escape(message)):
        load_data(PLAIN, PLAIN, (bad, some_images(TEST)))


def test_what_is_no_data_set(tmp_path):
    for dataset, error, message in (
        ("Fashion", ValueError, "one of MNIST, FashionMNIST, .*, got 'Fashion'"),
        ("EMNIST", ValueError, "EMNIST/balanced, .*, got 'EMNIST'"),
        (3, TypeError, r"a name or a pair \(train, test\), got 3"),
        ((IMAGES,), TypeError, "a name or a pair"),
        (some_images(TRAIN), TypeError, r"pairs \(image, label\), got Tensor"),
    ):
        with pytest.raises(error, match=message):
            load_data(PLAIN, PLAIN, dataset)
    with pytest.raises(ValueError, match="with MNIST only"):
        load_data(PLAIN, PLAIN, "USPS", source="sample")
    with pytest.raises(ValueError, match="root with a data set's name"):
        load_data(PLAIN, PLAIN, pair(), root=tmp_path)
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "other.npz", pictures=IMAGES)
    for name in ("text", "other"):
        with pytest.raises(ValueError, match=f"arrays images and labels in .*{name}.npz"):
            load_data(PLAIN, PLAIN, [tmp_path / f"{name}.npz"] * 2)


def test_images_of_several_sizes_or_colours_are_named():
    for sizes, mode, message in (((20, 28), "L", "of one size"), ((28, 28), "RGB", "got uint8")):
        items = [(Image.new(mode, (side, side)), k) for k, side in enumerate(sizes)]
        with pytest.raises(ValueError, match=message):
            load_data(PLAIN, PLAIN, (items, items))


def test_classes_of_the_two_sets():
    train, test = some_images(TRAIN, classes=5), some_images(TEST, classes=7)
    assert len(load_data(PLAIN, PLAIN, (train, test))[0].classes) == 7

    def named(images_and_labels, names):
        dataset = TensorDataset(*images_and_labels)
        dataset.classes = names
        return dataset

    loaded = load_data(PLAIN, PLAIN, (named(train, list("abcde")), train))
    assert loaded[1].classes == list("abcde")
    for train_names, test_names, message in (
        ("abcdefg", "gfedcba", "in test, got"),
        ("abcde", "", "labels from 0 to 4, got 6"),
    ):
        with pytest.raises(ValueError, match=message):
            load_data(
                PLAIN, PLAIN, (named(train, list(train_names)), named(test, list(test_names)))
            )


# --- Size and normalisation ----------------------------------------------------------------------


@pytest.mark.parametrize("side", [16, 40])
def test_other_sizes_are_resized_as_torchvision_does(side, capsys):
    sets = pair(side=side)
    train, test = load_data(PLAIN, PLAIN, sets)
    resize = transforms.Resize((28, 28))
    for (images, _), dataset in zip(sets, (train, test), strict=True):
        expected = [np.asarray(resize(Image.fromarray(image.numpy()))) for image in images]
        difference = dataset.data.int() - torch.tensor(np.stack(expected)).int()
        assert difference.abs().max() <= 1
    assert f"{side}x{side}, resized to 28x28" in capsys.readouterr().out
    kept, _ = load_data(PLAIN, PLAIN, sets, resize=False)
    assert kept.data.shape == (TRAIN, side, side)
    assert "resized" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="test images of"):
        load_data(PLAIN, PLAIN, (sets[0], some_images(TEST)), resize=False)


@pytest.mark.parametrize(
    "pipeline",
    [
        normalised(),
        best().test_transforms,
        nn.Sequential(v2.PILToTensor(), v2.ConvertImageDtype(), v2.Normalize([0.1307], [0.3081])),
        v2.Compose([transforms.Compose([PLAIN]), transforms.Normalize(0.1307, 0.3081)]),
    ],
    ids=["normalised", "best", "Sequential", "nested"],
)
def test_images_are_normalised_by_their_own_mean_and_std(pipeline, capsys):
    before = str(pipeline)
    train_loader, train, *_ = utils.data_loader(
        pipeline, pipeline, 64, dataset=pair(), on_device=False
    )
    pixels = torch.cat([images for images, _ in train_loader])
    assert pixels.mean().item() == pytest.approx(0, abs=1e-3)
    assert pixels.std().item() == pytest.approx(1, abs=1e-3)
    assert f"normalised by mean {train.mean:.4f}, std {train.std:.4f}" in capsys.readouterr().out
    assert str(pipeline) == before


def test_a_normalisation_of_your_own_stays(capsys):
    mine = transforms.Compose([PLAIN, transforms.Normalize(0.5, 0.25)])
    train, test = load_data(mine, PLAIN, pair())
    assert (train.transform, test.transform) == (mine, PLAIN)
    printed = capsys.readouterr().out
    assert "normalised" not in printed
    assert f"mean {train.mean:.4f}" in printed


def test_nothing_is_printed_if_not_wanted(capsys):
    utils.data_loader(PLAIN, PLAIN, 8, dataset=pair(), verbose=False)
    prepare(networks.Net5, baseline(), dataset=pair(), verbose=False)
    assert capsys.readouterr().out == ""


# --- What MNIST has, others have -----------------------------------------------------------------


def test_an_ordinary_loader_sees_the_same_images():
    settings = {"dataset": pair(side=20), "seed": 1, "verbose": False, "device": "cpu"}
    ours, theirs = (
        utils.data_loader(normalised(), normalised(), 16, on_device=on_device, **settings)
        for on_device in (True, False)
    )
    assert isinstance(theirs[2], DataLoader)
    for mine, other in zip(ours[2], theirs[2], strict=True):
        assert torch.equal(mine[1], other[1])
        torch.testing.assert_close(mine[0], other[0])


def test_images_held_out():
    settings = {"dataset": pair(classes=3), "val_size": 12, "seed": 1, "verbose": False}
    pipeline = best().train_transforms
    _, train, _, val = utils.data_loader(pipeline, normalised(), 16, **settings)
    assert (len(train), len(val), val.source) == (48, 12, "own data")
    assert val.targets.bincount().tolist() == [4, 4, 4]
    assert "RandomAffine" in str(train.transform)
    assert "RandomAffine" not in str(val.transform)
    assert f"mean=({train.mean},)" in str(val.transform)


@pytest.mark.parametrize("classes", [3, 10, 26])
def test_a_run_learns_another_data_set(classes):
    recipe = RECIPES["quick"]()
    net = partial(networks.Net5, width=4)
    experiment = run(net, recipe, dataset=pair(classes=classes), batch_size=16, device="cpu")
    assert experiment.net.classifier[-1].out_channels == classes
    assert experiment.history.source == "own data"
    outputs, _ = utils.predict(experiment.net, "cpu", experiment.test_loader)
    assert outputs.shape == (TEST, classes)


def test_a_network_with_its_own_number_of_classes():
    for net in (partial(networks.Net5, classes=5), lambda: Linear(5), partial(Linear, 5)):
        experiment = prepare(net, baseline(), dataset=pair(classes=4), device="cpu")
        assert experiment.net(torch.zeros(2, 1, 28, 28)).shape == (2, 5)
    with pytest.raises(ValueError, match="labels from 0 to 2, as the model has 3 outputs"):
        run(partial(networks.Net5, classes=3), baseline(), dataset=pair(classes=4), device="cpu")


def test_prepare_reads_every_image_once():
    sets = [Items(*each) for each in pair()]
    experiment = prepare(networks.Net5, baseline(), dataset=sets, val_size=20, device="cpu")
    assert [dataset.read for dataset in sets] == [TRAIN, TEST]
    loaders = (experiment.train_loader, experiment.val_loader, experiment.test_loader)
    assert [len(loader.dataset) for loader in loaders] == [40, 20, TEST]


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    def experiment(epochs):
        return prepare(
            networks.Net5, baseline(), dataset=pair(classes=3), epochs=epochs, device="cpu"
        )

    whole, part, rest = experiment(3), experiment(1), experiment(3)
    whole.fit()
    part.fit(checkpoint=tmp_path / "c.pt")
    rest.fit(checkpoint=tmp_path / "c.pt", resume=True)
    assert rest.history.test_loss == whole.history.test_loss


def test_a_data_set_goes_to_another_process():
    train, _ = load_data(normalised(), PLAIN, pair(), verbose=False)
    again = pickle.loads(pickle.dumps(train))
    assert torch.equal(again[3][0], train[3][0])


def test_the_exercise_s_own_calls(capsys, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    train_loader, train, test_loader, _ = utils.data_loader(PLAIN, PLAIN, 16, dataset=pair())
    utils.data_statistics(train, train_loader)
    net = Linear()
    utils.train_model(net, "cpu", train_loader, sgd(net), 1)
    utils.test_model_plateau(net, "cpu", test_loader)
    assert "Shape: (60, 28, 28)" in capsys.readouterr().out
    assert History(source=train.source).source == "own data"


# --- Command lines -------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """The option --data for two files of arrays with three classes."""
    for name, (images, labels) in zip(
        ("mine-train", "mine-test"), pair(classes=3, side=20), strict=True
    ):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    return f"--data={tmp_path / 'mine-train.npz'},{tmp_path / 'mine-test.npz'}"


def test_train_takes_another_data_set(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [files, "--net", "net4", "--device", "cpu", "--epochs", "1"]
    assert train_script.main(options) == 0
    printed = capsys.readouterr().out
    assert "mine: 60 training and 30 test images of 20x20, resized to 28x28, 3 classes" in printed
    assert "60 training images (mine)" in printed
    assert "Test accuracy (mine): last epoch" in printed
    folder = tmp_path / "runs" / "net4-best-mine-seed1"
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["source"], settings["classes"]) == ("mine", ["0", "1", "2"])
    assert History.load(folder / "history.json").source == "mine"
    weights = torch.load(folder / "weights.pt", weights_only=True)
    networks.Net4(classes=3).load_state_dict(weights)
    assert train_script.main([*options, "--resume", "--epochs", "2"]) == 2  # one_cycle is another
    assert "total_steps" in capsys.readouterr().err


def test_data_sets_that_the_command_line_refuses(tmp_path, capsys, no_network):
    for options, message in (
        (["--data", "Fashion"], "expected dataset as one of MNIST, FashionMNIST, "),
        (["--data", "a.npz,b.npz"], "a.npz"),
        (["--data", "a.npz,"], "expected a path, got ''"),
        (["--data", "USPS", "--root", str(tmp_path)], "USPS can be neither read from"),
    ):
        with contextlib.suppress(SystemExit):
            assert train_script.main(options) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error


def test_seeds_take_another_data_set(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(seeds, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(seeds, "STATES", tmp_path / "states")
    monkeypatch.setattr(seeds, "train_all", lambda runs, processes: [seeds.train(runs[0], 1)])
    options = ["--net", "net4", "--epochs", "1", "--seeds", "1", "--device", "cpu"]
    seeds.main([files, *options])
    table = json.loads((tmp_path / "results" / "net4-best-mine.json").read_text())
    assert (table["source"], table["training_images"]) == ("mine", 60)
    text = (tmp_path / "results" / "net4-best-mine.md").read_text()
    assert "the test images (mine)" in text
    assert "99.4" not in text.splitlines()[0]
    seeds.main([files, *options])  # read, not trained again
    (tmp_path / "other.npz").write_bytes((tmp_path / "mine-test.npz").read_bytes())
    other = files.replace("mine-test", "other")
    with pytest.raises(SystemExit, match="source is 'mine, tested on other', was 'mine'"):
        seeds.main([other, *options, "--out", "net4-best-mine"])
    for value, message in (("Fashion", "expected dataset as one of"), ("a.npz,b.npz", "a.npz")):
        with pytest.raises(SystemExit, match=message):
            seeds.main(["--data", value, *options])


def test_predict_reads_with_the_statistics_of_a_run(tmp_path, small_root):
    pixels = load_mnist(find_mnist(small_root), False, None).data[:30]
    weights = networks.Net4().state_dict()
    torch.save(weights, tmp_path / "weights.pt")
    about = {"net": "net4", "classes": list("0123456789"), "mean": 0.2, "std": 0.4}
    (tmp_path / "settings.json").write_text(json.dumps(about))
    net = networks.Net4().eval()
    net.load_state_dict(weights)
    expected = net((pixels[:, None] / 255 - 0.2) / 0.4).exp()
    read = predict.read_digits(predict.network(tmp_path), pixels)
    torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-5)
    (tmp_path / "settings.json").write_text(json.dumps(about | {"classes": ["cat", "dog"]}))
    with pytest.raises(ValueError, match=r"the digits 0 to 9 in .*, got cat, dog"):
        predict.network(tmp_path)


def test_the_page_on_data(tmp_path, small_root, monkeypatch, no_network):
    sample = load_mnist(find_mnist(small_root), True, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("data.HERE", tmp_path)
    for name in ("FashionMNIST", "EMNIST/letters", "KMNIST"):
        write(tmp_path / "data", name)
    for name, (images, labels) in zip(("train", "test"), pair(), strict=True):
        np.savez(f"{name}.npz", images=images, labels=labels)
    for k in range(10):
        folder = tmp_path / "digits" / str(sample.targets[k].item())
        folder.mkdir(parents=True, exist_ok=True)
        drawing = Image.fromarray(255 - sample.data[k].numpy()).resize((280, 280))
        drawing.save(folder / f"{k}.png")
    names = {}
    text = (REPOSITORY / "docs" / "data.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        code = code.replace("best(), dataset", "best(), epochs=1, dataset")
        exec(compile(code, "docs/data.md", "exec"), names)
        if "own" in names and "files" not in names:
            assert names["letters"].net.classifier[-1].out_channels == 26
            assert names["own"].history.source == "own data"
    assert len(names["own"].train_loader.dataset) == 8
