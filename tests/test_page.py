"""The page in a real browser: against torch and predict.py, and by mouse, touch and keyboard."""

import base64
import io
import json
import re
from functools import partial

import make_demo
import numpy as np
import pytest
import torch
from browser import settle
from paper import EVERY_DIGIT, LAPTOP, PHONE, answer, draw, draw_by_touch, put, units, written
from PIL import Image
from torch import nn

from data import find_mnist, load_mnist
from layers import trace
from mnist_format import MEAN, STD, to_mnist_format

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def sample():
    """The 1,000 test digits of the sample: uint8 (1000, 28, 28)."""
    return load_mnist(find_mnist(source="sample"), train=False, transform=None).data


def normalise(images):
    """Map uint8 (N, 28, 28) to a network's input (N, 1, 28, 28)."""
    return (images[:, None].float() / 255 - MEAN[0]) / STD[0]


def encoded(images):
    return base64.b64encode(images.numpy().tobytes()).decode()


# --- The examples --------------------------------------------------------------------------------


@pytest.mark.real
def test_the_examples_are_test_images_and_some_are_misread(real_root):
    test = load_mnist(find_mnist(real_root), train=False, transform=None)
    examples = json.loads(make_demo.EXAMPLES.read_text())
    assert len(examples) == 8
    indices = [example["index"] for example in examples]
    assert [example["pixels"] for example in examples] == [encoded(test.data[n]) for n in indices]
    labels = test.targets[indices]
    assert [example["label"] for example in examples] == labels.tolist()
    with torch.no_grad():
        guesses = make_demo.trained_nets()["hands"](normalise(test.data[indices])).argmax(dim=1)
    assert 2 <= (guesses != labels).sum() <= 6


# --- The same numbers as torch -------------------------------------------------------------------


def test_log_probabilities_of_200_digits(open_page, sample):
    page = open_page()
    for number, net in enumerate(make_demo.trained_nets().values()):
        ours = page.evaluate(
            """([number, text]) => {
                const bytes = decodeBytes(text), read = [];
                for (let at = 0; at < bytes.length; at += 784) {
                    const input = inputOf(bytes.subarray(at, at + 784));
                    read.push(logProbabilities(forward(networks[number], input)));
                }
                return read;
            }""",
            [number, encoded(sample[:200])],
        )
        with torch.no_grad():
            theirs = net(normalise(sample[:200]))
        assert len(ours) == 200
        torch.testing.assert_close(torch.tensor(ours), theirs, rtol=0, atol=1e-4)


def keep(outputs, module, inputs, output):
    """Keep a module's output: a forward hook."""
    outputs.append(output)


def test_every_feature_map_of_5_digits(open_page, sample):
    page = open_page()
    for number, net in enumerate(make_demo.trained_nets().values()):
        theirs = []
        for module in net.modules():
            silent = (nn.Dropout, nn.Identity, nn.ZeroPad2d)
            if not any(module.children()) and not isinstance(module, silent):
                module.register_forward_hook(partial(keep, theirs))
        with torch.no_grad():
            net(normalise(sample[:5]))
        for digit in range(5):
            sizes, text = page.evaluate(
                """([number, text]) => {
                    const outputs = forward(networks[number], inputOf(decodeBytes(text)));
                    const buffers = outputs.map(({ values }) => new Uint8Array(values.buffer));
                    const sizes = outputs.map(({ values }) => values.length);
                    return [sizes, base64Url(buffers.flatMap((bytes) => [...bytes]))];
                }""",
                [number, encoded(sample[digit])],
            )
            values = torch.frombuffer(
                bytearray(base64.urlsafe_b64decode(text + "==")), dtype=torch.float32
            )
            for ours, layer in zip(values.split(sizes), theirs, strict=True):
                torch.testing.assert_close(ours, layer[digit].flatten(), rtol=1e-4, atol=1e-4)


def test_what_a_pixel_sees(open_page):
    """NaN in one pixel of the image reaches all outputs that depend on it, and no other."""
    page = open_page()
    images = torch.zeros(784, 1, 28, 28)
    images.view(784, 784).fill_diagonal_(torch.nan)
    for number, net in enumerate(make_demo.trained_nets().values()):
        outputs = []
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)):
                module.register_forward_hook(partial(keep, outputs))
        with torch.no_grad():
            net(images)
        for column, output in enumerate(outputs):
            size = output.shape[-1]
            for y, x in {(0, 0), (size // 2, size // 3), (size - 1, size - 1)}:
                reached = output[:, 0, y, x].isnan().view(28, 28)
                rows, columns = reached.nonzero().unbind(dim=1)
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


# --- The same image as predict.py ----------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])  # 13 drawings each
def test_the_28x28_image_of_drawn_strokes(open_page, scheme):
    page = open_page(**LAPTOP, color_scheme=scheme)
    drawings = [written(hand, digit) for hand, digit in EVERY_DIGIT]
    generator = np.random.default_rng(1)
    for hand, digit in EVERY_DIGIT[:20]:  # squeezed, slanted and moved
        form = np.diag(generator.uniform(0.5, 1.1, 2)) + np.diag(generator.uniform(-0.2, 0.2, 1), 1)
        place = generator.uniform(45, 55, 2)
        drawings.append([(stroke - 50) @ form + place for stroke in written(hand, digit)])
    drawings = drawings[scheme == "dark" :: 4]
    differences = []
    for strokes in drawings:
        put(page, strokes)
        seen, url = page.evaluate("[Array.from(current.pixels), byId('drawing').toDataURL()]")
        image = Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))
        shades = np.asarray(image.convert("L"), dtype=float)
        ink = np.abs(shades - shades[0, 0])
        expected = torch.from_numpy(to_mnist_format(ink / ink.max())).int()
        differences.append((torch.tensor(seen).view(28, 28) - expected).abs().max().item())
    assert max(differences) <= 4, differences


# --- By hand -------------------------------------------------------------------------------------


def test_30_written_digits(open_page):
    page = open_page()
    read = []
    for hand, digit in EVERY_DIGIT:
        put(page, written(hand, digit))
        read.append((hand, digit, answer(page)[0]))
    wrong = [(hand, digit, first) for hand, digit, first in read if first != str(digit)]
    assert len(wrong) <= 2, wrong


@pytest.mark.parametrize(
    ("drawn", "options"), [(draw, LAPTOP), (draw_by_touch, PHONE)], ids=["mouse", "touch"]
)
def test_what_the_hand_draws_is_what_is_read(open_page, drawn, options):
    page = open_page(**options)
    drawn(page, written("round", 5))
    assert answer(page)[0] == "5"
    strokes = page.evaluate("drawing.strokes")
    assert len(strokes) == len(written("round", 5))
    for ours, theirs in zip(strokes, units(written("round", 5)), strict=True):
        distance = np.abs(np.array(ours)[:, None] - np.array(theirs)).max(axis=2)
        assert distance.min(axis=0).max() <= 2  # every point was passed
        assert distance.min(axis=1).max() <= 30  # and nothing far from them


def test_an_empty_paper_has_no_answer(open_page):
    page = open_page()
    assert page.inner_text("#prompt") == "draw a digit"
    assert answer(page) == ("", [""] * 11)
    put(page, written("round", 3))
    assert not page.is_visible("#prompt")
    first, shares = answer(page)
    assert first == "3"
    shown = [float(re.search(r"[\d.]+", share).group()) for share in shares]
    assert sum(shown) == pytest.approx(100, abs=1.1)
    page.click("#clear")
    assert answer(page) == ("", [""] * 11)
    assert page.is_visible("#prompt")


def test_undo_goes_back_a_stroke_at_a_time(open_page):
    page = open_page()
    seven = written("slanted", 7)
    draw(page, seven[:1])
    without_bar = page.evaluate("byId('drawing').toDataURL()"), answer(page)
    draw(page, seven[1:])
    with_bar = page.evaluate("byId('drawing').toDataURL()")
    assert with_bar != without_bar[0]
    page.click("#clear")
    page.click("#undo")
    settle(page)
    assert page.evaluate("byId('drawing').toDataURL()") == with_bar
    page.keyboard.press("Control+z")
    settle(page)
    assert (page.evaluate("byId('drawing').toDataURL()"), answer(page)) == without_bar
    page.click("#undo")
    assert answer(page) == ("", [""] * 11)
    assert page.is_disabled("#undo")


def test_a_link_carries_everything(open_page):
    page = open_page()
    page.click("#examples button:nth-child(3)")
    draw(page, [np.array([[10, 10], [20, 15], [90, 80]]), np.array([[50, 20], [50, 80]])])
    page.click("#nets label:nth-of-type(2)")
    page.locator("#right").fill("-3")
    page.locator("#degrees").fill("12")
    page.locator(".map").nth(9).focus()
    page.keyboard.press("Space")
    page.click("#share")
    settle(page)
    hash = page.evaluate("location.hash")
    again = open_page(hash)
    state = """(() => {
        const { example, strokes, choices, off } = drawing;
        return [example, strokes, choices, [...off], current.shares];
    })()"""
    settle(again)
    assert again.evaluate(state) == page.evaluate(state)
    assert answer(again) == answer(page)
    assert len(page.evaluate("drawing.strokes")) == 2


DAMAGED = """
    strokes=%%% strokes=AAU strokes=__________ strokes picture=%%% picture=____ picture=gICAgAE
    example= example=%20 example=0x1 example=1e0 example=99 example=-1 example=1.5
    example=constructor net=Net9&right=1e9&degrees=NaN&down= off=99.99_0.0_x &&==
"""


def test_what_makes_no_sense_in_a_link_is_left_out(open_page):
    page = open_page("#example=")
    for hash in ("#example=", *("#" + hash for hash in DAMAGED.split())):
        state = page.evaluate(
            """(hash) => {
                show(hash);
                frame();
                const { example, picture, choices, off } = drawing;
                return [example, picture, choices, off.size];
            }""",
            hash,
        )
        choices = {"net": 0, "right": 0, "down": 0, "degrees": 0}
        assert state == [None, None, choices, 0], hash
    put(page, written("round", 0))
    assert answer(page)[0] == "0"


def test_a_channel_that_is_switched_off(open_page):
    page = open_page()
    put(page, written("round", 2))
    before = answer(page)
    first = page.locator(".map[data-column='1']")
    page.click("#clicks label:nth-of-type(2)")
    for channel in (0, 5, 7):
        first.nth(channel).click()
    settle(page)
    net = make_demo.trained_nets()["hands"]

    def without(module, inputs, output):
        output[:, [0, 5, 7]] = 0

    net.features[1].register_forward_hook(without)
    pixels = torch.tensor(page.evaluate("Array.from(current.pixels)"), dtype=torch.uint8)
    with torch.no_grad():
        expected = net(normalise(pixels.view(1, 28, 28))).exp()[0]
    shares = torch.tensor(page.evaluate("current.shares"))
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-4)
    assert page.inner_text("#remark") == f"with every channel: {before[0]}, {before[1][2]}"
    assert page.evaluate("current.outputs[5].values.slice(0, 784).every((value) => value === 0)")
    page.click("#all-on")
    assert answer(page) == before


def test_sliders_move_the_digit(open_page):
    page = open_page()
    page.click("#examples button:nth-child(2)")
    settle(page)
    seen = "Array.from(current.pixels)"
    original = torch.tensor(page.evaluate(seen)).view(28, 28)
    page.locator("#right").fill("3")
    page.locator("#down").fill("-2")
    settle(page)
    shifted = torch.tensor(page.evaluate(seen)).view(28, 28)
    assert torch.equal(shifted[:-2, 3:], original[2:, :-3])
    assert not shifted[-2:].any() and not shifted[:, :3].any()
    page.locator("#right").fill("0")
    page.locator("#down").fill("0")
    page.locator("#degrees").fill("20")
    settle(page)
    turned = page.evaluate(seen)
    image = Image.fromarray(original.byte().numpy())
    expected = image.rotate(-20, Image.Resampling.BILINEAR)  # PIL's angles are counterclockwise
    difference = np.abs(np.array(turned).reshape(28, 28) - np.asarray(expected, dtype=int))
    assert difference.max() <= 4
    page.keyboard.press("Home")
    page.locator("#degrees").fill("0")
    settle(page)
    assert page.evaluate(seen) == original.flatten().tolist()


def test_the_networks_and_their_curves(open_page):
    page = open_page()
    page.click("#examples button:nth-child(4)")
    page.wait_for_selector("#shifts polyline", state="attached")
    label = page.evaluate("examples[3].label")
    assert f"of {label} " in page.inner_text("#shifts-caption")
    pixels = torch.tensor(page.evaluate("Array.from(examples[3].pixels)"), dtype=torch.uint8)
    padded = torch.zeros(28, 36, dtype=torch.uint8)
    padded[:, 4:-4] = pixels.view(28, 28)
    shifted = torch.stack([padded[:, 4 - shift : 32 - shift] for shift in range(-4, 5)])
    for number, net in enumerate(make_demo.trained_nets().values()):
        with torch.no_grad():
            expected = net(normalise(shifted)).exp()[:, label]
        points = page.get_attribute(f"#shifts polyline.net{number}", "points").split()
        shares = [(92 - float(point.split(",")[1])) / 80 for point in points]
        torch.testing.assert_close(torch.tensor(shares), expected, rtol=0, atol=2e-3)
        page.click(f"#nets label:nth-of-type({number + 1})")
        settle(page)
        with torch.no_grad():
            expected = net(normalise(pixels.view(1, 28, 28))).exp()[0]
        shares = torch.tensor(page.evaluate("current.shares"))
        torch.testing.assert_close(shares, expected, rtol=0, atol=1e-4)
        assert page.inner_text("#count") == f"{sum(p.numel() for p in net.parameters()):,}"


def test_the_columns_are_the_tracer_s(open_page):
    page = open_page()
    for number, net in enumerate(make_demo.trained_nets().values()):
        page.click(f"#nets label:nth-of-type({number + 1})")
        heads = page.locator(".head").evaluate_all("(heads) => heads.map((head) => head.innerText)")
        shown = [re.search(r"(\d+)\W(\d+)\W(\d+)\s+RF (\d+)", head).groups() for head in heads]
        traced = {}
        for layer in trace(net):  # the last layer of a row
            row = tuple(layer.name.split(".")[:2])
            traced[row] = (*layer.output_size, layer.receptive_field)
        assert shown == [tuple(map(str, row)) for row in traced.values()]
        assert page.locator(".map").count() == sum(row[2] for row in traced.values())


def test_pointing_at_a_map_marks_what_it_sees(open_page):
    page = open_page()
    put(page, written("round", 5))
    page.locator(".map[data-column='5'][data-channel='3']").hover()
    assert page.locator("#kernels .kernel").count() == 6  # the channels of the layer before
    assert page.locator(".map.source").count() == 6
    weight = make_demo.trained_nets()["hands"].features[5][0].weight[3, 0].detach().flatten()
    colours = (
        page.locator("#kernels .kernel")
        .first.locator("i")
        .evaluate_all("(cells) => cells.map((cell) => getComputedStyle(cell).backgroundColor)")
    )
    for colour, value in zip(colours, weight, strict=True):
        red, _, blue = map(int, re.findall(r"\d+", colour))
        assert (blue >= red) if value > 0 else (red >= blue)
    xs, ys = zip(*field_of(page, "#seen-field"), strict=True)
    assert (max(xs) - min(xs), max(ys) - min(ys)) == (12, 12)
    assert len(field_of(page, "#field")) == 4
    page.mouse.move(0, 0)
    assert not field_of(page, "#field")


def field_of(page, name):
    """Return the corners of a marked receptive field."""
    points = page.get_attribute(name, "points").split()
    return [tuple(float(n) for n in point.split(",")) for point in points]


def test_inside_a_map(open_page):
    page = open_page()
    page.click("#examples button:nth-child(1)")
    page.locator(".map[data-column='6'][data-channel='2']").click(position={"x": 5, "y": 5})
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    y, x = page.evaluate("[pointed.y, pointed.x]")
    features = make_demo.trained_nets()["hands"].features
    with torch.no_grad():
        images = torch.tensor(page.evaluate("Array.from(current.pixels)"), dtype=torch.uint8)
        inputs = features[:6](normalise(images.view(1, 28, 28)))
        values = [inputs]
        for layer in features[6]:
            values.append(layer(values[-1]))
    window, kernel = inputs[0, :, y : y + 3, x : x + 3], features[6][0].weight[2]
    results = [number(text) for text in texts(page, "#steps output")]
    torch.testing.assert_close(
        torch.tensor(results), torch.stack([v[0, 2, y, x] for v in values[1:]]), rtol=0, atol=6e-4
    )
    sums = [number(text) for text in texts(page, ".part output")]
    expected = (window * kernel).sum(dim=(1, 2))
    torch.testing.assert_close(torch.tensor(sums), expected, rtol=0, atol=6e-4)
    shown = [number(text) for text in texts(page, ".numbers span")]
    numbers = torch.stack([window.flatten(1), kernel.flatten(1)], dim=1).flatten()
    torch.testing.assert_close(torch.tensor(shown), numbers, rtol=0, atol=6e-3)
    page.click("#slide")
    page.wait_for_function(f"pointed.x !== {x} || pointed.y !== {y}")
    page.click("#channel-on")
    settle(page)
    assert page.locator(".map.off").count() == 1
    page.keyboard.press("Escape")
    assert not page.is_visible("#inside")


def number(text):
    """Return the number that the page shows, with or without an equals sign."""
    return float(text.lstrip("= ").replace("\N{MINUS SIGN}", "-"))


def texts(page, selector):
    return page.locator(selector).all_inner_texts()
