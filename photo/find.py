"""Find handwritten digits in a picture: rules propose, a network judges.

In each of several views of what is ink (views.py), the connected parts and groups of them are
candidates (candidates.py). The network, which also knows what is no digit, judges all candidates in
one batch. Then each view settles on the candidates that are plausible and together explain most of
its ink, and what it settles on are its votes. Votes that agree in place are pooled, with those of
views that hold what is there to be no digit: contrast and the share of the ink around that a
candidate explains are their weight. So the stem of a 4, a fine 1 by itself, has less weight than
the 4. Lines and frames that a view leaves out need no explanation if a candidate together with them
is no digit.
"""

import itertools
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

from photo.candidates import PARTS, Candidate, candidates_of
from photo.shades import LARGE, SMALL, enlarged, resized, shades_of, without_border, without_noise
from photo.views import size_of, views_of

COARSE = 400  # pixels, of the longer side: digits are looked for here first,
CLEAR = 40  # and in all pixels if the best one found is smaller than this
PLAUSIBLE = 0.2  # least probability of a digit in a view, and when all views are pooled:
READ, SECOND, LIKELY = 0.4, 0.6, 0.9  # of the digit that is read, of further ones, of a sure one
MARKS = 1000  # in a picture that is split, at most
NO_DIGIT = 0.9  # least probability for which a view votes that there is no digit
SURE = 0.99  # least probability of a digit inside a 0, if that is a frame
SAME, EXACT = 0.6, 0.9  # least overlaps of two places: for votes, and for votes against
FAINT = 0.55  # the least weight, summed over views, unless a picture is split
AT_BORDER = 0.3  # weight of what touches the picture's border, where desks and shadows are cut off
CUT = 0.85  # probability that what touches the border is a digit, and no part of something larger
SPECK = 0.1  # of the picture's longer side: a 1 that is smaller is taken for a speck


class FoundDigit(NamedTuple):
    """A digit: what the network saw, its probabilities, and where it is.

    seen: uint8 (28, 28), in MNIST's format. probabilities: float (10,); what their sum lacks to 1
    is that of no digit, or of one that the border cuts. box: left, top, right, bottom in shares of
    the picture's width and height.
    """

    seen: np.ndarray
    probabilities: np.ndarray
    box: tuple


def settled(candidates, probabilities):
    """Return the indices of the candidates of a view that together explain most of its ink.

    No two of them share a part.
    """
    likely = probabilities[:, :10].max(axis=1)
    chosen, taken = [], set()
    for k in sorted(range(len(candidates)), key=lambda k: -candidates[k].ink * likely[k] ** 4):
        if likely[k] >= PLAUSIBLE and not candidates[k].parts & taken:
            chosen.append(k)
            taken |= candidates[k].parts
    return chosen


def overlap(place, other, of):
    """Return the area that is in a place (4,) and others (..., 4) as a share of one of them.

    `of` is np.maximum or np.minimum: of the larger or the smaller one.
    """
    starts, ends = np.maximum(place[:2], other[..., :2]), np.minimum(place[2:], other[..., 2:])
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (place, other)]
    return np.maximum(ends - starts, 0).prod(axis=-1) / of(*areas)


def is_digit(probabilities, least=READ):
    """Return whether a digit is more probable than `least`, and than no digit."""
    return probabilities[:10].max() > max(least, probabilities[10:].sum())


class Vote(NamedTuple):
    """A candidate that a view settled on, or holds to be no digit."""

    weight: float
    candidate: Candidate
    probabilities: np.ndarray


class Spot:
    """Votes that agree in place, and doubts: votes that there is no digit.

    They are those of other views, or are about more of the parts that are there: with its eyes and
    mouth, a ring is no 0.
    """

    def __init__(self, vote):
        self.votes, self.doubts = [vote], []

    place = property(lambda self: self.votes[0].candidate.place)
    weight = property(lambda self: sum(vote.weight for vote in self.votes))
    size = property(lambda self: (self.place[2:] - self.place[:2]).max())
    digit = property(lambda self: self.probabilities[:10].argmax())

    @property
    def probabilities(self):
        votes = self.votes + self.doubts
        weights = np.array([vote.weight for vote in votes])
        return weights @ np.array([vote.probabilities for vote in votes]) / weights.sum()


def pooled(votes, doubts=()):
    """Group votes that agree in place; return their Spots, the best one first."""
    spots = []
    for vote in sorted(votes, key=lambda vote: -vote.weight):
        for spot in spots:
            if overlap(spot.place, vote.candidate.place, np.maximum) > SAME:
                spot.votes.append(vote)
                break
        else:
            spots.append(Spot(vote))
    doubts = sorted(doubts, key=lambda doubt: doubt.weight)
    places = np.array([doubt.candidate.place for doubt in doubts]).reshape(-1, 4)
    for spot in spots:
        own = {vote.candidate.view: vote.candidate.parts for vote in spot.votes}
        heaviest = {}
        for k in np.flatnonzero(overlap(spot.place, places, np.maximum) > EXACT):
            view, parts = doubts[k].candidate.view, doubts[k].candidate.parts
            if view not in own or parts > own[view]:
                heaviest[view] = doubts[k]
        spot.doubts = list(heaviest.values())
    return sorted(spots, key=lambda spot: -support(spot, spots))


def support(spot, spots):
    """Return the weight of a spot plus that of its parts among the spots, at most twice its own."""
    parts = sum(other.weight for other in spots if is_part(other, spot))
    return spot.weight + min(spot.weight, parts)


def is_part(spot, other):
    """Return whether a spot lies within another one."""
    return spot.size < other.size and overlap(spot.place, other.place, np.minimum) > 0.8


def votes_of(views, judge, most=PARTS):
    """Return two lists of Votes of (number, View) pairs: for digits, and for no digit.

    `most` parts of each view are proposed.
    """
    known = {}
    candidates = [c for number, view in views for c in candidates_of(view, number, most, known)]
    if not candidates:
        return [], []
    images = [image for c in candidates for image in (c.seen, c.whole) if image is not None]
    different = {id(image): image for image in images}
    answers = dict(zip(different, judge(np.stack(list(different.values()))), strict=True))
    votes, doubts = [], []
    for _, group in itertools.groupby(candidates, key=lambda candidate: candidate.view):
        group = list(group)
        probabilities = np.array([answers[id(candidate.seen)] for candidate in group])
        chosen = settled(group, probabilities)
        against = np.flatnonzero(probabilities[:, 10:].sum(axis=1) > NO_DIGIT)
        for k in (*chosen, *against):
            share, rest = group[k].shares
            whole = group[k].whole
            if k in chosen and whole is not None:
                together = answers[id(whole)]
                is_zero = together[:10].argmax() == 0 and probabilities[k, 2:10].max() > SURE
                if not is_digit(together) or is_zero:
                    share = min(rest, 4 * share)
            weight = group[k].contrast * share**2 * (AT_BORDER if group[k].at_border else 1)
            (votes if k in chosen else doubts).append(Vote(weight, group[k], probabilities[k]))
    return votes, doubts


def is_speck(spot, shape):
    """Return whether a spot is a 1 that is tiny in a picture of this shape."""
    return spot.size < SPECK * max(shape) and spot.digit == 1


def check_marks(views):
    """Raise ValueError if most views have more than MARKS parts."""
    marks = sorted(len(view.places) for view in views) or [0]
    if marks[len(marks) // 2] > MARKS:
        found = f"found {marks[len(marks) // 2]:,} marks"
        raise ValueError(f"{found}, too many for one picture: cut it into smaller ones")


def in_full(votes, size, views, judge, split):
    """Return the Spots that are digits of about one size, from all parts of three views.

    Of the views with half of the largest weight of votes, it is those with most parts of the size.
    """

    def count(view):
        return sum(0.5 < size_of(place) / size < 2 for place in view.places)

    weights = np.bincount([v.candidate.view for v in votes], [v.weight for v in votes])
    views = itertools.islice(views, len(weights))
    likely = [each for each in enumerate(views) if weights[each[0]] >= weights.max() / 2]
    likely = sorted(likely, key=lambda each: -count(each[1]))[:3]
    spots = pooled(votes_of(likely, judge, MARKS if split else 300)[0])
    spots = [s for s in spots if is_digit(s.probabilities) and 0.5 < s.size / size < 2]
    spots = [spot for spot in spots if spot.weight > 0.15 * spots[0].weight]  # not noise
    usual = np.median([spot.size for spot in spots]) if spots else 0
    return apart(spot for spot in spots if 0.5 < spot.size / usual < 2)


def apart(spots):
    """Return spots without those that overlap one before them."""
    chosen = []
    for spot in spots:
        if all(overlap(spot.place, other.place, np.minimum) < 0.3 for other in chosen):
            chosen.append(spot)
    return chosen


def readable(spots, shape):
    """Return spots without the best one if that may be no digit, but one of its weight is sure.

    So a digit is found beside a blot. A 1 or a ring may be a part of anything, and is not enough.
    """
    if not spots:
        return spots
    best, speck = spots[0], is_speck(spots[0], shape)
    if is_digit(best.probabilities, LIKELY) and not speck:
        return spots
    share = 1 if is_digit(best.probabilities, SECOND) and not speck else 0.75
    for spot in spots[1:]:
        sure = spot.digit > 1 and is_digit(spot.probabilities, LIKELY)
        if sure and spot.weight > share * best.weight:
            return [spot, *(other for other in spots[1:] if other is not spot)]
    return spots


def separate(spots):
    """Return the best spot, and those elsewhere of about its size, weight and contrast."""
    best = spots[0]

    def is_like_it(spot):
        own, other = (each.votes[0].candidate for each in (spot, best))
        alike = 0.5 < spot.size / best.size < 2 and own.contrast > 0.5 * other.contrast
        alike = alike and is_digit(spot.probabilities, SECOND)
        share = (AT_BORDER if own.at_border else 1) / 3
        if spot.digit == 1:  # it may be an edge of the paper
            share = 1 / 2
        return alike and spot.weight > share * best.weight

    return apart([best, *filter(is_like_it, spots[1:])])


def in_rows(spots):
    """Return spots as they are read: row by row, from left to right."""
    places = np.array([spot.place for spot in spots])
    top, left, bottom, right = places.T.astype(float)
    heights = bottom - top
    both = np.minimum(bottom, bottom[:, None]) - np.maximum(top, top[:, None])
    near = np.maximum(left, left[:, None]) - np.minimum(right, right[:, None]) < 3 * heights.max()
    linked = near & (both > 0.5 * np.minimum(heights, heights[:, None]))
    count, row = connected_components(linked)
    height = ndimage.mean(top + bottom, row, np.arange(count))
    order = np.lexsort((left, height[row]))
    return [spots[k] for k in order]


def find_digits(image, judge, split=False):
    """Return the digits of a PIL image as a list of FoundDigit, row by row, from left to right.

    `judge` maps images, uint8 (N, 28, 28) in MNIST's format, to probabilities, float (N, 10), or
    (N, 11) with no digit last. Without `split` the search stops once it is clear that there are
    several digits. Raises ValueError for an image without a digit.
    """
    shades = shades_of(image)
    if np.ptp(shades) < 4:
        raise ValueError("expected a digit, got an image of one shade")
    if max(image.size) < 8:
        raise ValueError(f"expected a digit, got {image.width}x{image.height} pixels")
    shades = without_border(shades)
    margin, longer = 0, max(shades.shape)
    if longer <= SMALL / 2:
        shades, margin = enlarged(shades)
    for side in (COARSE, LARGE) if longer > COARSE else (longer,):
        factor = min(1, side / longer)
        size = [max(1, round(factor * pixels)) for pixels in shades.shape[:2]]
        looked_at, noise = without_noise(resized(shades, size) if factor < 1 else shades)
        votes, doubts = votes_of(enumerate(views_of(looked_at, noise, margin)), judge)
        spots = readable(pooled(votes, doubts), looked_at.shape)
        if spots and spots[0].size > CLEAR:
            break
    if split:
        check_marks(views_of(looked_at, noise, margin))
    if not spots or not is_digit(spots[0].probabilities):
        raise ValueError("expected a digit, got nothing that looks like one")
    if not split and (spots[0].weight < FAINT or is_speck(spots[0], looked_at.shape)):
        raise ValueError("expected a digit, got nothing but a faint or tiny mark")
    spots = separate(spots)
    if (split and len(spots) > 1) or spots[0].size < 0.1 * max(looked_at.shape):
        several = in_full(votes, spots[0].size, views_of(looked_at, noise, margin), judge, split)
        spots = several if len(several) > len(spots) else spots
    height, width = (pixels - 2 * margin for pixels in looked_at.shape[:2])
    found = []
    for spot in in_rows(spots):
        box = np.clip((spot.place[[1, 0, 3, 2]] - margin) / [width, height, width, height], 0, 1)
        best = spot.votes[0].candidate
        probabilities = spot.probabilities[:10] * (CUT if best.at_border else 1)
        found.append(FoundDigit(best.seen, probabilities, tuple(box.tolist())))
    return found
