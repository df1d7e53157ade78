"""MNIST's format on ink whose result is known."""

import numpy as np
import pytest

from mnist_format import BOX, SIDE, to_mnist_format


def stroke(height, width):
    """Return paper with one upright stroke of ink 1."""
    ink = np.zeros((height + 30, width + 50))
    ink[20 : 20 + height, 10 : 10 + width] = 1
    return ink


def test_a_block_fills_the_box_in_the_middle():
    image = to_mnist_format(stroke(60, 60))
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    assert rows.tolist() == columns.tolist() == list(range(5, 25))  # half a pixel is rounded up
    assert image[5:25, 5:25].min() == 255
    assert image.dtype == np.uint8


@pytest.mark.parametrize("strength", [0.6, 0.8])
def test_faint_ink_comes_out_as_white_as_any(strength):
    for width in (3, 20):  # the first is thinner than a pixel of the result
        expected = to_mnist_format(stroke(100, width))
        assert expected.max() == 255
        assert np.array_equal(to_mnist_format(strength * stroke(100, width)), expected)


def test_sides_keep_their_proportion():
    for width, expected in ((10, 2), (12, 2), (13, 3), (100, 20)):  # 20 * width / 100, rounded
        image = to_mnist_format(stroke(100, width))
        assert np.ptp(np.flatnonzero(image.any(axis=1))) + 1 == BOX
        assert np.ptp(np.flatnonzero(image.any(axis=0))) + 1 == expected


def test_enlarging_and_reducing_keeps_a_digit_sharp():
    rng = np.random.default_rng(1)
    digit = np.zeros((BOX, BOX))
    digit[rng.integers(0, BOX, 80), rng.integers(0, BOX, 80)] = 1
    digit[[0, -1], [0, -1]] = 1
    image = to_mnist_format(digit.repeat(5, axis=0).repeat(5, axis=1))
    top, left = (np.flatnonzero(image.any(axis=axis))[0] for axis in (1, 0))
    again = image[top : top + BOX, left : left + BOX] / 255
    assert np.abs(again - digit).mean() < 0.1  # with a triangle filter: 0.12


def test_the_centre_of_mass_is_in_the_middle():
    ink = stroke(60, 60)
    ink[20:50, 30:70] = 0  # an L: heavier below and on the left
    image = to_mnist_format(ink).astype(float)
    ys, xs = np.mgrid[:SIDE, :SIDE]
    assert abs((ys * image).sum() / image.sum() - 14) <= 0.5
    assert abs((xs * image).sum() / image.sum() - 14) <= 0.5


def test_what_is_no_ink_is_refused():
    with pytest.raises(ValueError, match="got no ink"):
        to_mnist_format(0.5 * stroke(20, 20))
    specks = np.zeros((400, 400))
    specks[[0, -1], [0, -1]] = 1
    with pytest.raises(ValueError, match="got specks"):
        to_mnist_format(specks)
