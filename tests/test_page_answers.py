"""The page as its sources make it, and what it answers: the same as in Python."""

import base64

import make_demo
import numpy as np
import torch
from paper import EVERY_DIGIT, answer, put, units, written

from mnist_format import MEAN, STD, round_half_up, to_mnist_format

NO_DIGIT = 10


def line(*points):
    return np.array(points, dtype=float)


def ring(x, y, width, height, start=0, end=360):
    """Return an ellipse or a part of it, angles in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 24))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


def shrunk(strokes, left, top, share):
    return [stroke * share + [left, top] for stroke in strokes]


HANDS = {  # digits as they are written where MNIST's writers are not from
    "1 with an upstroke": (1, [line((36, 40), (52, 20), (52, 80))]),
    "1 with a long upstroke": (1, [line((30, 52), (55, 20), (55, 80))]),
    "1 with a foot": (1, [line((38, 34), (52, 20), (52, 80)), line((36, 80), (68, 80))]),
    "1 with a detached foot": (1, [line((50, 20), (50, 70)), line((36, 80), (64, 80))]),
    "0 slashed inside": (0, [ring(50, 50, 20, 30), line((60, 35), (40, 65))]),
    "0 slashed to the ring": (0, [ring(50, 50, 20, 30), line((65, 28), (35, 72))]),
    "0 slashed beyond": (0, [ring(50, 50, 18, 28), line((74, 16), (26, 84))]),
    "0 dotted": (0, [ring(50, 50, 20, 30), line((50, 50))]),
    "7 crossed": (7, [line((25, 22), (75, 22), (45, 80)), line((40, 50), (70, 50))]),
    "7 crossed, with a hook": (
        7,
        [line((26, 32), (28, 22), (74, 22), (48, 80)), line((38, 52), (70, 48))],
    ),
    "4 open": (4, [line((40, 20), (28, 55), (72, 55)), line((60, 35), (60, 82))]),
    "4 closed": (4, [line((60, 82), (60, 18), (25, 60), (75, 60))]),
    "4 of two parts": (4, [line((35, 20), (30, 52), (52, 52)), line((66, 20), (66, 80))]),
    "5 with a loose bar": (
        5,
        [
            line((35, 28), (33, 48), (50, 44), (66, 55), (62, 72), (45, 80), (30, 74)),
            line((42, 16), (70, 16)),
        ],
    ),
    "9 straight": (9, [ring(48, 36, 16, 16), line((64, 36), (62, 80))]),
    "9 hooked": (9, [ring(48, 36, 16, 16), line((64, 36), (63, 65), (52, 80), (36, 76))]),
    "8 of two rings": (8, [ring(50, 34, 13, 14, 90, 450), ring(50, 65, 16, 16, -90, 270)]),
}
NO_DIGITS = {
    "a dot": [line((50, 50))],
    "a bar": [line((30, 50), (70, 50))],
    "a frame": [line((20, 20), (80, 20), (80, 80), (20, 80), (20, 20))],
    "waves": [line(*((20 + 10 * n, 40 + 20 * (n % 2)) for n in range(7)))],
    "a scribble": [np.random.default_rng(3).uniform(20, 80, (14, 2))],
    "E": [line((70, 20), (30, 20), (30, 80), (70, 80)), line((30, 50), (65, 50))],
}
SEVERAL = {
    "1, 7": [line((25, 25), (25, 75)), line((45, 25), (75, 25), (58, 75))],
    "1, 1": [line((30, 25), (30, 75)), line((55, 25), (55, 75))],
    "1, 2": [line((20, 25), (20, 75)), *shrunk(written("round", 2), 35, 20, 0.6)],
    "3, 0": shrunk(written("round", 3), 2, 25, 0.45) + shrunk(written("round", 0), 50, 25, 0.45),
    "7, 7": shrunk(written("round", 7), 2, 25, 0.45) + shrunk(written("round", 7), 50, 25, 0.45),
    "1, 7, 1": [
        line((12, 25), (12, 75)),
        line((32, 25), (62, 25), (45, 75)),
        line((84, 25), (84, 75)),
    ],
}


READ = """(drawings) => drawings.map((strokes) => {
    ink = inkOf(strokes);
    current = compute();
    const bits = new Uint8Array(ink.length / 8);
    ink.forEach((bit, index) => { bits[index >> 3] |= bit << (7 - (index & 7)); });
    const { pixels, shares, several } = current;
    return [base64Url([...bits]), Array.from(pixels), shares, verdict(shares, several)];
})"""


def read(page, drawings):
    """Return what the page makes of drawings: [ink, pixels, shares, what it says] of each.

    ink: uint8 (504, 504), pixels: (28, 28), what it says: [sign, words, second guess].
    """
    rows = []
    for text, pixels, shares, says in page.evaluate(READ, list(map(units, drawings))):
        bits = np.frombuffer(base64.urlsafe_b64decode(text + "=="), dtype=np.uint8)
        ink = np.unpackbits(bits).reshape(504, 504)
        rows.append([ink, np.array(pixels).reshape(28, 28), np.array(shares), says])
    return rows


def test_the_page_is_what_its_sources_make():
    assert make_demo.PAGE.read_text("utf-8") == make_demo.page()
    assert make_demo.PAGE.stat().st_size <= 250_000


def test_digits_of_any_hand(open_page):
    rows = read(open_page(), [strokes for _, strokes in HANDS.values()])
    for (name, (digit, _)), (*_, says) in zip(HANDS.items(), rows, strict=True):
        assert says[0] == str(digit), (name, says)


def test_digits_and_their_parts_are_one(open_page):
    written_digits = [written(hand, digit) for hand, digit in EVERY_DIGIT]
    for *_, says in read(open_page(), written_digits):
        assert says[0].isdigit(), says


def test_no_digit_is_said(open_page):
    page = open_page()
    for name, (*_, says) in zip(NO_DIGITS, read(page, list(NO_DIGITS.values())), strict=True):
        assert says[1] == "no digit", (name, says)
        assert not says[0].isdigit()
    put(page, NO_DIGITS["a dot"])
    first, shares = answer(page)
    assert not first.isdigit()
    assert page.inner_text("#confidence") == "no digit"
    assert page.inner_text("#second").startswith(shares[NO_DIGIT])
    page.wait_for_function("byId('spoken').textContent.includes('no digit')")


def test_more_than_one_is_said(open_page):
    page = open_page()
    for digits, (*_, says) in zip(SEVERAL, read(page, list(SEVERAL.values())), strict=True):
        assert says[1:] == ["more than one digit", f"read one by one: {digits}"]
        assert not says[0].isdigit()
    page.evaluate("show('#net=Net4')")  # whatever network is looked at
    put(page, SEVERAL["1, 7"])
    assert page.inner_text("#confidence") == "more than one digit"
    page.click("#undo")
    assert answer(page)[0] == ""


def test_networks_of_ten_classes_have_ten_bars(open_page):
    page = open_page("#net=Net5&example=1")
    assert len(answer(page)[1]) == 10
    page.click("#nets label:nth-of-type(1)")
    assert len(answer(page)[1]) == 11


def test_page_and_python_round_alike(open_page):
    values = [0.5, 1.5, 2.5, 2.5 - 1e-10, 2.5 - 1e-8, 2.5 + 1e-10, 0, 0.49, 254.5 - 1e-12, 7]
    ours = open_page().evaluate("(values) => values.map((value) => roundHalfUp(value))", values)
    assert ours == round_half_up(values).tolist() == [1, 2, 3, 3, 2, 3, 0, 0, 255, 7]


@torch.no_grad()
def test_page_and_python_agree_on_strokes(open_page):
    """The image, to the grey level, and the probabilities."""
    net = make_demo.trained_nets()["hands"]
    drawings = [strokes for _, strokes in HANDS.values()] + [*NO_DIGITS.values(), *SEVERAL.values()]
    drawings += [written(hand, digit) for hand, digit in EVERY_DIGIT[::3]]
    for ink, pixels, shares, _ in read(open_page(), drawings):
        image = to_mnist_format(ink.astype(float))
        assert np.array_equal(pixels, image)
        inputs = (torch.tensor(image)[None, None].float() / 255 - MEAN[0]) / STD[0]
        expected = net(inputs).exp()[0].numpy()
        np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-4)
