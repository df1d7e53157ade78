"""What the tests share: a small data set, small loaders, quick processes, markers that skip."""

import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

# pytest-xdist's controller loads this file before it starts its workers: torch is imported later.
REPOSITORY = Path(__file__).resolve().parent.parent
# The tests' tensors are small, and pytest-xdist uses every core: one thread here, and in processes.
os.environ["OMP_NUM_THREADS"] = "1"
REAL_ROOT = os.environ.get("MNIST_ROOT")


def pytest_collection_modifyitems(items):
    import torch

    for item in items:
        if "cuda" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA GPU"))
        if "real" in item.keywords and not REAL_ROOT:
            item.add_marker(pytest.mark.skip(reason="MNIST_ROOT is not set"))


@pytest.fixture(autouse=True)
def _no_mnist_root(monkeypatch):
    monkeypatch.delenv("MNIST_ROOT", raising=False)


@pytest.fixture
def real_root():
    return Path(REAL_ROOT)


def first_digits(root, train, test):
    """Make a torchvision root with the first digits of the sample: so many for each set."""
    shutil.copytree(REPOSITORY / "data" / "sample", root, dirs_exist_ok=True)
    for path in (root / "MNIST" / "raw").iterdir():
        count = train if path.name.startswith("train") else test
        size = 16 + count * 784 if "images" in path.name else 8 + count
        content = path.read_bytes()[:size]
        path.write_bytes(content[:4] + count.to_bytes(4, "big") + content[8:])
    return root


@pytest.fixture(scope="module")
def small_root(request, tmp_path_factory):
    """A torchvision root with the first digits of the sample: 300 + 150, or a module's DIGITS."""
    train, test = getattr(request.module, "DIGITS", (300, 150))
    return first_digits(tmp_path_factory.mktemp("small"), train, test)


@pytest.fixture
def small_loaders(small_root):
    """Build train and test loaders over the small set: `small_loaders(batch_size=64, ...)`."""
    import utils
    from recipes import normalised

    def build(train_transforms=None, batch_size=64, seed=3, **options):
        train_loader, _, test_loader, _ = utils.data_loader(
            train_transforms or normalised(),
            normalised(),
            batch_size,
            root=small_root,
            seed=seed,
            test_batch_size=options.pop("test_batch_size", 64),
            device="cpu",
            **options,
        )
        return train_loader, test_loader

    return build


@pytest.fixture
def empty_curves(monkeypatch):
    """Have train.py save an empty picture: curves take longer to draw than a short run to train."""
    import plots

    monkeypatch.setattr(plots, "plot_history", lambda *_: plots.new_figure(1, 1))


@pytest.fixture(scope="session")
def processes():
    """A multiprocessing context whose processes start with torch imported and nothing done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torchvision", "utils", "model", "recipes"])
    return context


@pytest.fixture(scope="module")
def context_of():
    """Return the browser context with these options; all tests of a file share it.

    They skip where no browser is installed.
    """
    from browser import open_browser

    try:
        with open_browser() as browser:
            contexts = {}

            def context_of(options):
                key = repr(options)
                if key not in contexts:
                    contexts[key] = browser.new_context(**options)
                    contexts[key].new_page()  # keeps the window open, which is slow to make
                return contexts[key]

            yield context_of
    except (FileNotFoundError, ModuleNotFoundError) as reason:
        pytest.skip(str(reason))


@pytest.fixture
def open_page(context_of):
    """Open the page, `open_page(hash="", **LAPTOP)`; afterwards, nothing may have gone wrong."""
    from paper import LAPTOP, PAGE

    pages, complaints = [], []

    def asked(request):
        if not request.url.startswith(PAGE):
            complaints.append(request.url)

    def opened(hash="", **options):
        page = context_of(options or LAPTOP).new_page()  # with a session storage of its own
        page.set_default_timeout(200_000)  # in ms: on a busy machine, too
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", asked)
        page.goto(PAGE + hash)
        return page

    yield opened
    for page in pages:
        page.close()
    assert not complaints
