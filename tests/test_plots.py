"""The pictures: what they show, and that they say nothing while they are drawn."""

import io
import warnings

import pytest
import torch
from matplotlib.figure import Figure

import model as networks
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


def drawn(figure):
    """Draw a figure with warnings as errors; return it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO(), format="png")
    assert isinstance(figure, Figure)
    return figure


def readings(*pairs):
    """Return log-probabilities and labels for pairs of (read, truth)."""
    outputs = torch.full((len(pairs), 10), 0.01)
    for k, (read, _) in enumerate(pairs):
        outputs[k, read] = 0.5 + 0.05 * k
    return outputs.log(), torch.tensor([truth for _, truth in pairs])


def test_validation_is_a_line_of_its_own():
    history = history_of([97.0, 98.0])
    history.val_loss, history.val_accuracy = [0.2, 0.1], [96.0, 97.5]
    accuracy = drawn(plots.plot_history(history)).axes[1]
    assert [line.get_label() for line in accuracy.get_lines()][1] == "validation"


@pytest.mark.parametrize("count, shape", [(1, (28, 28)), (10, (1, 28, 28)), (13, (28, 28))])
def test_digits(count, shape):
    images = torch.rand(count, *shape)
    figure = drawn(plots.plot_digits(images, list(range(count))))
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == [str(k) for k in range(count)]
    assert torch.equal(torch.as_tensor(shown[-1].images[0].get_array()), images[-1].squeeze())


@pytest.mark.parametrize("images, titles", [([], None), (torch.zeros(2, 28, 28), ["one"])])
def test_digits_and_titles_that_do_not_match(images, titles):
    with pytest.raises(ValueError, match="images and a title for each, got"):
        plots.plot_digits(images, titles)


def test_errors_with_the_surest_first():
    outputs, labels = readings((1, 1), (2, 3), (4, 4), (5, 6), (9, 8))
    figure = drawn(plots.plot_errors(torch.rand(5, 28, 28), outputs, labels, at_most=2))
    assert [axes.get_title() for axes in figure.axes] == ["9, 70 %\nis 8", "5, 65 %\nis 6"]
    right = readings((1, 1), (2, 2))
    text = drawn(plots.plot_errors(torch.rand(2, 28, 28), *right)).texts[0].get_text()
    assert text == "no error in 2 digits"


def test_confusion():
    outputs, labels = readings((1, 1), (1, 1), (7, 1), (2, 2))
    axes = drawn(plots.plot_confusion(outputs, labels)).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(1, 1): "2", (7, 1): "1", (2, 2): "1"}  # (read as, truth)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:3] == ["0   none", "1   66.67 %", "2   100.00 %"]
    own = Figure().subplots()
    assert plots.plot_confusion(outputs, labels, own) is own.figure


def test_layers():
    axes = drawn(plots.plot_layers(list(utils.trace(networks.Net4())))).axes[0]
    sizes, fields, _ = (list(line.get_ydata()) for line in axes.get_lines())
    assert sizes == [28, 28, 28, 14, 12, 10, 10, 5, 3, 3, 1, 1]
    assert fields == [3, 5, 5, 6, 10, 14, 18, 20, 28, 36, 44, 44]
    assert axes.get_xticklabels()[2].get_text() == "conv 1x1\n6"


def test_accuracy_against_parameters():
    ours = [("Net5", 7_216, [99.5, 99.6, 99.64]), ("small", 3_534, [99.4])]
    figure = drawn(plots.plot_accuracy_against_parameters(ours, [("a peer", 9_994, 99.61)]))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["a peer\n99.61", "Net5\n99.58, 3 seeds", "small\n99.40, 1 seed"]
