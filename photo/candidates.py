"""Candidates: parts of a view, alone or in groups, that may be a digit, in MNIST's format."""

import contextlib
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mnist_format import to_mnist_format

PARTS = 6  # of a view that are proposed, those of most ink


class Candidate(NamedTuple):
    """Parts of a view that may be a digit."""

    view: int
    parts: frozenset  # indices of parts
    place: np.ndarray  # int (4,), pixels: top, left, bottom, right
    ink: float  # the sum of contrast
    shares: tuple  # of the ink around that it explains: of all ink, and without what is left out
    contrast: float  # of its median pixel, in [0, 1)
    at_border: bool  # whether it touches the picture's border
    seen: np.ndarray  # uint8 (28, 28), in MNIST's format
    whole: np.ndarray | None  # the same with the lines or frames that the view leaves out


def box_of(place):
    """Return (top, left, bottom, right) of slices."""
    rows, columns = place
    return np.array([rows.start, columns.start, rows.stop, columns.stop])


def union_of(boxes):
    """Return the smallest box (4,) around boxes (N, 4)."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def gaps(box, boxes):
    """Return the distances in pixels, (N,), between a box and boxes (N, 4), 0 if they overlap."""
    apart = np.maximum(boxes[:, :2] - box[2:], box[:2] - boxes[:, 2:])
    return np.maximum(apart, 0).max(axis=1)


def proposals(view, most):
    """Return sets of indices of a view's parts that may be a digit, and the parts' boxes.

    The parts with the most ink: alone, with the parts near them (within two distances), and with
    the parts near those.
    """
    boxes = np.array([box_of(place) for place in view.places]).reshape(-1, 4)
    height, width = view.numbers.shape
    sizes = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    counts = np.array([0]) if not len(boxes) else np.bincount(view.numbers.flat)[1:]
    usable = sizes >= max(5, 0.01 * max(height, width))
    order = np.argsort(-(view.amounts * sizes) * usable)[:most]
    main = [
        index
        for index in order
        if usable[index] and not lies_along_the_border(index + 1, view.numbers, view.margin)
    ]
    sets = {}
    for index in main:
        sets[frozenset([index])] = None
        for reach in (0.06, 0.2):
            group, box = {index}, boxes[index]
            for _ in range(2):
                near = (gaps(box, boxes) <= reach * sizes[index]) & (sizes <= 1.2 * sizes[index])
                near &= counts >= 0.002 * counts[index]
                group |= set(np.flatnonzero(near).tolist())
                if len(group) > 12:
                    break
                box = union_of(boxes[list(group)])
                sets[frozenset(group)] = None
    return list(sets), boxes


def lies_along_the_border(number, numbers, margin):
    """Return whether a part covers a side of the picture, as a desk does, or is in a corner."""
    numbers = numbers[margin : len(numbers) - margin, margin : numbers.shape[1] - margin]
    sides = numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]
    corners = numbers[[0, 0, -1, -1], [0, -1, 0, -1]]
    return number in corners or max((side == number).mean() for side in sides) > 0.8


def candidates_of(view, number, most, known):
    """Return the Candidates of a view. `known` caches the images made from the same pixels."""
    found = []
    sets, boxes = proposals(view, most)
    member = np.zeros(len(boxes) + 1, dtype=bool)
    first, last = view.margin, np.array(view.numbers.shape) - view.margin
    for group in sets:
        box = union_of(boxes[list(group)])
        margin = int(0.3 * (box[2:] - box[:2]).max()) + 2
        top, left = np.maximum(box[:2] - margin, 0)
        place = np.s_[top : box[2] + margin, left : box[3] + margin]
        numbers = [index + 1 for index in group]
        member[numbers] = True
        own = member[view.numbers[place]]
        member[numbers] = False
        whole = None
        if view.left_out.any() and most == PARTS:  # for many parts it would take too long
            whole = view.left_out.copy()
            whole[place] |= own
        same = (*box.tolist(), np.count_nonzero(own), np.count_nonzero(whole), view.sign)
        if same not in known:
            seen = seen_of(view.contrast[place], own)
            is_seen = whole is not None and seen is not None
            known[same] = seen, seen_of(view.contrast, whole) if is_seen else None
        if known[same][0] is not None:
            around, rest = view.ink[place], ~view.left_out[place]
            ink = around[own].sum()
            shares = ink / around.sum(), ink / around[rest].sum()
            contrast = 1 - np.exp(-np.median(view.rise[place][own]))
            cut = (box[:2] <= first).any() or (box[2:] >= last).any()
            found.append(Candidate(number, group, box, ink, shares, contrast, cut, *known[same]))
    return found


def seen_of(contrast, own):
    """Return the ink of the pixels `own` in MNIST's format, None if there is too little."""
    with contextlib.suppress(ValueError):
        return to_mnist_format(ink_of(contrast, own))


def ink_of(contrast, own):
    """Return the ink of the pixels `own`, float in [0, 1], thin strokes thickened."""
    step = max(1, max(np.ptp(np.flatnonzero(own.any(axis=axis))) for axis in (0, 1)) // 50)
    if step > 1:
        height, width = (side // step * step for side in own.shape)
        contrast, share = (
            values[:height, :width].reshape(height // step, step, -1, step).mean(axis=(1, 3))
            for values in (contrast, own.astype(np.float32))
        )
        own = share >= min(0.4, share.max())
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    size = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    amounts = np.sort(contrast[own])
    full = max(amounts[3 * len(amounts) // 4], 1e-6)
    edges = np.pad(own, 1)
    outline = sum(np.count_nonzero(np.diff(edges, axis=axis)) for axis in (0, 1))
    stroke = 2.5 * np.count_nonzero(own) / outline  # pixels, its width: edges count 1.25 times
    near = ndimage.maximum_filter(own, 2 * max(1, round(stroke / 4)) + 1)
    ink = np.clip((contrast / full - 0.2) / 0.7, 0, 1) * near
    if stroke < 0.08 * size:
        radius = max(1, round((0.1 * size - stroke) / 2))
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        ink = ndimage.grey_dilation(np.pad(ink, radius), footprint=x**2 + y**2 <= radius**2 + 1)
    return ink
