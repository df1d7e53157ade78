"""Pictures of a run. Each function returns its matplotlib Figure and shows nothing by itself."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

BLUE, ORANGE = "#0072b2", "#d55e00"  # apart to a colour-blind eye, and in grey print
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
