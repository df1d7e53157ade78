"""One experiment: a network, a recipe, a seed and data, put together and trained.

`run` is the one place that does it, for the notebooks, the command lines and the benchmarks. `keep`
and `results_table` put the notebooks' experiments side by side.
"""

import inspect
import json
from dataclasses import asdict, dataclass, field
from itertools import chain, repeat
from pathlib import Path

import torch
from torch import nn

import utils
from recipes import Recipe

HERE = Path(__file__).resolve().parent
KEPT, RESULTS = Path("runs", "steps"), HERE / "benchmarks" / "results"


@dataclass
class Experiment:
    """A network with everything that trains it; `fit` fills the `history`.

    `test_loader` or `val_loader` is None if that set is not evaluated, `scheduler` and `averaged`
    (the EMA, a torch AveragedModel) if the recipe has none.
    """

    net: nn.Module
    recipe: Recipe
    epochs: int
    device: torch.device
    train_loader: object
    test_loader: object
    val_loader: object
    optimizer: torch.optim.Optimizer
    scheduler: object
    averaged: nn.Module | None
    history: utils.History = field(default_factory=utils.History)

    @property
    def evaluated(self):
        """The network whose weights are evaluated: the EMA if there is one."""
        return self.net if self.averaged is None else self.averaged

    @property
    def parameters(self):
        """The number of the network's parameters."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    def fit(self, compile=False, **options):
        """Train, through torch.compile if asked; `options` are those of `utils.fit`."""
        utils.fit(
            torch.compile(self.net) if compile else self.net,
            self.device,
            self.train_loader,
            self.test_loader,
            self.optimizer,
            self.epochs,
            self.scheduler,
            val_loader=self.val_loader,
            averaged=self.averaged,
            loss_function=self.recipe.loss_function,
            history=self.history,
            **options,
        )


def prepare(
    net,
    recipe,
    *,
    seed=1,
    epochs=None,
    batch_size=None,
    val_size=0,
    split="test",
    root=None,
    source="auto",
    device="auto",
):
    """Return an Experiment that is ready to train. The seed decides all that is random in it.

    `net` is called for a network, such as `Net5` or `partial(Net5, width=8)`; `recipe` is a Recipe.
    With `val_size`, so many training images are held out (and drive ReduceLROnPlateau); with
    `split` "validation" they alone are evaluated, and the test set is not read. `epochs` and
    `batch_size` None take the recipe's; `root`, `source` and `device` are `utils.data_loader`'s.

    Raises TypeError, ValueError, FileNotFoundError or RuntimeError for what cannot be met.
    """
    epochs = recipe.epochs if epochs is None else epochs
    epochs = utils.check_integer("epochs", epochs, minimum=1)
    val_size = utils.check_integer("val_size", val_size, minimum=0)
    if split not in ("test", "validation"):
        raise ValueError(f"expected split 'test' or 'validation', got {split!r}")
    if split == "validation" and not val_size:
        raise ValueError("expected val_size of at least 1 for split 'validation', got 0")
    device = utils.get_device(device)
    utils.keep_freed_memory()
    utils.set_seed(seed)
    given = (
        recipe.train_transforms,
        recipe.test_transforms,
        recipe.batch_size if batch_size is None else batch_size,
    )
    where = {"root": root, "source": source, "device": device, "seed": seed}
    test_loader = val_loader = None
    if val_size:
        train_loader, _, val_loader, _ = utils.data_loader(*given, val_size=val_size, **where)
    if split == "test":
        whole_loader, _, test_loader, _ = utils.data_loader(*given, **where)
        train_loader = train_loader if val_size else whole_loader
    net = utils.to_device(net(), device)
    optimizer = recipe.optimizer(net.parameters())
    return Experiment(
        net=net,
        recipe=recipe,
        epochs=epochs,
        device=device,
        train_loader=train_loader,
        test_loader=test_loader,
        val_loader=val_loader,
        optimizer=optimizer,
        scheduler=recipe.scheduler(optimizer, epochs, len(train_loader)),
        averaged=recipe.averaged(net),
    )


def run(net, recipe, *, progress=None, verbose=True, **settings):
    """Train a network by a recipe and return the Experiment; `settings` are those of `prepare`."""
    experiment = prepare(net, recipe, **settings)
    experiment.fit(progress=progress, verbose=verbose)
    return experiment


def range_test(net, recipe, *, lowest=1e-3, highest=10.0, steps=80, **settings):
    """Return learning rates and the training loss of a batch at each, as the rate rises.

    From `lowest` to `highest` by the same factor after every batch; it ends where the loss is not
    finite. Takes the nets, recipes and `settings` of `prepare`, and leaves nothing trained behind.
    Raises what `prepare` raises, and ValueError for rates that do not rise.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
    """
    steps = utils.check_integer("steps", steps, minimum=2)
    if not 0 < lowest < highest:
        raise ValueError(f"expected 0 < lowest < highest, got {lowest!r} and {highest!r}")
    experiment = prepare(net, recipe, **settings)
    batches = chain.from_iterable(repeat(experiment.train_loader))
    factor, rates, losses = (highest / lowest) ** (1 / (steps - 1)), [], []
    for step in range(steps):
        for group in experiment.optimizer.param_groups:
            group["lr"] = lowest * factor**step
        batch = [next(batches)]
        try:
            metrics = utils.train_model(
                experiment.net,
                experiment.device,
                batch,
                experiment.optimizer,
                1,
                loss_function=recipe.loss_function,
                progress=False,
            )
        except FloatingPointError:
            break
        rates.append(lowest * factor**step)
        losses.append(metrics.loss)
    return rates, losses


def code_of(*definitions):
    """Return the source of classes and functions as a Markdown block."""
    sources = (inspect.getsource(definition) for definition in definitions)
    return "```python\n" + "\n\n".join(sources) + "```"


def swept(name, folder=RESULTS):
    """Return the histories of a sweep in benchmarks/results/ by seed; none where it is missing."""
    contents = [json.loads(path.read_text()) for path in Path(folder, name).glob("seed-*.json")]
    runs = {each["settings"]["seed"]: utils.History(**each["history"]) for each in contents}
    return dict(sorted(runs.items()))


def gains(choices, folder=RESULTS):
    """Return (title, gain, standard error) of rows of the ablation, in percentage points.

    `choices` holds titles by the names of rows, see benchmarks/results/ablation.md. Returns none
    where the ablation is missing.
    """
    path = Path(folder, "ablation.json")
    rows = json.loads(path.read_text()) if path.exists() else {}
    return [
        (title, rows[name]["gain"], rows[name]["gain_error"])
        for name, title in choices.items()
        if name in rows
    ]


def keep(name, net, history, folder=KEPT):
    """Write an experiment's result, over an earlier one of as many epochs on the same data.

    Names such as "2.1 Net2" put the experiments in order. Raises ValueError for a history without
    an epoch, or a name that cannot be a file's.
    """
    if len(history) == 0:
        raise ValueError(f"expected a history of at least one epoch for {name!r}, got none")
    path = Path(folder, f"{name}, {history.source}, {len(history)} epochs.json")
    if not name or path.parent != Path(folder):
        raise ValueError(f"expected a name that can be a file's, got {name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    content = {"name": name, "parameters": parameters, "history": asdict(history)}
    utils.write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")


def kept(folder=KEPT):
    """Return the kept experiments in the order of their names: name, parameters, History."""
    contents = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    return [
        (content["name"], content["parameters"], utils.History(**content["history"]))
        for content in contents
    ]


def results_table(folder=KEPT):
    """Return the kept experiments as a Markdown table, accuracies as percentages.

    The seconds are the median over epochs; results on the sample say so.
    """
    lines = [
        "| experiment | parameters | epochs | best test | last train | last test | s an epoch |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, parameters, history in kept(folder):
        mark = " (sample)" if history.source == "sample" else ""
        best = f"{max(history.accuracy):.2f} (epoch {history.best_epoch})"
        seconds = sorted(history.seconds)[len(history) // 2]
        lines.append(
            f"| {name}{mark} | {parameters:,} | {len(history)} | {best} | "
            f"{history.train_accuracy[-1]:.2f} | {history.accuracy[-1]:.2f} | {seconds:.1f} |"
        )
    return "\n".join(lines)
