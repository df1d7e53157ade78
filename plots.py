"""Pictures of a run. Each function returns its matplotlib Figure and shows nothing by itself."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE = "#0072b2", "#d55e00"  # apart to a colour-blind eye, and in grey print


def plot_history(history, title=None):
    """Plot loss, accuracy and learning rate of a `utils.History` over its epochs."""
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)

    # Training is measured while weights move and images are augmented, testing after the epoch.
    test = "test (sample)" if history.source == "sample" else "test"
    for axes, name, train_values, test_values in (
        (loss, "Loss", history.train_loss, history.test_loss),
        (accuracy, "Accuracy (%)", history.train_accuracy, history.test_accuracy),
    ):
        axes.plot(epochs, train_values, "o--", color=ORANGE, markersize=3, label="train")
        axes.plot(epochs, test_values, "o-", color=BLUE, markersize=3, label=test)
        axes.set_title(name, loc="left")
        axes.legend(frameon=False)
    loss.set_yscale("log")
    accuracy.annotate(
        f"last {history.test_accuracy[-1]:.2f}",
        (epochs[-1], history.test_accuracy[-1]),
        xytext=(0, -14),
        textcoords="offset points",
        ha="right",
        color=BLUE,
    )
    rate.plot(epochs, history.learning_rate, "o-", color="black", markersize=3)
    rate.set_yscale("log")
    rate.set_title("Learning rate", loc="left")
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure
