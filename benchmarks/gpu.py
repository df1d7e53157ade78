"""Run every measurement that needs a GPU on one of them, in eight minutes.

    python benchmarks/gpu.py [--root FOLDER] [--minutes 8]

In this order: the tests marked `cuda`; our loader and epochs against the standard way; the time to
the targets; 20 seeds of `quick` side by side, in processes, so that each is the run that seeds.py
trains alone; the recipe of each notebook. A step is one or more commands, which are printed. Their
results are speed-cuda.json, time-to-target-cuda.json and results/cuda-*, from which tables.py fills
in README.md and docs/; gpu-cuda.json lists the steps.

When the time is up, the step under way is stopped and the rest are skipped. Run the script again
for them: on the same hardware, steps that are done are not repeated. To try it without a GPU,
`--device cpu --dry-run FOLDER` trains one epoch each and writes to FOLDER.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import date

import torch
from seeds import HERE, cores

import utils
from checkpoints import write_atomically
from data import find_mnist
from hardware import environment
from options import OneLineParser, path, run_main

MEMORY = 2**31  # bytes of GPU memory for one run, its CUDA context included
NOTEBOOKS = {
    "step1": ("net1", "baseline"),
    "step2": ("net4", "baseline"),
    "step3": ("net5", "best"),
}


def side_by_side(device, wanted):
    """Return how many runs to train at once: what GPU memory holds, and two for each core."""
    free = torch.cuda.mem_get_info(device.index)[0] if device.type == "cuda" else sys.maxsize
    return max(1, min(wanted, free // MEMORY, 2 * cores()))


def steps(device, data, folder=None):
    """Return the commands of each step, by its title; with `folder` those of a dry run.

    A command is a list of arguments for Python; every script of benchmarks/ gets the options
    `data`. The commands of a step run at the same time.
    """
    kind = device.type

    def command(script, arguments, tiny, out):
        given = [f"benchmarks/{script}.py", "--device", str(device), *data, *arguments.split()]
        if folder is None:
            return given
        return [*given, *tiny.split(), "--out", str(folder.resolve() / out)]  # the last ones count

    def sweep(name, net, recipe, seeds):
        name, processes = f"{kind}-{name}", side_by_side(device, seeds)
        arguments = f"--net {net} --recipe {recipe} --seeds 1-{seeds} --processes {processes}"
        tiny, out = "--epochs 1 --seeds 1-2", f"results/{name}"
        return command("seeds", f"{arguments} --out {name}", tiny, out)

    tests = ["-m", "pytest", "-q", "-m", "cuda"]
    speed = ("--workers 0 4", "--workers 0 --rounds 1", f"speed-{kind}.json")
    tiny = "--workers 0 --epochs 1 --quick-epochs 1 --quick-seeds 1"
    target = ("--workers 4", tiny, f"time-to-target-{kind}.json")
    return {
        "tests": [tests if folder is None else [*tests, "tests/test_loops.py"]],
        "speed": [command("speed", *speed)],
        "time to the targets": [command("time_to_target", *target)],
        "seeds side by side": [sweep("net5-quick", "net5", "quick", seeds=20)],
        "recipes of the notebooks": [
            sweep(f"{step}-{net}-{recipe}", net, recipe, seeds=1)
            for step, (net, recipe) in NOTEBOOKS.items()
        ],
    }


def run(commands, seconds):
    """Run commands at the same time, for at most `seconds`; return "done", "failed" or "stopped".

    "failed" means that at least one ended with an error.
    """
    processes = [
        subprocess.Popen([sys.executable, *command], cwd=HERE.parent, start_new_session=True)
        for command in commands
    ]
    deadline = time.monotonic() + seconds
    try:
        codes = [process.wait(max(0, deadline - time.monotonic())) for process in processes]
        return "failed" if any(codes) else "done"
    except subprocess.TimeoutExpired:
        return "stopped"
    finally:
        for process in processes:
            if process.poll() is None:
                stop(process)


def stop(process):
    """End a process that leads a session, with all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)


def measure(steps, minutes, file, about):
    """Run the steps that fit in `minutes`; return the outcome of each, by its title.

    `file` is written after each step. What it lists as done is not repeated if its environment is
    `about`, the present one.
    """
    deadline = time.monotonic() + 60 * minutes
    report = json.loads(file.read_text()) if file.exists() else {}
    done = report.get("steps", {}) if report.get("environment") == about else {}
    report = {"date": date.today().isoformat(), "environment": about, "steps": done}
    for title, commands in steps.items():
        left = deadline - time.monotonic()
        outcome = done.get(title, {}).get("outcome")
        if outcome == "done" or left <= 0:
            reason = "done before" if outcome == "done" else f"{minutes:g} minutes are over"
            print(f"{title}: skipped, {reason}", flush=True)
            continue
        lines = [shlex.join(["python", *command]) for command in commands]
        print("\n".join([f"{title}, {left:.0f} s left:", *lines]), flush=True)
        start, outcome = time.monotonic(), run(commands, left)
        seconds = time.monotonic() - start
        print(f"{title}: {outcome} after {seconds:.0f} s", flush=True)
        done[title] = {"outcome": outcome, "seconds": seconds}
        write_atomically(file, json.dumps(report, indent=1).encode() + b"\n")
    return {title: done.get(title, {"outcome": "skipped"})["outcome"] for title in steps}


def main(arguments=None):
    """Run the command line; return its exit code, 1 if a step failed."""
    parser = OneLineParser(description="Measure on one GPU, within some minutes.")
    option = parser.option
    parser.data_options(source="full")
    option("--minutes", "for all steps together", type=float, default=8)
    option("--device", "auto, cpu, cuda or mps", default="cuda")
    option("--dry-run", "folder for the results of a run with tiny settings", type=path)
    options = parser.parse_args(arguments)
    folder = options.dry_run
    try:
        if not options.minutes > 0:
            raise ValueError(f"expected --minutes above 0, got {options.minutes:g}")
        device = utils.get_device(options.device)
        found = find_mnist(options.root, options.source)
        (folder or HERE).joinpath("results").mkdir(parents=True, exist_ok=True)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"gpu.py: error: {error}")
    data = ["--root", str(found.root), "--source", options.source]
    file = (folder or HERE) / f"gpu-{device.type}.json"
    try:
        about = environment(device)
        outcomes = measure(steps(device, data, folder), options.minutes, file, about)
    except KeyboardInterrupt:
        return 130
    return int("failed" in outcomes.values())


if __name__ == "__main__":
    run_main(main)
