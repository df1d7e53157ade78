"""How long until 99.4 %: our best recipe and loader, and the exercise's recipe the standard way.

    python benchmarks/time_to_target.py [--root FOLDER]

Both train on the same machine with all its threads, one after the other, and are tested after
every epoch, all of it timed from the first step. Prints both and their ratio, a lower bound where
the exercise's recipe does not get there in its 15 epochs. Writes time-to-target-DEVICE.json.
"""

import json
import math
import sys
import time
from pathlib import Path

from seeds import HERE, TARGET, first_at
from speed import standard_epoch, standard_loader
from torch.utils.data import DataLoader
from torchvision import datasets

import utils
from model import Net4, Net5
from options import OneLineParser
from recipes import best, plateau


def ours(found, device, seed, epochs):
    """Train Net5 by our best recipe; return the test accuracies and the time of each."""
    utils.set_seed(seed)
    recipe = best()
    train_loader, _, test_loader, _ = utils.data_loader(
        recipe.train_transforms,
        recipe.test_transforms,
        recipe.batch_size,
        root=found.root,
        device=device,
        seed=seed,
    )
    net = utils.to_device(Net5(), device)
    optimizer = recipe.optimizer(net.parameters())
    scheduler = recipe.scheduler(optimizer, epochs, len(train_loader))
    averaged = recipe.averaged(net)

    def epoch(number):
        utils.train_model(
            net,
            device,
            train_loader,
            optimizer,
            number,
            loss_function=recipe.loss_function,
            batch_scheduler=scheduler,
            averaged=averaged,
            progress=False,
        )
        return utils.test_model(averaged, device, test_loader, verbose=False).accuracy

    return timed(epoch, epochs)


def standard(found, device, seed, epochs, workers):
    """Train Net4 by the exercise's recipe the standard way; return accuracies and times."""
    utils.set_seed(seed)
    recipe = plateau()
    train_loader = standard_loader(found, device, workers)
    test = datasets.MNIST(found.root, train=False, transform=recipe.test_transforms)
    test_loader = DataLoader(test, recipe.batch_size, num_workers=workers)
    net = Net4().to(device)
    optimizer = recipe.optimizer(net.parameters())
    scheduler = recipe.scheduler(optimizer, epochs, len(train_loader))

    def epoch(number):
        standard_epoch(net, optimizer, device, train_loader)
        loss, accuracy = utils.test_model(net, device, test_loader, verbose=False)
        scheduler.step(loss)
        return accuracy

    return timed(epoch, epochs)


def timed(epoch, epochs):
    """Run epochs until one reaches the target; return their accuracies and seconds since then."""
    accuracies, seconds, start = [], [], time.perf_counter()
    for number in range(1, epochs + 1):
        accuracies.append(epoch(number))
        seconds.append(time.perf_counter() - start)
        print(f"  epoch {number}: {accuracies[-1]:.2f}% after {seconds[-1]:.0f} s", flush=True)
        if accuracies[-1] >= TARGET:
            break
    return {"accuracies": accuracies, "seconds": seconds, "epoch": first_at(accuracies, TARGET)}


def main(arguments=None):
    """Measure, print and write."""
    parser = OneLineParser(description="Time two ways to 99.4 %.")
    option = parser.option
    parser.data_options(source="full")
    option("--device", "cpu or cuda", default="cpu")
    option("--seed", "of both", type=int, default=1)
    option("--epochs", "at most, and the length of schedules", type=int, default=15)
    option("--workers", "of the standard way's DataLoader", type=int, default=2)
    option("--out", "JSON file (default: time-to-target-DEVICE.json, here)", type=Path)
    options = parser.parse_args(arguments)
    try:
        utils.check_integer("--epochs", options.epochs, minimum=1)
        utils.check_integer("--workers", options.workers, minimum=0)
        device = utils.get_device(options.device)
        utils.check_integer("--seed", options.seed, minimum=0)
        options.out = options.out or HERE / f"time-to-target-{device.type}.json"
        if not options.out.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {options.out.parent}")
        found = utils.find_mnist(options.root, options.source)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"time_to_target.py: error: {error}")
    report = utils.environment(device) | {"source": found.source, "target": TARGET}
    report |= {"seed": options.seed, "epochs": options.epochs, "workers": options.workers}
    print("the exercise's recipe, the standard way")
    report["standard"] = standard(found, device, options.seed, options.epochs, options.workers)
    print("ours")
    utils.keep_freed_memory()  # only now: the standard way does not know of it
    report["ours"] = ours(found, device, options.seed, options.epochs)
    reached = report["ours"]["epoch"] is not None
    seconds = [report[way]["seconds"][-1] for way in ("standard", "ours")]
    report["ratio"] = seconds[0] / seconds[1] if reached else None
    report["lower_bound"] = report["standard"]["epoch"] is None
    print(sentence(report))
    utils.write_atomically(options.out, json.dumps(report, indent=1).encode() + b"\n")


def sentence(report):
    """Return the report in one sentence."""
    mine, other = report["ours"], report["standard"]
    if mine["epoch"] is None:
        return f"ours did not reach {report['target']} % in {report['epochs']} epochs"
    reached = (
        f"did not reach it in {len(other['accuracies'])} epochs and {other['seconds'][-1]:.0f} s"
        if report["lower_bound"]
        else f"took {other['seconds'][-1]:.0f} s (epoch {other['epoch']})"
    )
    more, ratio = "more than " * report["lower_bound"], report["ratio"]
    if report["lower_bound"]:
        ratio = math.floor(10 * ratio) / 10  # rounded up, it would be no lower bound
    return (
        f"{report['target']} % after {mine['seconds'][-1]:.0f} s (epoch {mine['epoch']}); the "
        f"exercise's recipe, the standard way, {reached}: {more}{ratio:.1f} times as long"
    )


if __name__ == "__main__":
    main()
