"""The page in a real browser: against torch and predict.py, and by mouse, touch and keyboard."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import predict
import utils
from recipes import MEAN, STD, normalised

REPOSITORY = Path(__file__).resolve().parent.parent
HANDWRITING = json.loads((Path(__file__).parent / "handwriting.json").read_text())
LAPTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def demo():
    return pytest.importorskip("make_demo")


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, or another that is installed; the tests skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("there is no browser: none of " + ", ".join(names))
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, demo):
    """Open the page, `open_page(hash="", **LAPTOP)`; afterwards, nothing may have gone wrong."""
    contexts, complaints = [], []

    def opened(hash="", **options):
        contexts.append(browser.new_context(**(options or LAPTOP)))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(demo.PAGE.as_uri() + hash)
        complaints.remove(demo.PAGE.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture(scope="module")
def sample():
    """The 1,000 test digits of the sample: uint8 (1000, 28, 28)."""
    return utils.load_mnist(utils.find_mnist(source="sample"), train=False, transform=None).data


def normalise(images):
    """Map uint8 (N, 28, 28) to a network's input (N, 1, 28, 28)."""
    return (images[:, None].float() / 255 - MEAN[0]) / STD[0]


def encoded(images):
    return base64.b64encode(images.numpy().tobytes()).decode()


def written(hand, digit):
    """Return a digit's strokes as points (x, y), per cent of the paper, smooth between its knots."""
    strokes = []
    for text in HANDWRITING[hand][digit].split(";"):
        knots = np.array([[float(n) for n in knot.split(",")] for knot in text.split()])
        padded = np.concatenate([knots[:1], knots, knots[-1:]])
        stroke = [knots[0]]
        for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:]):
            for t in (1 / 2, 1):  # Catmull and Rom's cubic
                stroke.append(
                    start
                    + t / 2 * (end - before)
                    + t**2 / 2 * (2 * before - 5 * start + 4 * end - after)
                    + t**3 / 2 * (3 * start - before - 3 * end + after)
                )
        strokes.append(np.array(stroke))
    return strokes


EVERY_DIGIT = [(hand, digit) for hand in HANDWRITING for digit in range(10)]


def draw(page, strokes):
    """Draw strokes with the mouse."""
    box = page.locator("#drawing").bounding_box()
    for stroke in strokes:
        points = np.array([box["x"], box["y"]]) + stroke / 100 * box["width"]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()
    settle(page)


def draw_by_touch(page, strokes):
    """Draw strokes with a finger."""
    session = page.context.new_cdp_session(page)
    box = page.locator("#drawing").bounding_box()

    def touch(kind, points):
        points = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    for stroke in strokes:
        points = np.array([box["x"], box["y"]]) + stroke / 100 * box["width"]
        touch("touchStart", points[:1].tolist())
        for point in points[1:].tolist():
            touch("touchMove", [point])
        touch("touchEnd", [])
    settle(page)


def settle(page):
    """Wait until the frame that is due has been drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")


def answer(page):
    """Return what the page reads, and the probabilities that it shows as bars."""
    settle(page)
    return page.inner_text("#first"), page.locator("#bars output").all_inner_texts()


# --- The file ---------------------------------------------------------------------------------------


def test_the_page_is_what_its_sources_make(demo):
    assert demo.PAGE.read_text("utf-8") == demo.page()
    assert demo.PAGE.stat().st_size <= 250_000




@pytest.mark.real
def test_the_examples_are_test_images_and_some_are_misread(demo, real_root):
    test = utils.load_mnist(utils.find_mnist(real_root), train=False, transform=None)
    examples = json.loads(demo.EXAMPLES.read_text())
    assert len(examples) == 8
    indices = [example["index"] for example in examples]
    assert [example["pixels"] for example in examples] == [encoded(test.data[n]) for n in indices]
    labels = test.targets[indices]
    assert [example["label"] for example in examples] == labels.tolist()
    with torch.no_grad():
        guesses = demo.trained_nets()[0](normalise(test.data[indices])).argmax(dim=1)
    assert 2 <= (guesses != labels).sum() <= 6


# --- The same numbers as torch ---------------------------------------------------------------------


def test_log_probabilities_of_1000_digits(open_page, demo, sample):
    page = open_page()
    for number, net in enumerate(demo.trained_nets()):
        ours = page.evaluate(
            """([number, text]) => {
                const bytes = decodeBytes(text), read = [];
                for (let at = 0; at < bytes.length; at += 784) {
                    const input = inputOf(bytes.subarray(at, at + 784));
                    read.push(logProbabilities(forward(networks[number], input)));
                }
                return read;
            }""",
            [number, encoded(sample)],
        )
        with torch.no_grad():
            theirs = net(normalise(sample))
        assert len(ours) == 1000
        torch.testing.assert_close(torch.tensor(ours), theirs, rtol=0, atol=1e-4)


def test_every_feature_map_of_20_digits(open_page, demo, sample):
    page = open_page()
    for number, net in enumerate(demo.trained_nets()):
        theirs = []
        for module in net.modules():
            silent = (nn.Dropout, nn.Identity, nn.ZeroPad2d)
            if not any(module.children()) and not isinstance(module, silent):
                module.register_forward_hook(lambda *call: theirs.append(call[2].flatten(1)))
        with torch.no_grad():
            net(normalise(sample[:20]))
        for digit in range(20):
            sizes, text = page.evaluate(
                """([number, text]) => {
                    const outputs = forward(networks[number], inputOf(decodeBytes(text)));
                    const bytes = outputs.flatMap(({ values }) => [...new Uint8Array(values.buffer)]);
                    const sizes = outputs.map(({ values }) => values.length);
                    return [sizes, base64Url(bytes)];
                }""",
                [number, encoded(sample[digit])],
            )
            values = torch.frombuffer(
                bytearray(base64.urlsafe_b64decode(text + "==")), dtype=torch.float32
            )
            for ours, layer in zip(values.split(sizes), theirs, strict=True):
                torch.testing.assert_close(ours, layer[digit], rtol=1e-4, atol=1e-4)


def test_what_a_pixel_sees(open_page, demo):
    """NaN in one pixel of the image reaches all outputs that depend on it, and no other."""
    page = open_page()
    images = torch.zeros(784, 1, 28, 28)
    images.view(784, 784).fill_diagonal_(torch.nan)
    for number, net in enumerate(demo.trained_nets()):
        outputs = []
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
                module.register_forward_hook(lambda *call: outputs.append(call[2][:, 0].isnan()))
        with torch.no_grad():
            net(images)
        for column, output in enumerate(outputs):
            size = output.shape[-1]
            for y, x in {(0, 0), (size // 2, size // 3), (size - 1, size - 1)}:
                rows, columns = output[:, y, x].view(28, 28).nonzero().unbind(dim=1)
                corners = page.evaluate(
                    """([number, place]) => {
                        const input = inputOf(new Uint8Array(784));
                        const outputs = forward(networks[number], input);
                        return cornersOf(probe(networks[number], outputs, input, place).sees);
                    }""",
                    [number, {"column": column, "channel": 0, "y": y, "x": x}],
                )
                expected = [columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]
                assert (corners[0], corners[2]) == tuple([int(n) for n in at] for at in expected)


# --- The same image as predict.py --------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_28x28_image_of_drawn_strokes(open_page, scheme):
    page = open_page(**LAPTOP, color_scheme=scheme)
    drawings = [written(hand, digit) for hand, digit in EVERY_DIGIT]
    generator = np.random.default_rng(1)
    for hand, digit in EVERY_DIGIT[:20]:  # squeezed, slanted and moved
        form = np.diag(generator.uniform(0.5, 1.1, 2)) + np.diag(generator.uniform(-0.2, 0.2, 1), 1)
        place = generator.uniform(45, 55, 2)
        drawings.append([(stroke - 50) @ form + place for stroke in written(hand, digit)])
    differences = []
    for strokes in drawings:
        units = [np.rint(stroke * 2.52).clip(0, 252).astype(int).tolist() for stroke in strokes]
        seen, url = page.evaluate(
            """(strokes) => {
                drawing.strokes = strokes;
                redraw();
                frame();
                return [Array.from(current.pixels), byId("drawing").toDataURL()];
            }""",
            units,
        )
        image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
        expected = predict.to_mnist(image).int()
        differences.append((torch.tensor(seen).view(28, 28) - expected).abs().max().item())
    assert max(differences) <= 4, differences


# --- By hand -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drawn", "options"), [(draw, LAPTOP), (draw_by_touch, PHONE)], ids=["mouse", "touch"]
)
def test_30_drawn_digits(open_page, drawn, options):
    page = open_page(**options)
    read = []
    for hand, digit in EVERY_DIGIT:
        page.evaluate("byId('clear').click()")
        drawn(page, written(hand, digit))
        read.append((hand, digit, answer(page)[0]))
    wrong = [(hand, digit, first) for hand, digit, first in read if first != str(digit)]
    assert len(wrong) <= 2, wrong
