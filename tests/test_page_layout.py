"""The page for people: nothing overflows, everything has a name, the keyboard is enough."""

from itertools import pairwise

import pytest
from browser import settle
from paper import LAPTOP, PHONE, answer, put, written

pytestmark = pytest.mark.long


@pytest.mark.parametrize("options", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows(open_page, options, scheme):
    page = open_page(**options, color_scheme=scheme)
    width, height = options["viewport"].values()
    for _ in range(2):
        size = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert size[0] <= width
        assert size[1] <= height or options is PHONE
        outside = page.evaluate(
            """(width) => [...document.querySelectorAll("main *, header *")].filter((element) => {
                const box = element.getBoundingClientRect();
                const clipped = element.closest(".hidden, svg, .sheet");
                return box.width && !clipped && (box.left < -0.5 || box.right > width + 0.5);
            }).map((element) => element.outerHTML.slice(0, 80))""",
            width,
        )
        assert not outside
        put(page, written("round", 8))


def test_sections_do_not_cover_one_another(open_page):
    page = open_page()
    put(page, written("round", 8))
    boxes = [page.locator(name).bounding_box() for name in ("#hand", "#layers", "#answer")]
    for left, right in pairwise(boxes):
        assert left["x"] + left["width"] <= right["x"]
    columns = page.locator(".column").evaluate_all(
        "(all) => all.map((one) => [one.getBoundingClientRect(), one.scrollWidth])"
    )
    for box, scroll_width in columns:
        assert scroll_width <= box["width"] + 1
        assert boxes[1]["x"] <= box["x"]
        assert box["x"] + box["width"] <= boxes[1]["x"] + boxes[1]["width"] + 1


def test_tab_reaches_every_control_and_each_has_a_name(open_page):
    page = open_page()
    page.click("#examples button:nth-child(1)")
    page.click("#clicks label:nth-of-type(2)")
    page.locator(".map").nth(3).click()  # so that no button is disabled
    settle(page)
    controls = page.evaluate(
        """[...document.querySelectorAll("button, input, canvas[tabindex]")]
            .filter((control) => !control.closest("dialog"))
            .map((control) => control.id || control.value || control.ariaLabel)"""
    )
    page.evaluate("document.activeElement.blur()")
    reached, nameless = set(), []
    for _ in range(len(controls) + 5):
        page.keyboard.press("Tab")
        names = page.evaluate(
            """(() => {
                const control = document.activeElement;
                const label = control.labels?.[0]?.innerText;
                const name = control.ariaLabel || label || control.innerText;
                return [control.id || control.value || control.ariaLabel, name, control.className];
            })()"""
        )
        reached.add(names[0])
        nameless += [names] if not names[1] else []
        if names[2].startswith("map"):
            reached.add("map")
    unchecked = {"0", "1", "2", "look", "switch"}  # arrow keys go through a group of radio buttons
    assert set(controls) - reached <= unchecked
    assert "map" in reached
    assert not nameless


def test_by_keyboard_alone(open_page):
    page = open_page()
    page.focus("#drawing")
    for _ in range(10):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    assert answer(page)[0] == "1"
    page.locator(".map").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("[pointed.column, pointed.channel]") == [1, 1]
    page.keyboard.press("Space")
    settle(page)
    assert page.locator(".map.off").count() == 1
    page.keyboard.press("Enter")
    assert page.is_visible("#inside")
    page.keyboard.press("Escape")
    assert page.evaluate("[pointed.column, pointed.channel]") == [1, 1]


def test_the_theme_button(open_page):
    page = open_page(**LAPTOP, color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    assert page.evaluate(background) != light
    page.click("#theme")
    assert page.evaluate(background) == light
