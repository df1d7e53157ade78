"""The pictures: what they show, that nothing overlaps, and that they are silent while drawn."""

import json
import warnings
from itertools import combinations

import accuracy
import pytest
import torch
from conftest import REPOSITORY
from matplotlib.figure import Figure
from torchvision import datasets

import layers
import model as networks
import plots
from history import History


def history_of(accuracies, source="full", split="test", rates=None):
    n, name = len(accuracies), {"test": "test", "validation": "val"}[split]
    return History(
        source=source,
        train_loss=[0.5 / k for k in range(1, n + 1)],
        train_accuracy=[accuracy - 0.3 for accuracy in accuracies],
        learning_rate=rates or [0.01] * n,
        seconds=[1.0] * n,
        **{f"{name}_loss": [0.3 / k for k in range(1, n + 1)], f"{name}_accuracy": accuracies},
    )


def drawn(figure):
    """Draw a figure with warnings as errors; return it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    assert isinstance(figure, Figure)
    return figure


def check_apart(texts):
    """Check that no two texts of a drawn figure overlap."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    for (first, box), (second, other) in combinations(boxes, 2):
        assert not box.overlaps(other), (first, second)


def legend_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize(
    "accuracies",
    [
        [98.0, 99.1, 99.43],
        [10.0, 60.0, 97.0],
        [99.15, 99.35, 99.2],
        [64.6],
        [99.9, 100.0],
        [0.3, 0.5],
    ],
    ids=str,
)
def test_history(accuracies):
    figure = drawn(plots.plot_history(history_of(accuracies), title="Net4"))
    loss, accuracy, rate = figure.axes
    train, test, best, target = accuracy.get_lines()
    assert list(test.get_ydata()) == accuracies
    assert train.get_linestyle() != test.get_linestyle()  # apart in grey print, too
    highest = max(accuracies)
    epoch = accuracies.index(highest) + 1
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (epoch, highest)
    assert set(target.get_ydata()) == {99.4}
    assert legend_of(accuracy)[1:3] == [
        f"test, last {accuracies[-1]:.2f}",
        f"best {highest:.2f}, epoch {epoch}",
    ]
    low, high = accuracy.get_ylim()
    assert low <= min(*accuracies, 99.4) <= max(*accuracies, 99.4) <= high
    assert len(accuracy.get_yticks()) >= 2
    assert len(loss.get_lines()[1].get_ydata()) == len(rate.get_lines()[0].get_ydata())
    for axes in figure.axes:
        check_apart(axes.get_xticklabels() + axes.get_yticklabels())


def test_the_sample_is_named():
    figure = plots.plot_history(history_of([97.0, 98.0], source="sample"))
    assert legend_of(figure.axes[1])[1] == "test (sample), last 98.00"


def test_another_data_set_is_named_and_has_no_target_of_mnist():
    other, mnist = history_of([87.0, 91.2], source="FashionMNIST"), history_of([99.0, 99.5])
    accuracy = drawn(plots.plot_history(other)).axes[1]
    assert legend_of(accuracy) == [
        "train",
        "test (FashionMNIST), last 91.20",
        "best 91.20, epoch 2",
    ]
    assert "target 99.4" not in legend_of(drawn(plots.plot_seeds({1: other})).axes[0])
    for histories, number in (([other], 0), ([other, mnist], 1)):
        figure = drawn(plots.plot_experiments([("a net", 7_216, each) for each in histories]))
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert names[0] == "a net (7,216, FashionMNIST)"
        labels = [line.get_label() for line in figure.axes[0].get_lines()]
        assert labels.count("target 99.4") == number


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="at least one epoch, got none"):
        plots.plot_history(History())


def test_a_run_without_the_test_set():
    figure = drawn(plots.plot_history(history_of([97.0, 98.0], split="validation")))
    assert legend_of(figure.axes[1])[1:3] == ["validation, last 98.00", "best 98.00, epoch 2"]


def test_validation_beside_the_test_set_is_a_line_of_its_own():
    history = history_of([97.0, 98.0])
    history.val_loss, history.val_accuracy = [0.2, 0.1], [96.0, 97.5]
    accuracy = drawn(plots.plot_history(history)).axes[1]
    assert legend_of(accuracy)[1:3] == ["validation, last 97.50", "test, last 98.00"]
    styles = {line.get_linestyle() for line in accuracy.get_lines()[:3]}
    assert len(styles) == 3


def predictions(*pairs):
    """Return log-probabilities and labels for pairs of (prediction, label)."""
    outputs = torch.full((len(pairs), 10), 0.01)
    for k, (prediction, _) in enumerate(pairs):
        outputs[k, prediction] = 0.5 + 0.05 * k
    outputs /= outputs.sum(dim=1, keepdim=True)
    return outputs.log(), torch.tensor([label for _, label in pairs])


@pytest.mark.parametrize("count, shape", [(1, (28, 28)), (10, (1, 28, 28)), (13, (28, 28))])
def test_digits(count, shape):
    images = torch.rand(count, *shape)
    figure = drawn(plots.plot_digits(images, list(range(count))))
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == [str(k) for k in range(count)]
    assert torch.equal(torch.as_tensor(shown[-1].images[0].get_array()), images[-1].squeeze())


@pytest.mark.parametrize("name", ["a photograph of my digit", "W" * 40, "$x_{$", "a\nb"])
def test_titles_stay_apart(name):
    titles = [f"{name}{k}.jpeg\n{k} (100 %)" for k in range(12)]
    figure = drawn(plots.plot_digits(torch.rand(12, 28, 28), titles))
    check_apart([axes.title for axes in figure.axes])
    ends = [axes.get_title().split("\n")[-2][-6:] for axes in figure.axes[:10]]
    assert ends == [f"{k}.jpeg" for k in range(10)]  # what tells files apart


@pytest.mark.parametrize("images, titles", [([], None), (torch.zeros(2, 28, 28), ["one"])])
def test_digits_and_titles_that_do_not_match(images, titles):
    with pytest.raises(ValueError, match="images and a title for each, got"):
        plots.plot_digits(images, titles)


def test_errors_with_the_most_confident_first():
    outputs, labels = predictions((1, 1), (2, 3), (4, 4), (5, 6), (9, 8))
    confidence = outputs.exp().max(dim=1).values
    expected = [
        f"{p} ({100 * confidence[k]:.0f} %)\nlabel {t}" for k, p, t in [(4, 9, 8), (3, 5, 6)]
    ]
    figure = drawn(plots.plot_errors(torch.rand(5, 28, 28), outputs, labels, at_most=2))
    assert [axes.get_title() for axes in figure.axes] == expected
    right = predictions((1, 1), (2, 2))
    text = drawn(plots.plot_errors(torch.rand(2, 28, 28), *right)).texts[0].get_text()
    assert text == "no error in 2 digits"


def test_logits_give_the_probabilities_of_softmax():
    logits = torch.zeros(1, 10)
    logits[0, 7] = 9.0
    figure = plots.plot_errors(torch.rand(1, 28, 28), logits, torch.tensor([1]))
    assert figure.axes[0].get_title() == "7 (100 %)\nlabel 1"


def test_confusion():
    outputs, labels = predictions((1, 1), (1, 1), (7, 1), (2, 2))
    axes = drawn(plots.plot_confusion(outputs, labels)).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(1, 1): "2", (7, 1): "1", (2, 2): "1"}  # (prediction, label)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:3] == ["0   none", "1   66.67 %", "2   100.00 %"]
    own = Figure().subplots()
    assert plots.plot_confusion(outputs, labels, own) is own.figure


FASHION = datasets.FashionMNIST.classes


def test_pictures_name_the_classes():
    outputs, labels = predictions((1, 1), (9, 6), (0, 0))
    errors = drawn(plots.plot_errors(torch.rand(3, 28, 28), outputs, labels, classes=FASHION))
    title = errors.axes[0].get_title().split("\n")
    assert [title[0], *title[2:]] == ["Ankle boot", "label", "Shirt"]
    axes = drawn(plots.plot_confusion(outputs, labels, classes=FASHION)).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == FASHION
    assert axes.get_yticklabels()[6].get_text() == "Shirt   0.00 %"
    check_apart(axes.get_xticklabels())
    axes = drawn(plots.plot_outputs({"net": outputs}, labels, classes=FASHION)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [FASHION[k] for k in (1, 6, 0)]
    for plot in (
        lambda: plots.plot_confusion(outputs, labels, classes=FASHION[:9]),
        lambda: plots.plot_errors(torch.rand(3, 28, 28), outputs, labels, classes=FASHION[:9]),
        lambda: plots.plot_outputs({"net": outputs}, labels, classes=FASHION[:9]),
    ):
        with pytest.raises(ValueError, match="10 names of classes, got 9"):
            plot()


@pytest.mark.parametrize("classes", [2, 47])
def test_confusion_follows_the_number_of_outputs(classes):
    outputs = torch.eye(classes)
    labels = torch.arange(classes).roll(1)
    axes = drawn(plots.plot_confusion(outputs, labels)).axes[0]
    assert axes.images[0].get_array().shape == (classes, classes)
    assert len(axes.texts) == classes
    check_apart(axes.get_xticklabels() + axes.get_yticklabels())
    assert len(drawn(plots.plot_outputs({"net": outputs}, labels)).axes[0].get_xticks()) == classes


@pytest.mark.parametrize("net", [networks.Net1, networks.Net4, networks.Net5])
def test_layers(net):
    axes = drawn(plots.plot_layers(layers.trace(net()))).axes[0]
    check_apart(axes.get_xticklabels())
    if net is networks.Net4:
        sizes, fields, _ = (list(line.get_ydata()) for line in axes.get_lines())
        assert sizes == [28, 28, 28, 14, 12, 10, 10, 5, 3, 3, 1, 1]
        assert fields == [3, 5, 5, 6, 10, 14, 18, 20, 28, 36, 44, 44]
        assert axes.get_xticklabels()[2].get_text() == "conv 1x1\n6"


def test_receptive_fields():
    rows = list(layers.trace(networks.Net1()))
    figure = drawn(plots.plot_receptive_fields(torch.rand(28, 28), [rows[0], rows[-1]]))
    for axes, side in zip(figure.axes, (3, 44), strict=True):
        field = axes.patches[1]
        assert (field.get_width(), field.get_height()) == (side, side)
        assert (field.get_x() + side / 2, field.get_y() + side / 2) == (14, 14)
        assert f"{side}x{side} pixels" in axes.get_title("left")
    check_apart(
        [text for axes in figure.axes for text in axes.get_children() if hasattr(text, "get_text")]
    )


def test_kernels():
    net = networks.Net4()
    figure = drawn(plots.plot_kernels(net))
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    weights = net.features[0][0].weight.detach()[:, 0]
    assert torch.equal(torch.stack([torch.as_tensor(each) for each in shown[:8]]), weights)


def test_feature_maps():
    net, image = networks.Net5().train(), torch.rand(1, 28, 28)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    figure = drawn(plots.plot_feature_maps(net, image))
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    first = net.eval().features[0](image[None])[0].detach()
    assert torch.equal(torch.as_tensor(shown[0]), first[0])
    last = net.features(image[None])[0].detach()
    assert torch.equal(torch.as_tensor(shown[-1]), last[-1])


def test_outputs_of_several_images():
    outputs = {"same": torch.zeros(3, 10), "apart": torch.eye(10)[:3] * 5}
    figure = drawn(plots.plot_outputs(outputs, [4, 5, 6]))
    same, apart, _ = figure.axes
    assert torch.allclose(torch.as_tensor(same.images[0].get_array()), torch.tensor(0.1))
    assert same.get_title("left") == "same: std over the images 0"
    assert apart.images[0].get_array().argmax(axis=1).tolist() == [0, 1, 2]
    assert [label.get_text() for label in apart.get_yticklabels()] == ["4", "5", "6"]


def test_range_test():
    rates = [0.001 * 1.2**k for k in range(50)]
    losses = [2.0 + 0.01 * k for k in range(50)]
    axes = drawn(plots.plot_range_test(rates, losses, [("a recipe", 0.01)])).axes[0]
    points, line, chosen = axes.get_lines()
    assert list(points.get_ydata()) == losses
    assert line.get_ydata()[0] == pytest.approx(sum(losses[:5]) / 5)
    assert line.get_xdata()[0] == rates[2]
    assert list(chosen.get_xdata()) == [0.01, 0.01]


def test_learning_rate():
    history = history_of([98.0, 98.5, 98.2], rates=[0.1, 0.1, 0.01])
    history.test_loss = [0.3, 0.1, 0.2]
    loss, rate = drawn(plots.plot_learning_rate(history)).axes
    assert list(rate.get_lines()[0].get_ydata()) == [0.1, 0.1, 0.01]
    assert list(loss.get_lines()[1].get_xdata()) == [1, 2]  # the lowest so far


def test_seeds():
    runs = {1: history_of([98.0, 98.5, 98.2], rates=[0.1, 0.1, 0.01]), 4: history_of([97.0] * 3)}
    accuracy, rate = drawn(plots.plot_seeds(runs, "a recipe")).axes
    assert legend_of(accuracy)[:2] == ["seed 1, last 98.20", "seed 4, last 97.00"]
    bars = [(bar.get_x(), bar.get_width()) for bar in rate.patches]
    assert bars == [(0.5, 2), (2.5, 1), (0.5, 3)]
    assert [text.get_text() for text in rate.texts] == ["0.1", "0.01"]  # where there is room


def test_gains():
    rows = [("sure", 0.1, 0.02), ("worse", -0.3, 0.05), ("nothing", 0.1, 0.06)]
    axes = drawn(plots.plot_gains(rows)).axes[0]
    colours = [bars[0].get_color() for bars in axes.containers]
    assert colours == [plots.BLUE, plots.ORANGE, plots.GREY]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sure", "worse", "nothing"]


@pytest.mark.parametrize("plot", [plots.plot_seeds, plots.plot_gains])
def test_results_that_are_not_there(plot):
    assert "repository" in drawn(plot({})).texts[0].get_text()


def test_experiments():
    runs = [("1.1 Net1", 257_354, history_of([38.1, 99.5, 99.2], source="sample"))]
    runs.append(("2.1 Net2", 19_942, history_of([98.0, 99.0])))
    axes = drawn(plots.plot_experiments(runs)).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["1.1 Net1 (257,354, sample)", "2.1 Net2 (19,942)"]
    values = {line.get_label(): list(line.get_xdata()) for line in axes.get_lines()}
    assert values["first epoch"] == [38.1, 98.0]
    assert values["best epoch"] == [99.5, 99.0]
    assert values["last epoch"] == [99.2, 99.0]
    with pytest.raises(ValueError, match="at least one experiment, got none"):
        plots.plot_experiments([])


class TestAccuracyAgainstParameters:
    def test_ours_and_others(self):
        ours = [("Net5", 7_216, [99.5, 99.6, 99.64]), ("small", 3_534, [99.4])]
        ours += [("Net5, width 9", 4_000, [99.3]), ("Net5, width 16", 12_210, [99.7])]
        axes = drawn(
            accuracy.plot_accuracy_against_parameters(ours, [("a peer", 9_994, 99.6)])
        ).axes[0]
        texts = {text.get_text() for text in axes.texts}
        of_ours = {"Net5\n99.58, 3 seeds", "small\n99.40, 1 seed", "Net5, width 16\n99.70, 1 seed"}
        assert texts == of_ours | {"a peer\n99.60"}  # no width below the line has a label
        (line,) = (line for line in axes.lines if line.get_label() == "our best at each size")
        assert list(line.get_xdata()) == [3_534, 7_216, 12_210]
        (box,) = axes.patches
        assert box.get_y() == 99.4
        assert box.get_x() + box.get_width() == 8_000

    def test_no_label_lies_over_another_or_over_a_point(self):
        ours, peers = accuracy.points()
        figure = drawn(accuracy.plot_accuracy_against_parameters(ours, peers))
        (axes,) = figure.axes
        check_apart(axes.texts)
        points = [(size, value) for _, size, values in ours for value in values]
        points += [(size, value) for _, size, value in peers]
        for text in axes.texts:
            box = text.get_window_extent()
            assert not any(box.contains(*spot) for spot in axes.transData.transform(points))
            low, high = box.transformed(axes.transData.inverted()).get_points()[:, 1]
            left, right = box.transformed(axes.transData.inverted()).get_points()[:, 0]
            assert not (low < 99.4 < high and left < 8_000)  # the box's edges
            assert not (left < 8_000 < right and high > 99.4)

    def test_what_is_measured(self):
        ours, peers = accuracy.points()
        found = {parameters: accuracies for _, parameters, accuracies in ours}
        best = json.loads((REPOSITORY / "benchmarks" / "results" / "net5-best.json").read_text())
        assert found[1_938]
        assert best["last_epoch"] in [accuracies for *_, accuracies in ours]
        assert ("the exercise", 7_216, 99.45) in peers

    def test_who_is_ahead_of_ours(self):
        ours = [("a", 1_000, [99.0, 99.2]), ("b", 3_000, [99.0]), ("c", 2_000, [99.5])]
        assert accuracy.frontier(ours) == [(1_000, pytest.approx(99.1)), (2_000, 99.5)]
        peers = [("equal", 2_000, 99.5), ("smaller", 1_999, 99.5), ("better", 9_000, 99.6)]
        peers += [("between", 1_414, 99.29), ("larger", 9_000, 99.5)]
        peers += [("smallest", 900, 90.0), ("worse", 1_000, 99.0)]
        left = ["smaller", "better", "smallest"]
        assert [name for name, *_ in accuracy.ahead(ours, peers)] == left
        sentence = accuracy.claim(ours, peers)
        assert [name for name, *_ in peers if f"{name} (" in sentence] == left

    def test_every_peer_has_a_source(self):
        peers = json.loads((REPOSITORY / "benchmarks" / "peers.json").read_text())
        assert all(peer["source"] and peer["epoch"] for peer in peers)
