"""The page under every order of events: pointers, keyboard, links and history, images, reloads."""

import base64
import io
from pathlib import Path

import make_demo
import numpy as np
import pytest
from browser import settle
from paper import LAPTOP, PAGE, answer, draw, put, written
from PIL import Image, ImageChops, ImageDraw

pytestmark = pytest.mark.long
ANY_ORDER = Path(__file__).parent / "any_order.js"

FIRE = """(events) => {
    const paper = byId("drawing"), box = paper.getBoundingClientRect();
    for (const [type, pointerId, pointerType, x, y, buttons = 1, isPrimary = true] of events) {
        const event = { bubbles: true, cancelable: true, buttons, isPrimary };
        const [clientX, clientY] = [box.left + x * box.width, box.top + y * box.height];
        const who = { pointerId, pointerType, clientX, clientY };
        paper.dispatchEvent(new PointerEvent(type, { ...event, ...who }));
    }
    return drawing.strokes.map((stroke) => stroke.map((point) => point.map((n) => n / UNITS)));
}"""


def fire(page, *events):
    """Dispatch pointer events (type, id, kind, x, y, buttons=1, primary=True) on the paper.

    Places and the strokes that are returned are in shares of the paper.
    """
    return [np.round(stroke, 2).tolist() for stroke in page.evaluate(FIRE, events)]


# --- A stroke that something else breaks ---------------------------------------------------------

INTERRUPTIONS = {
    "undo": "byId('undo').disabled = false; byId('undo').click()",
    "clear": "byId('clear').disabled = false; byId('clear').click()",
    "example": "document.querySelector('#examples button').click()",
    "link": "location.hash = 'net=Net4'",
    "resize": "dispatchEvent(new Event('resize'))",
    "blur": "dispatchEvent(new Event('blur'))",
    "image": "change(() => start({ picture: new Uint8Array(UNITS * UNITS).fill(1, 9999, 12345) }))",
    "map": "frame(); document.querySelector('.map').click()",
}


@pytest.mark.parametrize("by", ["mouse", "touch", "pen", "keyboard"])
def test_nothing_is_drawn_after_an_interruption(open_page, by):
    page = open_page()
    for name, script in INTERRUPTIONS.items():
        page.evaluate("show(''); frame(); byId('drawing').focus()")
        fire(page, ("pointerdown", 1, "mouse", 0.8, 0.8), ("pointerup", 1, "mouse", 0.8, 0.8))
        if by == "keyboard":
            page.keyboard.press("Space")
            page.keyboard.press("ArrowRight")
            assert page.evaluate("drawing.strokes.length") == 2, name
        else:
            drawn = fire(page, ("pointerdown", 3, by, 0.2, 0.2), ("pointermove", 3, by, 0.3, 0.2))
            assert drawn == [[[0.8, 0.8]], [[0.2, 0.2], [0.3, 0.2]]], name
        page.evaluate(script)
        settle(page)
        strokes = page.evaluate("drawing.strokes")
        if by == "keyboard" and name != "map":  # there, the dialog has the keys
            page.keyboard.press("ArrowUp")
        elif by != "keyboard":
            fire(page, ("pointermove", 3, by, 0.3, 0.5), ("pointerup", 3, by, 0.3, 0.5))
        assert page.evaluate("drawing.strokes") == strokes, name


def test_ctrl_z_takes_the_stroke_that_is_drawn(open_page):
    page = open_page()
    draw(page, [np.array([[20.0, 20], [20, 80]])])
    before = page.evaluate("drawing.strokes")
    box = page.locator("#drawing").bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 100)
    page.keyboard.press("Control+z")
    page.mouse.move(box["x"] + 150, box["y"] + 150)
    page.mouse.up()
    assert page.evaluate("drawing.strokes") == before


# --- Several pointers ----------------------------------------------------------------------------


def test_a_stylus_wins_over_touch(open_page):
    page = open_page()
    palm, pen = (5, "touch"), (7, "pen")
    strokes = fire(
        page,
        ("pointerdown", *palm, 0.9, 0.9),
        ("pointermove", *palm, 0.9, 0.8),
        ("pointerdown", *pen, 0.5, 0.2),
        ("pointermove", *palm, 0.9, 0.7),
        ("pointercancel", *palm, 0.9, 0.9),
        ("pointermove", *pen, 0.5, 0.5),
        ("pointerdown", *palm, 0.8, 0.9),  # and the palm once more
        ("pointermove", *palm, 0.7, 0.9),
        ("pointerup", *palm, 0.7, 0.9),
        ("pointermove", *pen, 0.5, 0.8),
        ("pointerup", *pen, 0.5, 0.8),
    )
    assert strokes == [[[0.5, 0.2], [0.5, 0.5], [0.5, 0.8]]]
    assert page.evaluate("drawing.past.length") == 1


@pytest.mark.parametrize("kind", ["touch", "pen", "mouse"])
def test_what_is_cancelled_leaves_nothing(open_page, kind):
    page = open_page()
    finger = (5, kind)
    assert fire(page, ("pointerdown", *finger, 0.2, 0.2), ("pointermove", *finger, 0.3, 0.2))
    assert fire(page, ("pointercancel", *finger, 0, 0)) == []
    assert fire(page, ("pointermove", *finger, 0.5, 0.5)) == []
    assert answer(page)[0] == ""
    assert page.is_disabled("#undo")
    again = fire(page, ("pointerdown", *finger, 0.4, 0.4), ("pointerup", *finger, 0.4, 0.4))
    assert again == [[[0.4, 0.4]]]


@pytest.mark.parametrize("kind", ["mouse", "pen"])
def test_movement_without_a_button_draws_nothing(open_page, kind):
    page = open_page()
    for lost in ("", "contextmenu", "lostpointercapture"):
        page.evaluate("show('')")
        strokes = fire(page, ("pointerdown", 1, kind, 0.2, 0.2), ("pointermove", 1, kind, 0.2, 0.5))
        events = [("pointermove", 1, kind, 0.9, 0.9, 0), ("pointermove", 1, kind, 0.9, 0.1, 2)]
        if lost:
            events = [(lost, 1, kind, 0.2, 0.5), ("pointermove", 1, kind, 0.8, 0.8), *events]
        assert fire(page, *events) == strokes == [[[0.2, 0.2], [0.2, 0.5]]]
        assert page.evaluate("drawing.past.length") == 1


def test_a_press_that_opens_a_menu_is_no_stroke(open_page):
    page = open_page()
    assert (
        fire(page, ("pointerdown", 1, "mouse", 0.2, 0.2), ("contextmenu", 1, "mouse", 0, 0)) == []
    )
    held = ("pointerdown", 5, "touch", 0.2, 0.2), ("contextmenu", 5, "touch", 0, 0)
    assert len(fire(page, *held, ("pointermove", 5, "touch", 0.3, 0.2))[0]) == 2


def test_a_second_finger_draws_nothing_and_a_lost_one_is_no_obstacle(open_page):
    page = open_page()
    second = (6, "touch", 0.8, 0.8, 1, False)
    strokes = fire(
        page,
        ("pointerdown", 5, "touch", 0.2, 0.2),
        ("pointerdown", *second),
        ("pointermove", *second),
        ("pointerup", *second),
        ("pointermove", 5, "touch", 0.2, 0.5),
        # no pointerup
        ("pointerdown", 8, "touch", 0.5, 0.2),
        ("pointermove", 5, "touch", 0.9, 0.9),
        ("pointermove", 8, "touch", 0.5, 0.5),
    )
    assert strokes == [[[0.2, 0.2], [0.2, 0.5]], [[0.5, 0.2], [0.5, 0.5]]]


def test_a_pointer_takes_over_from_the_keyboard(open_page):
    page = open_page()
    page.focus("#drawing")
    page.keyboard.press("Space")
    strokes = fire(page, ("pointerdown", 1, "mouse", 0.2, 0.2))
    page.keyboard.press("Space")  # while the mouse draws
    page.keyboard.press("ArrowDown")
    assert fire(page, ("pointermove", 1, "mouse", 0.3, 0.2)) == [
        strokes[0],
        [[0.2, 0.2], [0.3, 0.2]],
    ]


# --- The keyboard's pen --------------------------------------------------------------------------


def test_a_screen_reader_hears_the_keyboard_s_pen(open_page):
    page = open_page()
    page.focus("#drawing")
    heard = page.locator("[role=status]", has_text="Pen")
    assert heard.inner_text() == "Pen up, 50 % from the left, 50 % from the top"
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    assert heard.inner_text() == "Pen down, 52 % from the left, 50 % from the top"
    page.keyboard.press("Control+z")
    assert heard.inner_text() == "Pen up, 52 % from the left, 50 % from the top"


def test_a_key_that_is_held_toggles_once_and_browser_keys_are_the_browser_s(open_page):
    page = open_page()
    page.focus("#drawing")
    page.keyboard.down("Space")
    page.keyboard.down("Space")  # repeats
    page.keyboard.up("Space")
    page.keyboard.press("ArrowDown")
    strokes = page.evaluate("drawing.strokes")
    assert len(strokes[0]) == 2
    taken = page.evaluate(
        """["altKey", "ctrlKey", "metaKey"].map((held) => {
            const key = { key: "ArrowLeft", [held]: true, bubbles: true, cancelable: true };
            return !byId("drawing").dispatchEvent(new KeyboardEvent("keydown", key));
        })"""
    )
    assert taken == [False] * 3
    assert page.evaluate("drawing.strokes") == strokes


@pytest.mark.parametrize(
    ("event", "undone"),
    [
        ({"key": "z", "code": "KeyZ", "ctrlKey": True}, True),
        ({"key": "z", "code": "KeyZ", "metaKey": True}, True),
        ({"key": "Z", "code": "KeyZ", "ctrlKey": True}, True),  # Caps Lock
        ({"key": "\N{CYRILLIC SMALL LETTER YA}", "code": "KeyZ", "ctrlKey": True}, True),
        ({"key": "\N{CYRILLIC CAPITAL LETTER YA}", "code": "KeyZ", "ctrlKey": True}, True),
        ({"key": "\N{GREEK SMALL LETTER ZETA}", "code": "KeyZ", "metaKey": True}, True),
        ({"key": "z", "code": "KeyY", "ctrlKey": True}, True),  # German
        ({"key": "z", "code": "KeyW", "ctrlKey": True}, True),  # French
        ({"key": "w", "code": "KeyZ", "ctrlKey": True}, False),
        ({"key": "y", "code": "KeyZ", "ctrlKey": True}, False),
        ({"key": "Z", "code": "KeyZ", "ctrlKey": True, "shiftKey": True}, False),  # redo
        ({"key": "z", "code": "KeyZ", "ctrlKey": True, "altKey": True}, False),  # AltGr
        ({"key": "z", "code": "KeyZ"}, False),
        ({}, False),  # what a password manager sends
    ],
)
def test_undo_on_any_layout(undo_page, event, undone):
    undo_page.evaluate("change(() => { drawing.past = []; start({ example: 1 }); }), frame()")
    undo_page.evaluate(
        "(event) => document.body.dispatchEvent("
        "new KeyboardEvent('keydown', { ...event, bubbles: true }))",
        event,
    )
    assert (undo_page.evaluate("drawing.example") is None) == undone


@pytest.fixture(scope="module")
def undo_page(context_of):
    """One page for many keys."""
    page = context_of(LAPTOP).new_page()
    page.goto(PAGE)
    yield page
    page.close()


# --- Links, history, reloads ---------------------------------------------------------------------


def test_history_while_a_map_is_open(open_page):
    page = open_page("#example=2")
    page.evaluate("location.hash = 'example=3&net=Net4'")
    page.wait_for_function("drawing.example === 3 && current")
    for move in ("history.back()", "history.forward()", "location.hash = ''"):
        page.locator(".map").nth(40).click()
        assert page.is_visible("#inside")
        page.click("#slide")
        before = page.evaluate("hashOf(drawing)")
        page.evaluate(move)
        page.wait_for_function("(before) => hashOf(drawing) !== before", arg=before)
        settle(page)
        assert not page.is_visible("#inside")
        page.wait_for_timeout(200)  # no step of the slide comes after
        assert page.get_attribute("#slide", "aria-pressed") == "false"


def test_a_map_does_not_stay_open_over_an_empty_paper(open_page):
    page = open_page()
    page.click("#examples button")
    settle(page)
    page.locator(".map").first.click()
    page.keyboard.press("Control+z")
    settle(page)
    assert not page.is_visible("#inside")
    page.click("#examples button")
    settle(page)
    page.locator(".map").first.click()
    assert page.is_visible("#inside")


def test_a_map_of_the_network_before_is_not_looked_at(open_page):
    """Between the choice of a network and its first frame."""
    page = open_page("#example=2")
    settle(page)
    page.evaluate(
        """() => {
            byId("nets").querySelectorAll("input")[1].click();
            for (const map of document.querySelectorAll(".map")) {
                map.dispatchEvent(new PointerEvent("pointermove", { bubbles: true }));
                map.click();
            }
        }"""
    )
    settle(page)
    assert page.evaluate("drawing.choices.net") == 1


def test_the_drawing_survives_a_reload(open_page):
    page = open_page()
    put(page, written("round", 5))
    page.locator("#right").fill("2")
    page.click("#nets label:nth-of-type(2)")
    before = page.evaluate("hashOf(drawing)"), answer(page)
    page.reload()
    assert (page.evaluate("hashOf(drawing)"), answer(page)) == before
    page.click("#share")  # the drawing goes on from a link
    page.click("#examples button:nth-child(4)")
    page.reload()
    assert page.evaluate("drawing.example") == 3
    page.goto("about:blank")
    page.goto(PAGE + "#example=1")  # another link is another drawing
    assert page.evaluate("drawing.example") == 1


def test_a_stroke_of_many_points_fits_a_link(open_page):
    page = open_page()
    same = page.evaluate(
        """() => {
            drawing.strokes = [Array.from({ length: 65535 }, (_, n) => [n % 250, 99])];
            extendStroke([7, 7]);
            extendStroke([9, 9]);
            const { strokes } = drawing;
            readHash(hashOf(drawing));
            return JSON.stringify(strokes) === JSON.stringify(drawing.strokes);
        }"""
    )
    assert same
    assert page.evaluate("drawing.strokes.map((stroke) => stroke.length)") == [65535, 3]


def test_a_page_without_storage_works(context_of):
    page = context_of(LAPTOP).new_page()
    page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no'); } })"
    )
    complaints = []
    page.on("pageerror", lambda error: complaints.append(error))
    page.goto(PAGE)
    put(page, written("round", 5))
    page.reload()
    assert answer(page)[0] == ""
    page.close()
    assert not complaints


# --- Images --------------------------------------------------------------------------------------


def picture_of(strokes, size, ink, paper, width=0.09, mode="RGB", box=(0, 0, 1)):
    """Draw strokes as an image; `box` is the left, top and side of the square they are drawn in."""
    image = Image.new(mode, (4 * size[0], 4 * size[1]), paper)
    drawing, scale = ImageDraw.Draw(image), 4 * min(size)
    left, top, side = box
    for stroke in strokes:
        points = [tuple(scale * (np.array([left, top]) + side * p / 100)) for p in stroke]
        radius = scale * side * width / 2
        drawing.line(points, fill=ink, width=round(2 * radius), joint="curve")
        for x, y in points:
            drawing.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
    return image.resize(size, Image.Resampling.LANCZOS)


def shaded(image):
    """Let the light fall off from the left to the right, to half."""
    light = np.linspace(1, 0.5, image.width)[None, :, None]
    return Image.fromarray((np.asarray(image) * light).astype(np.uint8))


KINDS = {
    "dark on light": lambda strokes: picture_of(strokes, (300, 300), "black", "white"),
    "light on dark": lambda strokes: picture_of(strokes, (300, 300), "white", "black"),
    "wide": lambda strokes: picture_of(strokes, (600, 250), "#223", "#eed", box=(0.7, 0, 1)),
    "as MNIST's": lambda strokes: picture_of(strokes, (28, 28), "white", "black", 0.1),
    "small on a sheet": lambda strokes: picture_of(
        strokes, (1200, 900), "#336", "#ccb", 0.05, box=(0.7, 0.5, 0.15)
    ),
    "in the shade": lambda strokes: shaded(picture_of(strokes, (400, 400), "#224", "#ddd")),
    "black on nothing": lambda strokes: picture_of(
        strokes, (300, 300), (0, 0, 0, 255), (0, 0, 0, 0), mode="RGBA"
    ),
    "white on nothing": lambda strokes: picture_of(
        strokes, (300, 300), (255, 255, 255, 255), (255, 255, 255, 0), mode="RGBA"
    ),
}

HAND_OVER = """async ([way, name, type, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([decodeBytes(text)], name, { type }));
    const options = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
    const over = new DragEvent("dragover", options);
    const taken = !byId("drawing").dispatchEvent(over);
    const event = way === "drop" ? new DragEvent(way, options) : new ClipboardEvent(way, options);
    byId("drawing").dispatchEvent(event);
    return taken;
}"""


def hand_over(page, content, way="drop", name="digit.png", kind="image/png"):
    """Drop or paste a file; an image is given as such."""
    if isinstance(content, Image.Image):
        buffer = io.BytesIO()
        content.save(buffer, "PNG")
        content = buffer.getvalue()
    text = base64.b64encode(content).decode()
    before = page.evaluate("[hashOf(drawing), byId('notice').textContent]")
    assert page.evaluate(HAND_OVER, [way, name, kind, text])
    page.wait_for_function(
        "(before) => String([hashOf(drawing), byId('notice').textContent]) !== String(before)",
        arg=before,
    )


def test_an_image_is_read_as_a_drawing(open_page):
    page = open_page()
    wrong = []
    for number, (kind, make) in enumerate(KINDS.items()):
        digit = (2, 5, 7)[number % 3]
        hand_over(page, make(written("round", digit)), ["drop", "paste"][number % 2])
        read = answer(page)[0]
        wrong += [(kind, digit, read)] if read != str(digit) else []
    assert not wrong


def test_an_image_is_a_drawing_like_others(open_page):
    """Undo, strokes on it, a link, a reload, clear."""
    page = open_page()
    put(page, written("round", 3))
    hand_over(page, KINDS["dark on light"](written("slanted", 7)[:1]))
    draw(page, [np.array([[10.0, 90], [20, 90]])])
    before = page.evaluate("hashOf(drawing)"), answer(page)
    page.reload()
    assert (page.evaluate("hashOf(drawing)"), answer(page)) == before
    again = open_page("#" + before[0])
    assert answer(again) == before[1]
    assert len(before[0]) < 3000
    page.click("#clear")
    assert answer(page)[0] == ""
    page.click("#undo")
    assert answer(page) == before[1]


def test_a_file_that_is_no_image_is_named(open_page):
    page = open_page()
    put(page, written("round", 3))
    hand_over(page, b"not an image", name="notes.txt", kind="text/plain")
    assert page.inner_text("#notice") == "Expected an image, got notes.txt."
    hand_over(page, Image.new("L", (50, 50), 200))
    assert page.inner_text("#notice") == "There is no ink in this image."
    assert answer(page)[0] == "3"


def test_an_image_is_opened(open_page, tmp_path):
    page = open_page()
    KINDS["light on dark"](written("round", 2)).save(tmp_path / "two.png")
    with page.expect_file_chooser() as chooser:
        page.click("#open")
    chooser.value.set_files(tmp_path / "two.png")
    page.wait_for_function("drawing.picture")
    assert answer(page)[0] == "2"


# --- Contrast themes and older browsers ----------------------------------------------------------


def looks(page, selector, number=0):
    """Return a picture of an element in black and white, without what the pointer does to it."""
    page.mouse.move(640, 795)
    shot = page.locator(selector).nth(number).screenshot()
    return Image.open(io.BytesIO(shot)).convert("L").point(lambda level: 255 * (level > 128))


def differ(one, other):
    return ImageChops.difference(one, other.resize(one.size)).getbbox() is not None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_contrast_theme_shows_every_state(open_page, scheme):
    page = open_page("#example=3", **LAPTOP, forced_colors="active", color_scheme=scheme)
    settle(page)
    for group in ("#nets", "#clicks"):
        before = looks(page, f"{group} span", 0), looks(page, f"{group} span", 1)
        page.locator(f"{group} input").nth(1).check(force=True)
        page.evaluate("document.activeElement.blur()")
        settle(page)
        after = looks(page, f"{group} span", 0), looks(page, f"{group} span", 1)
        assert differ(before[0], after[0]) and differ(before[1], after[1]), group
    shares = page.evaluate("current.shares")
    low, high = np.argmin(shares), np.argmax(shares)
    assert differ(looks(page, "#bars .bar", low), looks(page, "#bars .bar", high))
    chosen, other = (page.locator("#examples button").nth(n) for n in (3, 4))
    edge = "(button) => getComputedStyle(button).outlineStyle"
    assert chosen.evaluate(edge) != other.evaluate(edge)
    page.locator(".map").nth(3).click()  # switches it off
    page.evaluate("document.activeElement.blur()")
    settle(page)
    assert differ(looks(page, ".map", 3), looks(page, ".map", 4))
    page.locator(".map").nth(20).hover()
    colours = page.locator("#kernels .kernel i").evaluate_all(
        "(cells) => cells.map((cell) => getComputedStyle(cell).backgroundColor)"
    )
    assert len(set(colours)) > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_that_knows_no_colour_functions(context_of, scheme):
    colours = """["body", ".sheet", "#guess", "button", ".bar"].map((name) => {
        const style = getComputedStyle(document.querySelector(name));
        return [style.color, style.backgroundColor];
    }).concat([[getComputedStyle(byId("field")).fill, getComputedStyle(byId("field")).stroke]])"""
    seen = []
    for known in (True, False):
        page = context_of({**LAPTOP, "color_scheme": scheme}).new_page()
        content = make_demo.PAGE.read_text("utf-8")
        for name in () if known else ("light-dark", "color-mix"):
            content = content.replace(f"{name}(", f"un{name}(")
        page.set_content(content)
        seen.append(page.evaluate(colours))
        page.close()
    assert seen[0] == seen[1]


# --- Any order of events -------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "count"), [(1, 400), (2, 3000), (3, 3000)])
def test_any_order_of_events_is_possible(open_page, seed, count):
    page = open_page("#example=2")
    settle(page)
    faults, log = page.evaluate(ANY_ORDER.read_text(), [seed, count])
    assert not faults, (faults, log)
