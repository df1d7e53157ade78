"""Measure what each choice in Net5 and its recipe gains on validation images, over 3 to 5 seeds.

    python benchmarks/ablation.py [--root FOLDER] [--only ROW ...]

Every row is trained on 50,000 of the training images and evaluated on the 10,000 held out; a seed
gives the same split in every row, and the test set is not used. In the rows named `plateau`,
ReduceLROnPlateau is stepped with the loss on the images that also evaluate them, as in the
exercise. Writes each run to results/ablation/, and all rows with at least three seeds to
results/ablation.md and ablation.json.
"""

import json
import statistics
import sys
from dataclasses import dataclass, replace
from functools import partial

from seeds import RESULTS, Run, caption, cores, either, seed_list, summary, train_all, write
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from checks import check_integer
from data import find_mnist
from history import TARGET
from model import Net4, Net5
from options import OneLineParser, run_main
from recipes import Recipe, moving_average, normalised, on_plateau, one_cycle
from report import markdown_table


@dataclass(frozen=True)
class Choices:
    """Everything that was tried with Net4's layers; the defaults are the row `start`."""

    blur: bool = False  # anti-aliased pooling: Net5, which takes no dropout
    dropout: float = 0.0
    batch_norm_first: bool = False  # BatchNorm before ReLU
    activation: type = nn.ReLU
    padding: bool = False  # in all convolutions of the second stage, which keeps it at 14x14
    rotation: float = 10  # degrees, in both directions
    shift: float = 0.07  # of the side, horizontally and vertically
    scale: float = 0.1  # 0.9 to 1.1
    shear: float = 6  # degrees, in both directions
    elastic: float = 0.0  # ElasticTransform's alpha
    share: float = 1.0  # of the images that are augmented
    interpolation: InterpolationMode = InterpolationMode.BILINEAR
    plateau: float | None = None  # ReduceLROnPlateau with this threshold; None: OneCycleLR
    lr: float = 0.2  # max_lr of OneCycleLR, or the initial rate with ReduceLROnPlateau
    weight_decay: float = 1e-4
    batch_size: int = 128
    decay: float | None = 0.998  # of the EMA; None: no EMA
    smoothing: float = 0.0  # of the labels

    def net(self):
        """Return the network."""
        net = Net5() if self.blur else Net4(self.dropout)
        blocks = [layer for layer in net.features if isinstance(layer, nn.Sequential)]
        if self.batch_norm_first:
            for block in blocks:
                block[1], block[2] = block[2], block[1]
        if self.activation is not nn.ReLU:
            for block in blocks:
                block[1] = self.activation()
        if self.padding:
            for block in blocks[2:5]:
                block[0].padding = (1, 1)
        return net

    def recipe(self):
        """Return the Recipe."""
        affine = transforms.RandomAffine(
            self.rotation,
            (self.shift, self.shift) if self.shift else None,
            (1 - self.scale, 1 + self.scale) if self.scale else None,
            self.shear or None,
            self.interpolation,
        )
        if self.share < 1:
            affine = transforms.RandomApply([affine], self.share)
        elastic = [transforms.ElasticTransform(self.elastic)] if self.elastic else []
        return Recipe(
            normalised(affine, *elastic),
            normalised(),
            partial(SGD, lr=self.lr, momentum=0.9, weight_decay=self.weight_decay),
            one_cycle(self.lr) if self.plateau is None else on_plateau(self.plateau),
            moving_average(self.decay) if self.decay else lambda net: None,
            partial(F.cross_entropy, label_smoothing=self.smoothing),
            batch_size=self.batch_size,
        )


START = Choices()
NEAREST = replace(START, share=0.8, interpolation=InterpolationMode.NEAREST)
PLATEAU = replace(NEAREST, plateau=1e-4, decay=None, lr=0.1)
LIGHT = {"rotation": 7, "shift": 0.05, "scale": 0.05, "shear": 0}
ROWS = {  # choices by name, and what they change
    "start": (
        START,
        "Net4 without dropout, one cycle to 0.2, batches of 128, images rotated by up to 10 "
        "degrees, shifted by 7 %, scaled by 10 % and sheared by 6 degrees, an EMA of the weights.",
    ),
    "padding": (
        replace(START, padding=True),
        "Padding in all of the second stage, which keeps it at 14x14.",
    ),
    "batch-norm-first": (
        replace(START, batch_norm_first=True),
        "BatchNorm before ReLU, as in most networks, for ReLU before BatchNorm.",
    ),
    "rotation": (
        replace(START, shift=0, scale=0, shear=0),
        "Images rotated by up to 10 degrees, and nothing else.",
    ),
    "rotation-shift": (
        replace(START, scale=0, shear=0),
        "Images rotated and shifted, neither scaled nor sheared.",
    ),
    "rotation-shift-scale": (replace(START, shear=0), "Images not sheared."),
    "elastic": (
        replace(START, elastic=50.0),
        "Elastic deformation as well, which blurs a second time.",
    ),
    "batch-64": (
        replace(START, batch_size=64, lr=0.1),
        "Batches of 64 at half the max_lr: twice the steps.",
    ),
    "weight-decay-5e-4": (replace(START, weight_decay=5e-4), "Five times the weight decay."),
    "share-0.8": (
        replace(START, share=0.8),
        "One image in five as it is: bilinear resampling blurs.",
    ),
    "share-0.8-nearest": (
        NEAREST,
        "`share-0.8` with nearest interpolation, which keeps images sharp.",
    ),
    "share-0.6": (replace(START, share=0.6), "Two images in five as they are."),
    "share-0.8-batch-norm-first": (
        replace(START, batch_norm_first=True, share=0.8),
        "`batch-norm-first` and `share-0.8` together.",
    ),
    "nearest-dropout": (
        replace(NEAREST, dropout=0.05),
        "`share-0.8-nearest` with dropout of 0.05 after every block, as in Net4.",
    ),
    "nearest-smoothing": (
        replace(NEAREST, smoothing=0.05),
        "`share-0.8-nearest` with label smoothing of 0.05 in training.",
    ),
    "nearest-peak-0.1": (
        replace(NEAREST, lr=0.1),
        "`share-0.8-nearest` with half the max_lr.",
    ),
    "nearest-peak-0.4": (
        replace(NEAREST, lr=0.4),
        "`share-0.8-nearest` with twice the max_lr.",
    ),
    "nearest-light": (
        replace(NEAREST, **LIGHT),
        "`share-0.8-nearest` with weaker augmentation: 7 degrees, 5 %, 5 % and no shear.",
    ),
    "nearest-strong": (
        replace(NEAREST, rotation=15, shift=0.1, scale=0.15, shear=10),
        "`share-0.8-nearest` with stronger augmentation: 15 degrees, 10 %, 15 % and 10 degrees.",
    ),
    "nearest-silu": (replace(NEAREST, activation=nn.SiLU), "`share-0.8-nearest` with SiLU."),
    "nearest-blur": (
        replace(NEAREST, blur=True),
        "`share-0.8-nearest` with anti-aliased pooling: Net5 and `best`. Its first three runs are "
        "those of net5-best-validation.",
    ),
    "blur-weight-decay-2e-4": (
        replace(NEAREST, blur=True, weight_decay=2e-4),
        "`nearest-blur` with twice the weight decay; not chosen: a higher loss, and the same "
        "accuracy within the std.",
    ),
    "blur-weight-decay-3e-4": (
        replace(NEAREST, blur=True, weight_decay=3e-4),
        "`nearest-blur` with three times the weight decay.",
    ),
    "plateau": (
        PLATEAU,
        "`share-0.8-nearest` with ReduceLROnPlateau from 0.1 and without EMA; not the recipe of "
        "that name.",
    ),
    "plateau-light": (
        replace(PLATEAU, **LIGHT),
        "`plateau` with the weaker augmentation of `nearest-light`.",
    ),
    "plateau-light-threshold": (
        replace(PLATEAU, plateau=0.1, **LIGHT),
        "`plateau-light`, where a loss counts as an improvement only if it is below 0.9 x the best "
        "so far: `tuned_plateau`.",
    ),
    "plateau-0.05": (replace(PLATEAU, lr=0.05), "`plateau` from 0.05."),
}
CHOSEN = "nearest-blur"  # Net5 and the recipe `best`


def results_of(name):
    """Return the results of a row's runs, ordered by seed."""
    paths = (RESULTS / "ablation" / name).glob("seed-*.json")
    results = [json.loads(path.read_text()) for path in paths]
    return sorted(results, key=lambda result: result["settings"]["seed"])


def whole(rows):
    """Return the rows with at least three runs, or as many as `start` if it has fewer."""
    enough = min(3, len(rows["start"]))
    return {name: results for name, results in rows.items() if len(results) >= enough}


def compared(results, start):
    """Return a row's summary with its gain over `start`, a mean over the seeds that both have."""
    report = summary(results)
    before = dict(zip(*(summary(start)[name] for name in ("seeds", "last_epoch")), strict=True))
    pairs = zip(report["seeds"], report["last_epoch"], strict=True)
    gains = [accuracy - before[seed] for seed, accuracy in pairs if seed in before]
    bare = [result["without_ema"]["accuracy"] for result in results if has_ema(result)]
    report["gain"] = statistics.mean(gains)
    report["gain_error"] = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    report["without_ema"] = bare
    return report


def has_ema(result):
    """Return whether a run had an EMA."""
    return "without_ema" in result


def table(report):
    """Return the report as a Markdown table; each row says what it changes."""
    header = ("", "last epoch, mean ± std", "gain ± its error", "loss")
    header += (f"first at {TARGET} %", "s a run", "what differs")
    cells = []
    for name, row in report.items():
        reached = [str(epoch or "never") for epoch in row["first_at_target"]]
        cells.append(
            (
                name,
                f"{row['mean']:.3f} ± {row['std']:.3f}",
                f"{row['gain']:+.3f} ± {row['gain_error']:.3f}",
                f"{statistics.mean(row['loss']):.4f}",
                ", ".join(reached),
                f"{statistics.median(row['seconds']):.0f}",
                ROWS[name][1],
            )
        )
    pairs = [
        (average, last)
        for row in report.values()
        for average, last in zip(row["last_epoch"], row["without_ema"], strict=False)
    ]
    gains = [last - average for average, last in pairs]
    sentence = f"The last step's weights against the EMA, over all {len(gains)} runs with one."
    cells.append(("without EMA", "", f"{statistics.mean(gains):+.3f}", "", "", "", sentence))
    about = (
        "The gain is over `start` with the same seeds, its error the standard error of that mean. "
        "Rows differ in their number of seeds, so gains compare better than means. "
        "In the rows named `plateau`, ReduceLROnPlateau is stepped with the loss on the images "
        "that also evaluate them, as in the exercise. The seconds are from shared machines, on "
        "several days."
    )
    machines = [row["environment"] for row in report.values()]
    together = {name: either(machine[name] for machine in machines) for name in machines[0]}
    lines = markdown_table("lrrrrrl", header, cells)
    return f"{lines}\n\n{about} {caption(report['start'] | {'environment': together})}\n"


def main():
    """Run the command line."""
    parser = OneLineParser(description="Measure each choice on validation images.")
    option = parser.option
    parser.root_option()
    option("--only", "these, and start (default: all)", nargs="+", choices=ROWS, metavar="ROW")
    option("--seeds", "such as 1-10 or 1,4,5", type=seed_list, default="1-3")
    option("--processes", "runs side by side (default: one for each core)", type=int)
    options = parser.parse_args()
    try:
        processes = cores() if options.processes is None else options.processes
        check_integer("--processes", processes, minimum=1)
        root = str(find_mnist(options.root, "full").root)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"ablation.py: error: {error}")
    runs = [
        Run(
            f"ablation/{name}",
            ROWS[name][0].net,
            ROWS[name][0].recipe,
            seed,
            split="validation",
            val_size=10_000,
            root=root,
        )
        for name in (dict.fromkeys(["start", *options.only]) if options.only else ROWS)
        for seed in options.seeds
    ]
    try:
        train_all(runs, processes)
    except (ValueError, FloatingPointError, OSError) as error:
        sys.exit(f"ablation.py: error: {error}")
    rows = {name: results_of(name) for name in ROWS}
    report = {name: compared(results, rows["start"]) for name, results in whole(rows).items()}
    text = table(report)
    write("ablation", report, text)
    print("\n" + text)


if __name__ == "__main__":
    run_main(main)
