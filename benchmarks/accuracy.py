"""Draw docs/accuracy.png, test accuracy against parameters, from results/ and peers.json.

python benchmarks/accuracy.py
"""

import itertools
import json
import re
import statistics

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from seeds import HERE, RESULTS

import plots
from history import TARGET

SWEEP = re.compile(r"net(\d)(-width\d+)?-(\w+)")  # not validation, no other dropout


def points():
    """Return our results and those published by others, as the plot takes them.

    Ours are each network's most accurate sweep of at most 15 epochs on the test set, by width, or
    the notebooks' run if a network has no sweep.
    """
    ours = {}
    for file in sorted(RESULTS.glob("*.json")):
        match, table = SWEEP.fullmatch(file.stem), json.loads(file.read_text())
        if match and (table["split"], table["source"]) == ("test", "full"):
            net, width, _ = match.groups()
            name = f"Net{net}" + (width or "").replace("-width", ", width ")
            mean = statistics.mean(ours[name][2]) if name in ours else 0
            if table["epochs"] <= 15 and table["mean"] > mean:
                ours[name] = (name, table["parameters"], table["last_epoch"])
    for file in sorted((RESULTS / "steps").glob("*.json")):
        step = json.loads(file.read_text())
        name = re.search(r"Net\d", step["name"])[0]
        ours.setdefault(name, (name, step["parameters"], step["history"]["test_accuracy"][-1:]))
    peers = json.loads((HERE / "peers.json").read_text())
    named = [(peer["name"], peer["parameters"], peer["accuracy"]) for peer in peers]
    return list(ours.values()), named


def frontier(ours):
    """Return (parameters, mean) of those of ours that no smaller one equals, smallest first."""
    best = []
    for parameters, mean in sorted((size, statistics.mean(each)) for _, size, each in ours):
        if not best or mean > best[-1][1]:
            best.append((parameters, mean))
    return best


def ahead(ours, peers):
    """Return the peers above the line through `frontier`, which goes on level to its right."""
    sizes, means = zip(*frontier(ours), strict=True)
    return [
        (name, size, accuracy)
        for name, size, accuracy in peers
        if accuracy > np.interp(np.log(size), np.log(sizes), means, left=0)
    ]


def claim(ours, peers):
    """Return, in words, how many of the peers lie below our line and which ones do not."""
    left = ahead(ours, peers)
    sentence = (
        f"{len(peers) - len(left)} of {len(peers)} published results lie on or below the line "
        "through our best means."
    )
    if not left:
        return sentence
    *first, last = [f"{name} ({size:,} parameters: {value:g} %)" for name, size, value in left]
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"{sentence} Above it: {listed}."


@plots.styled
def plot_accuracy_against_parameters(ours, peers, title=None, limit=8_000):
    """Plot test accuracy against the number of parameters, on a logarithmic scale.

    `ours` holds (name, parameters, accuracies over seeds in per cent), `peers` holds (name,
    parameters, accuracy). Each of ours has a large point for the mean and small ones for the
    seeds. The area of at least 99.4 % with fewer than `limit` parameters is shaded. A line joins
    our best at each size; of ours, those on it are labelled.
    """
    figure = plots.new_figure(12, 7.5)
    axes = figure.subplots()
    means = [(name, size, statistics.mean(each), len(each)) for name, size, each in ours]
    line = frontier(ours)
    sizes = [size for _, size, _ in (*ours, *peers)]
    values = [*(value for *_, each in ours for value in each), *(value for *_, value in peers)]
    axes.set_xlim(min(sizes) / 2, max(sizes) * 2)
    axes.set_ylim(min(values) - 0.06, max(values) + 0.06)
    left, bottom = min(sizes) / 2, TARGET
    shade = {"color": plots.GREEN, "alpha": 0.1, "linewidth": 0, "zorder": 0}
    box = Rectangle((left, bottom), limit - left, max(values) + 0.06 - bottom, **shade)
    box.set_label(f"the exercise: at least {TARGET} % with fewer than {limit:,} parameters")
    axes.add_patch(box)
    for _, size, each in ours:
        axes.plot([size] * len(each), each, "o", color=plots.BLUE, alpha=0.35, markersize=4)
    axes.plot(
        [size for _, size, _, _ in means],
        [mean for _, _, mean, _ in means],
        "o",
        color=plots.BLUE,
        markersize=9,
        label="ours after the last epoch: mean, and every seed",
    )
    axes.plot(
        [size for _, size, _ in peers],
        [value for _, _, value in peers],
        "X",
        color=plots.ORANGE,
        markersize=8,
        label="published by others",
    )
    label = "our best at each size"
    axes.plot(*zip(*line, strict=True), color=plots.BLUE, linewidth=1, zorder=1, label=label)
    plots.log_scale(axes.xaxis, subs=(1, 3), form="{x:,.0f}")
    axes.set_xlabel("parameters")
    axes.set_ylabel("test accuracy (%)")
    figure.legend(loc="outside lower center", ncols=2)
    plots.tidy(axes, grid=None)
    if title:
        axes.set_title(title)
    texts = [
        (f"{name}\n{mean:.2f}, {seeds} seed{'s' * (seeds > 1)}", size, mean, plots.BLUE)
        for name, size, mean, seeds in means
        if (size, mean) in line
    ]
    texts += [(f"{name}\n{value:.2f}", size, value, plots.ORANGE) for name, size, value in peers]
    points = [(size, value) for _, size, each in ours for value in each]
    points += [(size, value) for _, size, value, _ in texts]
    for (left_size, low), (right_size, high) in itertools.pairwise(line):
        between = np.geomspace(left_size, right_size, 30), np.linspace(low, high, 30)
        points += zip(*between, strict=True)
    place_labels(axes, texts, points, edges=[((left, bottom), (limit, axes.get_ylim()[1]))])
    return figure


def corners_around(low, high, padding):
    """Return the corners of the box from one point to another, with padding all around."""
    return Bbox([low, high]).padded(padding).get_points()


def place_labels(axes, texts, points, edges=()):
    """Write each (text, x, y, colour) near its point without overlaps.

    A label takes the nearest free place, joined to its point by a line if that is not adjacent. No
    label covers one of `points` (x, y), or the lower or right edge of one of the boxes `edges`,
    ((left, bottom), (right, top)).
    """
    axes.figure.draw_without_rendering()  # the layout has to be known
    to_pixels, to_data = axes.transData.transform, axes.transData.inverted().transform
    unit = axes.figure.dpi / 72
    taken = [corners_around(spot, spot, 6 * unit) for spot in to_pixels(points)]
    for (left, bottom), (right, top) in map(to_pixels, edges):
        taken.append(corners_around((left, bottom), (right, bottom), unit))
        taken.append(corners_around((right, bottom), (right, top), unit))
    labels, inside = [], axes.get_window_extent()
    for text, x, y, colour in sorted(texts, key=lambda each: -each[2]):
        label = axes.annotate(
            text, (x, y), color=colour, size=plots.SMALL, ha="center", va="center"
        )
        label.set_in_layout(False)
        size, point = label.get_window_extent().size + 2 * unit, to_pixels((x, y))
        for place, line in places_around(point, size, unit):
            if (
                (inside.min <= place.min).all()
                and (place.max <= inside.max).all()
                and not place.count_overlaps(taken)
                and not any(other.contains(*spot) for other in labels for spot in line)
            ):
                break
        labels.append(place)
        taken += [place.get_points(), *(corners_around(spot, spot, unit) for spot in line[2:])]
        label.set_position(to_data((place.min + place.max) / 2))
        if np.linalg.norm(line[-1] - point) > 14 * unit:
            style = {"color": colour, "linewidth": 0.8, "alpha": 0.7, "zorder": 1}
            axes.plot(*to_data(line[[0, -1]]).T, **style)


def places_around(point, size, unit):
    """Yield Bboxes of a size around a point, nearest first, with the line to each, (20, 2)."""
    for distance in range(7, 400, 5):
        for angle in np.linspace(0, 2 * np.pi, 32, endpoint=False):
            direction = np.array([np.cos(angle), np.sin(angle)])
            centre = point + direction * (distance * unit + size / 2)
            place = Bbox([centre - size / 2, centre + size / 2])
            yield place, np.linspace(point, np.clip(point, place.min, place.max), 20)


def main():
    """Draw the picture and write it."""
    figure = plot_accuracy_against_parameters(*points())
    figure.savefig(HERE.parent / "docs" / "accuracy.png", dpi=150)


if __name__ == "__main__":
    main()
