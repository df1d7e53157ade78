"""Evaluate runs of the recipe `hands` on MNIST's test images and on held-out generated ones.

    python benchmarks/seeds.py --net net5 --recipe hands --seeds 1-5
    python benchmarks/hands.py --seeds 1-5 [--root FOLDER]

A network of 11 classes answers a test image in two ways: with all its outputs, where "no digit" is
wrong, and with its ten digits alone. Writes results/net5-hands-digits.json from the checkpoints in
runs/sweeps/net5-hands.
"""

import json
import sys

import torch
from seeds import RESULTS, STATES, seed_list

import utils
from checkpoints import evaluated_weights, load_checkpoint, write_atomically
from model import Net5
from options import OneLineParser, run_main
from photo.negatives import NO_DIGIT
from photo.training import held_out
from recipes import normalised

NAME = "net5-hands"


def measured(checkpoint, loader):
    """Evaluate a checkpoint's weights on a loader of digits and on generated images."""
    net = Net5(classes=NO_DIGIT + 1)
    net.load_state_dict(evaluated_weights(checkpoint))
    outputs, labels = utils.predict(net, "cpu", loader)
    guesses, digits = outputs.argmax(dim=1), outputs[:, :NO_DIGIT].argmax(dim=1)
    shares = {
        "all_outputs": guesses == labels,
        "ten_digits": digits == labels,
        "refused": guesses == NO_DIGIT,
    }
    on_test = {name: round(100 * share.double().mean().item(), 2) for name, share in shares.items()}
    return {"seed": checkpoint["settings"]["seed"], "test": on_test, "held_out": held_out(net)}


def main(arguments=None):
    """Run the command line."""
    parser = OneLineParser(description="Measure the runs of the recipe hands.")
    parser.option("--seeds", "such as 1-10 or 1,4,5", type=seed_list, default="1-5")
    parser.data_options(source="full")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    where = {"root": options.root, "source": options.source, "device": "cpu"}
    try:
        loader = utils.data_loader(normalised(), normalised(), 128, **where)[2]
        states = [load_checkpoint(STATES / NAME / f"seed-{seed}.pt") for seed in options.seeds]
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"hands.py: error: {error}")
    content = json.dumps([measured(state, loader) for state in states], indent=1)
    write_atomically(RESULTS / f"{NAME}-digits.json", content.encode() + b"\n")
    print(content)


if __name__ == "__main__":
    run_main(main)
