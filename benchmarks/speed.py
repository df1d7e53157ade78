"""Time our loader and training loop against the standard way, alternating in one process.

    python benchmarks/speed.py [--root FOLDER] [--device cuda --workers 4]

Measures, with Step 3's rotation and batches of 128: loading alone; a training epoch of Net4 and
Net5; the floor of an epoch, which is as many forward passes, backward passes and steps on one batch
that is already on the device; and the peak memory of loading. The standard way is torchvision's
dataset, which transforms one image at a time, a DataLoader with the best of several numbers of
workers, and the training loop of the tutorials. Prints a table and writes speed-DEVICE.json here.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import utils  # noqa: E402
from checkpoints import write_atomically  # noqa: E402
from checks import check_integer  # noqa: E402
from data import find_mnist, load_mnist  # noqa: E402
from hardware import environment  # noqa: E402
from model import Net4, Net5  # noqa: E402
from options import OneLineParser, run_main  # noqa: E402
from recipes import plateau  # noqa: E402
from report import markdown_table  # noqa: E402

BATCH_SIZE = 128


def parse_arguments():
    """Return the options as a namespace."""
    parser = OneLineParser(description="Time our way against the standard way.")
    option = parser.option
    parser.data_options(source="full")
    option("--device", "cpu or cuda", default="cpu")
    option("--rounds", "measurements of each", type=int, default=3)
    option(
        "--workers", "the standard way's; the fastest counts", type=int, nargs="+", default=[0, 2]
    )
    option("--out", "JSON file (default: speed-DEVICE.json, here)", type=Path)
    parser.add_argument("--peak-memory", choices=("ours", "standard"), help=argparse.SUPPRESS)
    return parser.parse_args()


# --- What is compared --------------------------------------------------------------------------


def our_loader(found, device):
    """Return our training loader."""
    recipe = plateau()
    return utils.data_loader(
        recipe.train_transforms,
        recipe.test_transforms,
        BATCH_SIZE,
        root=found.root,
        device=device,
        seed=1,
    )[0]


def standard_loader(found, device, workers):
    """Return the tutorials' training loader."""
    dataset = load_mnist(found, train=True, transform=plateau().train_transforms)
    on_cuda = torch.device(device).type == "cuda"
    return DataLoader(dataset, BATCH_SIZE, shuffle=True, num_workers=workers, pin_memory=on_cuda)


def our_epoch(net, optimizer, device, loader):
    """Train for one epoch with this library's loop."""
    utils.train_model(net, device, loader, optimizer, 1, leave=False)


def standard_epoch(net, optimizer, device, loader):
    """Train for one epoch as the tutorials do, reading loss and accuracy back at every step."""
    net.train()
    correct = processed = 0
    with tqdm(loader, leave=False) as bar:
        for batch_id, (images, labels) in enumerate(bar):
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            outputs = net(images)
            loss = F.nll_loss(outputs, labels)
            loss.backward()
            optimizer.step()
            correct += (outputs.argmax(dim=1) == labels).sum().item()
            processed += len(labels)
            accuracy = 100 * correct / processed
            bar.set_description(f"Loss={loss.item():.4f} {batch_id=} Accuracy={accuracy:.2f}")


def floor_epoch(net, optimizer, images, labels, steps):
    """Run the forward pass, backward pass and step of an epoch on one batch, over and over."""
    net.train()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        F.nll_loss(net(images), labels).backward()
        optimizer.step()


# --- Measuring ---------------------------------------------------------------------------------


def seconds(work, device):
    """Return the seconds that a call takes, until the device is done as well."""
    start = time.perf_counter()
    work()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def take_turns(works, rounds, device):
    """Time pairs of a name and a call in turn, round by round; return lists of seconds by name.

    After the first round only the standard way with the fastest number of workers remains.
    """
    times = {name: [] for name, _ in works}
    for number in range(rounds):
        for name, work in works:
            times[name].append(seconds(work, device))
            print(f"  round {number + 1}: {name} {times[name][-1]:.2f} s", flush=True)
        best = best_standard(times)
        works = [(name, work) for name, work in works if name in ("ours", "floor", best)]
    return times


def best_standard(times):
    """Return the name of the standard way that was fastest in the first round."""
    standard = [name for name in times if name.startswith("standard")]
    return min(standard, key=lambda name: times[name][0])


def run_through(loader):
    """Load every batch of one epoch."""
    for _ in loader:
        pass


def measure_loading(found, options):
    """Return the seconds of loading an epoch: ours, and the standard way by number of workers."""
    works = [("ours", partial(run_through, our_loader(found, options.device)))]
    for workers in options.workers:
        loader = standard_loader(found, options.device, workers)
        works.append((f"standard, {workers} workers", partial(run_through, loader)))
    return take_turns(works, options.rounds, options.device)


def measure_epochs(net_class, found, options):
    """Return the seconds of a training epoch: ours, the floor, the standard way by workers."""
    device = options.device
    loader = our_loader(found, device)
    images, labels = next(iter(loader))

    def with_fresh_net(train_epoch, **arguments):
        def work():
            utils.set_seed(1)
            net = net_class().to(device)
            train_epoch(net, plateau().optimizer(net.parameters()), **arguments)

        return work

    floor = with_fresh_net(floor_epoch, images=images, labels=labels, steps=len(loader))
    ours = with_fresh_net(our_epoch, device=device, loader=loader)
    works = [("floor", floor), ("ours", ours), ("floor", floor)]  # before and after: machines drift
    for workers in options.workers:
        loader = standard_loader(found, device, workers)
        standard = with_fresh_net(standard_epoch, device=device, loader=loader)
        works.append((f"standard, {workers} workers", standard))
    return take_turns(works, options.rounds, device)


def peak_memory(found, options):
    """Load an epoch one way, then print this process's peak resident memory in MB.

    Read from /proc, because `resource` includes the parent process's memory.
    """
    ours = options.peak_memory == "ours"
    loader = our_loader(found, "cpu") if ours else standard_loader(found, "cpu", workers=0)
    run_through(loader)
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    print(int(peak[1]) * 1024 / 1e6)


def measure_memory(found):
    """Return the peak resident memory of loading in MB; each way runs in its own process."""
    command = [sys.executable, __file__, "--root", str(found.root), "--source", "auto"]
    return {
        way: float(
            subprocess.run(
                [*command, "--peak-memory", way], check=True, stdout=subprocess.PIPE, text=True
            ).stdout
        )
        for way in ("ours", "standard")
    }


# --- Reporting ---------------------------------------------------------------------------------


def summary(times):
    """Return median seconds, and the median over the rounds of our time relative to the others."""
    standard = best_standard(times)
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {"seconds": times, "median_seconds": medians, "standard": standard}
    result["ours_to_standard"] = median_ratio(times["ours"], times[standard])
    if "floor" in times:
        floors = [
            statistics.mean(pair)
            for pair in zip(times["floor"][::2], times["floor"][1::2], strict=True)
        ]
        result["ours_to_floor"] = median_ratio(times["ours"], floors)
    return result


def median_ratio(ours, theirs):
    """Return the median over the rounds of the ratio within each round."""
    return statistics.median(own / its for own, its in zip(ours, theirs, strict=True))


def main():
    """Measure, print and write."""
    options = parse_arguments()
    try:
        check_integer("--rounds", options.rounds, minimum=1)
        for workers in options.workers:
            check_integer("--workers", workers, minimum=0)
        device = utils.get_device(options.device)
        options.device = str(device)
        options.out = options.out or HERE / f"speed-{device.type}.json"
        if not options.out.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {options.out.parent}")
        found = find_mnist(options.root, options.source)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"speed.py: error: {error}")
    if options.peak_memory:
        peak_memory(found, options)
        return

    images = len(our_loader(found, "cpu").dataset)
    report = environment(options.device)
    report |= {"source": found.source, "images": images, "batch_size": BATCH_SIZE}
    report |= {} if device.type == "cuda" else {"cuda": "not measured"}
    report |= {"rounds": options.rounds, "peak_memory_mb": measure_memory(found)}
    parts = {"loading": partial(measure_loading, found, options)}
    parts |= {net.__name__: partial(measure_epochs, net, found, options) for net in (Net4, Net5)}
    for name, part in parts.items():
        print(name)
        report[name] = summary(part())
        write_atomically(options.out, json.dumps(report, indent=1).encode() + b"\n")
    print(table(report))


def table(report):
    """Return what was measured so far as a Markdown table, with hardware and versions below."""
    loading, memory = report["loading"], report["peak_memory_mb"]
    rows = [
        (
            "loading, images/s",
            f"{report['images'] / loading['median_seconds']['ours']:,.0f}",
            f"{report['images'] / loading['median_seconds'][loading['standard']]:,.0f}",
            f"{1 / loading['ours_to_standard']:.1f}",
            "",
        ),
    ]
    for net in ("Net4", "Net5"):
        if net not in report:
            continue
        result = report[net]
        medians = result["median_seconds"]
        rows.append(
            (
                f"an epoch of {net}, s",
                f"{medians['ours']:.1f}",
                f"{medians[result['standard']]:.1f}",
                f"{1 / result['ours_to_standard']:.2f}",
                f"{result['ours_to_floor']:.3f}",
            )
        )
    rows.append(
        ("peak memory of loading, MB", f"{memory['ours']:.0f}", f"{memory['standard']:.0f}", "", "")
    )
    header = ("", "ours", "standard", "standard / ours", "ours / floor")
    lines = markdown_table("lrrrr", header, rows)
    return (
        f"{lines}\n\n{report['images']:,} images ({report['source']}), batches of "
        f"{report['batch_size']}, medians of {report['rounds']} rounds, also of "
        f"each round's ratio; {report['hardware']}, "
        f"{report['threads']} threads, torch {report['torch']}, torchvision "
        f"{report['torchvision']}. Standard way: DataLoader, {loading['standard'][10:]} for "
        "loading, the better number for each row."
    )


if __name__ == "__main__":
    run_main(main)
