"""Pictures of a run. Each function returns its matplotlib Figure and shows nothing by itself."""

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import nn

BLUE, ORANGE = "#0072b2", "#d55e00"  # apart to a colour-blind eye, and in grey print
LOCAL = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
ACCURACY_TICKS = (10, 50, 80, 90, 95, 98, 99, 99.5, 99.8)


def plot_history(history, title=None):
    """Plot loss, accuracy and learning rate of a `utils.History` over its epochs.

    Training is measured while weights move and images are augmented, testing after the epoch.
    Raises ValueError for a history without an epoch.
    """
    if len(history) == 0:
        raise ValueError("expected a history of at least one epoch, got none")
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)

    test = "test (sample)" if history.source == "sample" else "test"
    for axes, train_values, val_values, test_values, digits in (
        (loss, history.train_loss, history.val_loss, history.test_loss, 4),
        (accuracy, history.train_accuracy, history.val_accuracy, history.test_accuracy, 2),
    ):
        last = f"{test}, last {test_values[-1]:.{digits}f}"
        axes.plot(epochs, train_values, "o--", color=ORANGE, markersize=3, label="train")
        if val_values:
            axes.plot(epochs, val_values, ":", color="black", label="validation")
        axes.plot(epochs, test_values, "o-", color=BLUE, markersize=3, label=last)
        axes.legend(frameon=False)
    rate.step(epochs, history.learning_rate, "o-", color="black", markersize=3, where="mid")

    loss.set_title("Loss", loc="left")
    accuracy.set_title("Accuracy (%), stretched towards 100", loc="left")
    rate.set_title("Learning rate", loc="left")
    for axes in (loss, rate):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    stretch_towards_100(accuracy)
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


def stretch_towards_100(axes):
    """Scale an axis of accuracies by the logarithm of the error, where the last steps show."""
    low, high = axes.get_ylim()
    axes.set_yscale(
        "function",
        functions=(
            lambda accuracy: -np.log10(np.maximum(100.1 - accuracy, 1e-3)),
            lambda scaled: 100.1 - 10.0**-scaled,
        ),
    )
    axes.set_ylim(max(low, 0), min(high, 100))
    ticks = [tick for tick in ACCURACY_TICKS if low <= tick <= high]
    axes.set_yticks(ticks if len(ticks) > 1 else [round(low, 2), round(min(high, 100), 2)])
    axes.yaxis.set_major_formatter("{x:g}")


def plot_digits(images, titles=None, columns=10):
    """Show images, (N, 28, 28) or (N, 1, 28, 28) of any scale, in rows, each below its title.

    Raises ValueError for no image, or not a title for each.
    """
    images = [torch.as_tensor(image).squeeze().cpu() for image in images]
    titles = [""] * len(images) if titles is None else [str(title) for title in titles]
    if not images or len(titles) != len(images):
        raise ValueError(f"expected images and a title for each, got {len(images)}, {len(titles)}")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max(title.count("\n") + 1 for title in titles) if any(titles) else 0
    size = (0.95 * columns, (0.95 + 0.17 * lines) * rows)
    figure = Figure(figsize=size, layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, image, title in zip(figure.axes, images, titles, strict=False):
        axes.imshow(image.numpy(), cmap="gray_r")
        axes.set_title(title, fontsize="small", pad=2, parse_math=False)
    return figure


def plot_errors(images, outputs, labels, at_most=30):
    """Show the digits that were misread, the surest errors first: what was read, and the truth.

    Takes images (N, 28, 28) or (N, 1, 28, 28), log-probabilities (N, 10) and labels (N,).
    """
    probabilities, read = outputs.cpu().exp().max(dim=1)
    labels = labels.cpu()
    wrong = (read != labels).nonzero().flatten()
    if not len(wrong):
        figure = Figure(figsize=(3, 0.5))
        figure.text(0, 0.5, f"no error in {len(labels):,} digits")
        return figure
    wrong = wrong[probabilities[wrong].argsort(descending=True)][:at_most]
    titles = [f"{read[k]}, {100 * probabilities[k]:.0f} %\nis {labels[k]}" for k in wrong]
    return plot_digits([images[k] for k in wrong], titles)


def plot_confusion(outputs, labels, axes=None):
    """Plot how often each digit was read as which, and the accuracy of each, from (N, 10), (N,).

    The colours are of the errors alone, which the hits would drown.
    """
    labels, read = labels.cpu(), outputs.argmax(dim=1).cpu()
    counts = torch.bincount(10 * labels + read, minlength=100).view(10, 10).numpy()
    hits, totals = counts.diagonal(), counts.sum(axis=1)
    errors = counts - np.diag(hits)
    axes = axes or Figure(figsize=(6, 4.6), layout="constrained").subplots()
    axes.imshow(errors, cmap="Oranges", vmax=max(1.6 * errors.max(), 1))
    for truth, reading in np.ndindex(10, 10):
        if counts[truth, reading]:
            colour = "grey" if truth == reading else "black"
            text = counts[truth, reading]
            axes.text(reading, truth, text, ha="center", va="center", color=colour, size="small")
    accuracies = [
        f"{digit}   {100 * hit / total:.2f} %" if total else f"{digit}   none"
        for digit, (hit, total) in enumerate(zip(hits, totals, strict=True))
    ]
    axes.set_xticks(range(10))
    axes.set_yticks(range(10), accuracies)
    axes.set_xlabel("read as")
    axes.set_ylabel("digit, and how many of it were read right")
    axes.spines[:].set_visible(False)
    return axes.figure


def plot_layers(rows, title=None):
    """Plot size and receptive field behind each layer, from the rows of `utils.trace`.

    Elementwise layers, which change neither, are left out.
    """
    rows = [row for row in rows if isinstance(row.layer, LOCAL)]
    names = [f"{kind_of(row.layer)}\n{row.output_size[2]}" for row in rows]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    axes = figure.subplots()
    x = range(len(rows))
    sizes, fields = [row.output_size[0] for row in rows], [row.receptive_field for row in rows]
    for values, others, style, colour, name in (
        (sizes, fields, "s-", ORANGE, "height and width of the output"),
        (fields, sizes, "o-", BLUE, "receptive field"),
    ):
        axes.plot(x, values, style, color=colour, markersize=4, label=name)
        for position, (value, other) in enumerate(zip(values, others, strict=True)):
            place = {"xytext": (0, 5 if value >= other else -12), "textcoords": "offset points"}
            axes.annotate(
                value, (position, value), ha="center", size="small", color=colour, **place
            )
    axes.axhline(28, color="grey", linewidth=0.8, linestyle=":")
    axes.text(len(rows) - 0.6, 28, "the image", va="bottom", ha="right", size="small", color="grey")
    axes.set_xticks(x, names, size="small")
    axes.set_ylabel("pixels")
    axes.set_ylim(-4, 1.12 * max(*sizes, *fields, 28))  # room for labels below the lowest points
    axes.set_title(title or "Behind each layer (and its channels)", loc="left", fontsize="medium")
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def kind_of(layer):
    """Return what a layer is called under a plot."""
    if isinstance(layer, nn.Conv2d):
        return f"conv {layer.kernel_size[0]}x{layer.kernel_size[1]}"
    return "max-pool" if isinstance(layer, nn.MaxPool2d) else "average"


def plot_accuracy_against_parameters(ours, peers, title=None, axes=None):
    """Plot test accuracy against the number of parameters, on a logarithmic scale.

    `ours` holds (name, parameters, accuracies over seeds in per cent), `peers` holds (name,
    parameters, accuracy). Of ours, a large point is the mean and the small ones are the seeds.
    """
    axes = axes or Figure(figsize=(8, 4.4), layout="constrained").subplots()
    for name, parameters, accuracy in peers:
        axes.plot(parameters, accuracy, "x", color="black", markersize=7)
        side = "right" if parameters < max(point[1] for point in ours) else "left"
        label(axes, f"{name}\n{accuracy:g}", parameters, accuracy, side, "black")
    for name, parameters, accuracies in ours:
        mean = sum(accuracies) / len(accuracies)
        seeds = f"{len(accuracies)} seed{'s' * (len(accuracies) > 1)}"
        xs = [parameters] * len(accuracies)
        axes.plot(xs, accuracies, "o", color=BLUE, alpha=0.35, markersize=3.5)
        axes.plot(parameters, mean, "o", color=BLUE, markersize=7.5)
        label(axes, f"{name}\n{mean:.2f}, {seeds}", parameters, mean, "right", BLUE)
    axes.axhline(99.4, color="grey", linewidth=0.8, linestyle=":")
    every = [parameters for _, parameters, _ in (*ours, *peers)]
    axes.set_xscale("log")
    axes.set_xlim(min(every) / 1.5, max(every) * 1.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("parameters")
    axes.set_ylabel("test accuracy (%)")
    axes.plot([], [], "o", color=BLUE, label="ours after the last epoch: mean, and every seed")
    axes.plot([], [], "x", color="black", label="published by others")
    axes.figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize="small")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, loc="left", fontsize="medium")
    return axes.figure


def label(axes, text, x, y, side, colour):
    """Write beside a point: text that starts ("left") or ends ("right") there."""
    offset = 7 if side == "left" else -7
    place = {"xytext": (offset, 0), "textcoords": "offset points", "ha": side, "va": "center"}
    axes.annotate(text, (x, y), size="small", color=colour, **place)
