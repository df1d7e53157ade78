"""Pictures of digits, networks, runs and results, large enough to be projected.

Each function returns its matplotlib Figure and shows nothing by itself. Colours are those of Okabe
and Ito, "Color Universal Design", which colour-blind people can tell apart; marks and line styles
differ as well.
"""

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import nn

from history import TARGET

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#5f5f5f"
COLOURS = (BLUE, ORANGE, GREEN, "#cc79a7", "#000000", "#e69f00", "#56b4e9")
LOCAL = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
ACCURACY_TICKS = (99, 99.5, 98, 95, 90, 50, 10, 99.8, 80, 97, 99.2, 99.6, 99.9, 99.7, 99.3, 98.5)
SIZE, SMALL = 13, 11  # points
TITLE_COLUMNS = 11  # characters of fixed width above a digit
STYLE = {
    "font.size": SIZE,
    "axes.titlesize": SIZE,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "text.parse_math": False,  # a $ in a file's name is a $
}

styled = rc_context(STYLE)  # a decorator: the style holds while a picture is made


def new_figure(width, height):
    """Return an empty Figure of a size in inches, which keeps its parts apart."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def message(text):
    """Return a picture of one sentence, in place of one for which there is nothing to show."""
    figure = Figure(figsize=(9, 0.5))
    figure.text(0, 0.5, text, va="center", fontsize=SIZE)
    return figure


def tidy(axes, grid="both"):
    """Set the size of tick labels, which matplotlib makes only when it draws; add a grid."""
    axes.tick_params(labelsize=SMALL)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, alpha=0.3)


def epochs_below(axes):
    """Label the x axis as epochs, in whole numbers."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def log_scale(axis, subs=(1, 2, 5), form="{x:g}"):
    """Make an axis logarithmic, with plain numbers at the ticks."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(form)
    axis.set_minor_formatter(NullFormatter())


def stretch_towards_100(axis):
    """Scale an axis of accuracies by the logarithm of the error, where the last steps show."""
    name, (low, high) = axis.axis_name, axis.get_view_interval()
    low, high = max(low, 0), min(100.1 - 0.9 * (100.1 - high), 100)
    axis.axes.set(**{f"{name}lim": (low, high)})
    getattr(axis.axes, f"set_{name}scale")("function", functions=(stretched, unstretched))
    ticks = []
    for tick in ACCURACY_TICKS:  # the rounder first
        room = 0.08 * (stretched(high) - stretched(low))
        apart = all(abs(stretched(tick) - stretched(other)) >= room for other in ticks)
        if low <= tick <= high and apart:
            ticks.append(tick)
    axis.set_ticks(ticks if len(ticks) > 1 else [round(low, 2), round(high, 2)])
    axis.set_major_formatter("{x:g}")


def stretched(accuracy):
    """Return where an accuracy in per cent lies on the stretched scale."""
    return -np.log10(np.maximum(100.1 - accuracy, 1e-3))


def unstretched(position):
    """Return the accuracy at a position of the stretched scale."""
    return 100.1 - 10.0**-position


# --- Digits --------------------------------------------------------------------------------------


@styled
def plot_digits(images, titles=None, columns=10):
    """Show images, (N, 28, 28) or (N, 1, 28, 28) of any scale, in rows, each below its title.

    A line that is too long, such as a file's name, loses its middle. Raises ValueError for no
    image, or not a title for each.
    """
    images = [torch.as_tensor(image).squeeze().cpu() for image in images]
    titles = [""] * len(images) if titles is None else [shortened(title) for title in titles]
    if not images or len(titles) != len(images):
        raise ValueError(f"expected images and a title for each, got {len(images)}, {len(titles)}")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max(title.count("\n") + 1 for title in titles) if any(titles) else 0
    figure = new_figure(1.1 * columns, (1.1 + 0.2 * lines) * rows)
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, image, title in zip(figure.axes, images, titles, strict=False):
        axes.imshow(image.numpy(), cmap="gray_r")
        axes.set_title(title, loc="center", fontsize=10, pad=3, family="monospace")
    return figure


def shortened(title):
    """Return a title whose lines fit above a digit: long ones without their middle."""
    start = TITLE_COLUMNS // 4 + 1  # the end tells files apart
    end = TITLE_COLUMNS - 1 - start
    return "\n".join(
        line if len(line) <= TITLE_COLUMNS else f"{line[:start]}…{line[-end:]}"
        for line in str(title).split("\n")
    )


@styled
def plot_errors(images, outputs, labels, at_most=30, classes=None):
    """Show the misclassified images, the most confident first: prediction, probability, label.

    Takes images (N, 28, 28) or (N, 1, 28, 28), log-probabilities or logits (N, C), labels (N,), and
    the names of the C classes, such as a dataset's `classes`; None numbers them.
    """
    names = class_names(classes, outputs)
    probabilities, predicted = outputs.cpu().softmax(dim=1).max(dim=1)
    labels = labels.cpu()
    wrong = (predicted != labels).nonzero().flatten()
    if not len(wrong):
        return message(f"no error in {len(labels):,} digits")
    wrong = wrong[probabilities[wrong].argsort(descending=True)][:at_most]
    gap = " " if classes is None else "\n"  # names need the width
    titles = [
        f"{names[predicted[k]]}{gap}({100 * probabilities[k]:.0f} %)\nlabel{gap}{names[labels[k]]}"
        for k in wrong
    ]
    return plot_digits([images[k] for k in wrong], titles)


@styled
def plot_confusion(outputs, labels, axes=None, classes=None):
    """Plot how often each class was predicted as which, and the accuracy of each.

    Takes log-probabilities or logits (N, C), labels (N,), and the names of the C classes, such as a
    dataset's `classes`; None numbers them. Only the errors are coloured; the correct predictions
    would outshine them.
    """
    names, n = class_names(classes, outputs), outputs.shape[1]
    labels, predicted = labels.cpu(), outputs.argmax(dim=1).cpu()
    counts = torch.bincount(n * labels + predicted, minlength=n * n).view(n, n).numpy()
    correct, totals = counts.diagonal(), counts.sum(axis=1)
    errors = counts - np.diag(correct)
    axes = axes or new_figure(max(8, 0.45 * n + 3), max(6, 0.35 * n)).subplots()
    axes.imshow(errors, cmap="Oranges", vmax=max(1.6 * errors.max(), 1), aspect="auto")
    for label, prediction in np.ndindex(n, n):
        if count := counts[label, prediction]:
            colour = GREY if label == prediction else "black"
            axes.text(prediction, label, count, ha="center", va="center", color=colour)
    accuracies = [
        f"{name}   {100 * right / total:.2f} %" if total else f"{name}   none"
        for name, right, total in zip(names, correct, totals, strict=True)
    ]
    rotation = 90 if max(map(len, names)) > 3 else 0
    axes.set_xticks(range(n), names, rotation=rotation)
    axes.set_yticks(range(n), accuracies)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label, and how many were correct")
    axes.spines[:].set_visible(False)
    tidy(axes, grid=None)
    return axes.figure


def class_names(classes, outputs):
    """Return the names of the classes of outputs (N, C) as text; ValueError unless they are C."""
    names = range(outputs.shape[1]) if classes is None else classes
    if len(names) != outputs.shape[1]:
        raise ValueError(f"expected {outputs.shape[1]} names of classes, got {len(names)}")
    return [str(name) for name in names]


# --- Networks ------------------------------------------------------------------------------------


@styled
def plot_layers(rows, title=None):
    """Plot the output size and the receptive field after each layer, from rows of `layers.trace`.

    Elementwise layers, which change neither, are left out.
    """
    rows = [row for row in rows if isinstance(row.layer, LOCAL)]
    names = [f"{kind_of(row.layer)}\n{row.output_size[2]}" for row in rows]
    figure = new_figure(12.5, 4.2)
    axes = figure.subplots()
    x = range(len(rows))
    sizes, fields = [row.output_size[0] for row in rows], [row.receptive_field for row in rows]
    for values, others, style, colour, name in (
        (sizes, fields, "s-", ORANGE, "height and width of the output"),
        (fields, sizes, "o-", BLUE, "receptive field"),
    ):
        axes.plot(x, values, style, color=colour, markersize=5, label=name)
        for position, (value, other) in enumerate(zip(values, others, strict=True)):
            place = {"xytext": (0, 6 if value >= other else -16), "textcoords": "offset points"}
            axes.annotate(value, (position, value), ha="center", size=SMALL, color=colour, **place)
    axes.axhline(28, color="grey", linewidth=0.8, linestyle=":", label="side of the image, 28")
    axes.set_xticks(x, names)
    axes.set_ylabel("pixels")
    axes.set_ylim(-5, 1.35 * max(*sizes, *fields, 28))  # room for the legend, and for labels below
    axes.set_title(title or "After each layer (below: kind, and number of channels)")
    axes.legend(loc="upper left", ncols=3)
    tidy(axes, grid=None)
    axes.tick_params(axis="x", labelsize=10)
    return figure


def kind_of(layer):
    """Return what a layer is called in a picture."""
    if isinstance(layer, nn.Conv2d):
        return f"conv {layer.kernel_size[0]}x{layer.kernel_size[1]}"
    if isinstance(layer, nn.Sequential):
        return kind_of(next(part for part in layer if isinstance(part, LOCAL)))
    return "max-pool" if isinstance(layer, nn.MaxPool2d) else "average"


@styled
def plot_receptive_fields(image, rows):
    """Draw the receptive field of each row of `layers.trace` on an image, (28, 28) or (1, 28, 28).

    The field is that of an output in the middle; what lies outside the image is padding.
    """
    image, rows = torch.as_tensor(image).squeeze().cpu(), list(rows)
    height, width = image.shape
    reach = max(height, *(row.receptive_field for row in rows)) / 2 + 1
    figure = new_figure(3.4 * len(rows), 4)
    for axes, row, colour in zip(
        figure.subplots(1, len(rows), squeeze=False)[0], rows, COLOURS * len(rows), strict=False
    ):
        axes.imshow(image.numpy(), cmap="gray_r", extent=(0, width, height, 0))
        axes.add_patch(Rectangle((0, 0), width, height, fill=False, color=GREY, linewidth=0.8))
        field = row.receptive_field
        corner = ((width - field) / 2, (height - field) / 2)
        axes.add_patch(Rectangle(corner, field, field, fill=False, color=colour, linewidth=3))
        axes.add_patch(Rectangle(corner, field, field, color=colour, alpha=0.15))
        axes.set_xlim(width / 2 - reach, width / 2 + reach)
        axes.set_ylim(height / 2 + reach, height / 2 - reach)
        size = "x".join(str(side) for side in row.output_size)
        axes.set_title(f"{kind_of(row.layer)}, output {size}\nsees {field}x{field} pixels")
        axes.set_axis_off()
    return figure


@styled
def plot_kernels(net, title="Kernels of the first convolution"):
    """Show the kernels of a network's first convolution: blue is negative, red positive."""
    first = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    kernels = first.weight.detach().float().cpu()[:, 0]
    limit = kernels.abs().max().item()
    figure = new_figure(1.1 * len(kernels) + 0.9, 1.7)
    row = figure.subplots(1, len(kernels), squeeze=False)[0]
    for axes, kernel in zip(row, kernels, strict=True):
        shown = axes.imshow(kernel.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_axis_off()
    bar = figure.colorbar(shown, ax=list(row), fraction=0.02)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(title, x=0.01, ha="left", fontsize=SIZE)
    return figure


@styled
@torch.no_grad()
def plot_feature_maps(net, image):
    """Show every channel after every layer of `net.features` for an image (1, 28, 28).

    The network is evaluated in eval mode and left in its own. Each map has its own scale.
    """
    device, training = next(net.parameters()).device, net.training
    net.eval()
    maps, outputs = [], torch.as_tensor(image).to(device).reshape(1, 1, 28, 28)
    for layer in net.features:
        outputs = layer(outputs)
        maps.append((kind_of(layer), outputs[0].float().cpu()))
    net.train(training)
    columns = 1 + max(len(channels) for _, channels in maps)
    figure = new_figure(0.95 * columns, 0.92 * len(maps))
    grid = figure.subplots(len(maps), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (kind, channels) in zip(grid, maps, strict=True):
        size = f"{channels.shape[1]}x{channels.shape[2]}x{channels.shape[0]}"
        row[0].text(1, 0.5, f"{kind}\n{size}", ha="right", va="center", fontsize=10)
        for axes, channel in zip(row[1:], channels, strict=False):
            axes.imshow(channel.numpy(), cmap="gray_r")
    return figure


@styled
def plot_outputs(outputs, labels, classes=None):
    """Plot the probabilities of several images, a row each, for each of several networks.

    `outputs` holds log-probabilities or logits (N, C) by the name of their network, `labels` (N,)
    are those of the images, `classes` the names of the C classes, or None for digits. The title
    gives the std over the images, averaged over the classes.
    """
    figure = new_figure(5.4 * len(outputs) + 0.8, 4.6)
    row = figure.subplots(1, len(outputs), squeeze=False)[0]
    every = {name: each.detach().float().cpu().softmax(dim=1) for name, each in outputs.items()}
    limit = max(each.max().item() for each in every.values())
    for axes, (name, probabilities) in zip(row, every.items(), strict=True):
        shown = axes.imshow(probabilities.numpy(), cmap="Blues", vmin=0, vmax=limit, aspect="auto")
        axes.set_title(f"{name}: std over the images {probabilities.std(dim=0).mean():.1g}")
        names = class_names(classes, probabilities)
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(len(labels)), [names[label] for label in labels])
        axes.set_xlabel(f"probability of each {'digit' if classes is None else 'class'}")
        axes.set_ylabel("label of the image")
        tidy(axes, grid=None)
    figure.colorbar(shown, ax=list(row)).ax.tick_params(labelsize=SMALL)
    return figure


# --- Runs ----------------------------------------------------------------------------------------


def draw_target(line, histories):
    """Draw MNIST's target by `axhline` or `axvline`, unless all histories are of other data."""
    if not all(history.data_set for history in histories):
        line(TARGET, color=GREY, linewidth=1.2, linestyle=":", label=f"target {TARGET}")


@styled
def plot_history(history, title=None):
    """Plot loss, accuracy and learning rate of a `History` over its epochs.

    A star marks the best epoch, a line the target of 99.4 %. Training is measured while weights
    move and images are augmented, the rest after the epoch. Raises ValueError for a history
    without an epoch.
    """
    if len(history) == 0:
        raise ValueError("expected a history of at least one epoch, got none")
    epochs = range(1, len(history) + 1)
    figure = new_figure(14, 4.4)
    loss, accuracy, rate = figure.subplots(1, 3)
    for axes, measure, digits in ((loss, "loss", 4), (accuracy, "accuracy", 2)):
        train = getattr(history, f"train_{measure}")
        axes.plot(epochs, train, "o--", color=ORANGE, markersize=4, label="train")
        for split, name, style in (("val", "validation", "s-."), ("test", "test", "o-")):
            if values := getattr(history, f"{split}_{measure}"):
                text = f"{name}{history.mark}, last {values[-1]:.{digits}f}"
                colour = BLUE if name == history.split else GREEN
                axes.plot(epochs, values, style, color=colour, markersize=4, label=text)
    best, value = history.best_epoch, max(history.accuracy)
    star = f"best {value:.2f}, epoch {best}"
    accuracy.plot(best, value, "*", color="black", markersize=13, label=star, zorder=3)
    draw_target(accuracy.axhline, [history])
    rate.step(epochs, history.learning_rate, "o-", color="black", markersize=4, where="mid")

    loss.set_title("Loss")
    accuracy.set_title("Accuracy (%), stretched towards 100")
    rate.set_title("Learning rate")
    log_scale(loss.yaxis)
    log_scale(rate.yaxis)
    stretch_towards_100(accuracy.yaxis)
    for axes in (loss, accuracy, rate):
        epochs_below(axes)
        tidy(axes)
    loss.legend()
    accuracy.legend()
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=SIZE + 1)
    return figure


@styled
def plot_range_test(rates, losses, chosen=()):
    """Plot a learning-rate range test, as `experiments.range_test` returns it.

    The line is the mean over five neighbouring steps; `chosen` holds (name, rate) to be marked.
    """
    figure = new_figure(9, 4.4)
    axes = figure.subplots()
    axes.plot(rates, losses, ".", color=GREY, markersize=5, label="loss of a batch")
    smooth = np.convolve(losses, np.ones(5) / 5, mode="valid")
    axes.plot(rates[2 : 2 + len(smooth)], smooth, color=BLUE, linewidth=2, label="mean of five")
    styles = ("--", ":", "-.")
    for (name, rate), colour, style in zip(chosen, COLOURS[1:], styles, strict=False):
        axes.axvline(rate, color=colour, linestyle=style, linewidth=2, label=f"{name}: {rate:g}")
    log_scale(axes.xaxis, subs=(1,))
    axes.set_ylim(0, 1.3 * max(losses[:10]))
    axes.set_xlabel("learning rate, raised after every batch")
    axes.set_ylabel("training loss")
    axes.legend(loc="lower left")
    tidy(axes)
    return figure


@styled
def plot_learning_rate(history, title=None):
    """Plot the staircase of a schedule, and the loss that it watches, from a `History`."""
    epochs = range(1, len(history) + 1)
    figure = new_figure(11, 4.4)
    axes = figure.subplots()
    axes.plot(epochs, history.loss, "o-", color=BLUE, label=f"{history.split} loss", markersize=5)
    low = np.minimum.accumulate(history.loss)
    better = [epoch for epoch in epochs if history.loss[epoch - 1] == low[epoch - 1]]
    lows = [history.loss[epoch - 1] for epoch in better]
    axes.plot(better, lows, "*", color="black", markersize=13, label="lowest so far")
    log_scale(axes.yaxis)
    axes.set_ylabel("loss", color=BLUE)
    epochs_below(axes)
    rate = axes.twinx()
    rate.step(
        epochs,
        history.learning_rate,
        color=ORANGE,
        linewidth=3,
        where="mid",
        label="learning rate",
    )
    rate.spines["right"].set_visible(True)
    log_scale(rate.yaxis, subs=(1,))
    lowest, highest = min(history.learning_rate), max(history.learning_rate)
    rate.set_ylim(lowest / 3, highest * 3)
    rate.set_ylabel("learning rate", color=ORANGE)
    tidy(axes)
    tidy(rate, grid=None)
    figure.legend(loc="outside lower center", ncols=3)
    if title:
        axes.set_title(title)
    return figure


# --- Results -------------------------------------------------------------------------------------


@styled
def plot_seeds(histories, title=None):
    """Plot accuracy and learning rate of a recipe over several seeds: {seed: History}.

    On the right, a bar for each seed changes its colour where the learning rate changes.
    """
    if not histories:
        return message("Results over several seeds come with the repository, which is not here.")
    figure = new_figure(14, 4.8)
    accuracy, rate = figure.subplots(1, 2)
    lowest = min(min(history.learning_rate) for history in histories.values())
    highest = max(max(history.learning_rate) for history in histories.values())
    span = max(np.log10(highest / lowest), 1)
    for position, (seed, history) in enumerate(histories.items()):
        epochs, colour = range(1, len(history) + 1), COLOURS[position % len(COLOURS)]
        name = f"seed {seed}, last {history.accuracy[-1]:.2f}"
        style = "osD^v"[position % 5] + "-"
        accuracy.plot(epochs, history.accuracy, style, color=colour, markersize=4, label=name)
        for first, length, value in constant_parts(history.learning_rate):
            shade = 0.15 + 0.65 * np.log10(highest / value) / span
            rate.barh(position, length, left=first - 0.5, color=str(shade), height=0.75)
            if length >= 2:
                ink = "white" if shade < 0.5 else "black"
                x = first - 0.5 + length / 2
                rate.text(x, position, f"{value:.3g}", ha="center", va="center", color=ink)
    draw_target(accuracy.axhline, histories.values())
    stretch_towards_100(accuracy.yaxis)
    accuracy.legend(loc="lower right")
    accuracy.set_title("Test accuracy (%), stretched towards 100")
    rate.set_title("Learning rate")
    rate.set_yticks(range(len(histories)), [f"seed {seed}" for seed in histories])
    rate.set_xlim(0.5, max(map(len, histories.values())) + 0.5)
    rate.invert_yaxis()
    tidy(accuracy)
    tidy(rate, grid=None)
    for axes in (accuracy, rate):
        epochs_below(axes)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=SIZE + 1)
    return figure


def constant_parts(values):
    """Yield (first epoch, number of epochs, value) for each stretch of equal values."""
    starts = [k for k, value in enumerate(values) if k == 0 or value != values[k - 1]]
    for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
        yield start + 1, end - start, values[start]


@styled
def plot_gains(rows, title=None):
    """Plot what each choice gained: (name, gain, standard error), in percentage points.

    Bars are two standard errors to either side; a choice whose bar reaches 0 is grey.
    """
    if not rows:
        return message("The ablation comes with the repository, which is not here.")
    figure = new_figure(11, 0.42 * len(rows) + 1.4)
    axes = figure.subplots()
    for position, (_, gain, error) in enumerate(rows):
        sure = abs(gain) > 2 * error
        colour, mark = ((BLUE, "o") if gain > 0 else (ORANGE, "s")) if sure else (GREY, "D")
        axes.errorbar(gain, position, xerr=2 * error, fmt=mark, color=colour, capsize=4, lw=2)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("gain in accuracy (percentage points), ± 2 standard errors")
    tidy(axes)
    if title:
        axes.set_title(title)
    return figure


@styled
def plot_experiments(experiments, title=None):
    """Plot first, best and last accuracy of experiments: (name, parameters, History)."""
    if not experiments:
        raise ValueError("expected at least one experiment, got none")
    figure = new_figure(12.5, 0.5 * len(experiments) + 1.8)
    axes = figure.subplots()
    names, rows = [], range(len(experiments))
    for name, parameters, history in experiments:
        mark = f", {history.mark[2:-1]}" if history.mark else ""
        names.append(f"{name} ({parameters:,}{mark})")
    histories = [history for _, _, history in experiments]
    first = [history.accuracy[0] for history in histories]
    last = [history.accuracy[-1] for history in histories]
    axes.hlines(rows, first, last, color="lightgrey", linewidth=4, zorder=1)
    for values, mark, colour, size, label in (
        (first, "s", GREEN, 9, "first epoch"),
        ([history.train_accuracy[-1] for history in histories], "X", ORANGE, 10, "last, train"),
        (last, "o", BLUE, 13, "last epoch"),
        ([max(history.accuracy) for history in histories], "*", "black", 10, "best epoch"),
    ):
        axes.plot(values, rows, mark, color=colour, markersize=size, label=label)
    draw_target(axes.axvline, histories)
    stretch_towards_100(axes.xaxis)
    axes.set_yticks(rows, names)
    axes.set_ylim(len(experiments) - 0.5, -0.5)
    axes.set_xlabel("accuracy (%), stretched towards 100")
    tidy(axes)
    figure.legend(loc="outside lower center", ncols=5)
    if title:
        axes.set_title(title)
    return figure
