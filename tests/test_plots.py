"""The pictures: what they show, and that they say nothing while they are drawn."""

import io
import warnings

import pytest
from matplotlib.figure import Figure

import plots
import utils


def history_of(accuracies, source="full"):
    n = len(accuracies)
    return utils.History(
        source=source,
        train_loss=[0.5 / k for k in range(1, n + 1)],
        train_accuracy=[accuracy - 0.3 for accuracy in accuracies],
        test_loss=[0.3 / k for k in range(1, n + 1)],
        test_accuracy=accuracies,
        learning_rate=[0.01] * n,
        seconds=[1.0] * n,
    )


@pytest.mark.parametrize(
    "accuracies",
    [
        [98.0, 99.1, 99.43],
        [10.0, 60.0, 97.0],
        [99.15, 99.2, 99.35],
        [64.6],
        [99.9, 100.0],
        [0.3, 0.5],
    ],
    ids=str,
)
def test_history(accuracies):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.plot_history(history_of(accuracies), title="Net4")
        figure.savefig(io.BytesIO(), format="png")
    assert isinstance(figure, Figure)
    loss, accuracy, rate = figure.axes
    train, test = accuracy.get_lines()
    assert list(test.get_ydata()) == accuracies
    assert train.get_linestyle() != test.get_linestyle()  # apart in grey print, too
    assert accuracy.get_legend().get_texts()[1].get_text() == f"test, last {accuracies[-1]:.2f}"
    low, high = accuracy.get_ylim()
    assert low <= min(accuracies) <= max(accuracies) <= high
    assert len(accuracy.get_yticks()) >= 2
    assert len(loss.get_lines()[1].get_ydata()) == len(rate.get_lines()[0].get_ydata())


def test_the_sample_is_named():
    figure = plots.plot_history(history_of([97.0, 98.0], source="sample"))
    assert "test (sample)" in figure.axes[1].get_legend().get_texts()[1].get_text()


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="at least one epoch, got none"):
        plots.plot_history(utils.History())
