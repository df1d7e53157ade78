"""Publish a finished run's weights as weights/NAME.pt, with an entry in weights/metadata.json.

    python benchmarks/ship_weights.py net4 runs/sweeps/net4-dropout0-best/seed-1.pt --dropout 0
    python benchmarks/ship_weights.py net5 runs/sweeps/net5-best/seed-1.pt
    python benchmarks/ship_weights.py net6 runs/sweeps/net6-separable/seed-1.pt
    python benchmarks/ship_weights.py net7 runs/sweeps/net7-separable/seed-1.pt
    python benchmarks/ship_weights.py net8 runs/sweeps/net8-tiny/seed-1.pt
    python benchmarks/ship_weights.py net5 runs/sweeps/net5-hands/seed-1.pt --as net5_hands

The checkpoint is of a run of seeds.py on all 60,000 images with a seed fixed beforehand, so nothing
was chosen. The weights are evaluated again and must give the test loss of the run.
"""

import hashlib
import inspect
import io
import json
import math
import sys
from pathlib import Path

import torch
from seeds import HERE

import utils
from checkpoints import evaluated_weights, load_checkpoint, write_atomically
from hardware import environment
from mnist_format import MEAN, STD
from model import NETS
from options import OneLineParser, run_main
from photo.training import held_out
from recipes import RECIPES

WEIGHTS = HERE.parent / "weights"


def entry_for(name, net, arguments, checkpoint, loader):
    """Return the bytes of a checkpoint's weights and their entry in metadata.json.

    `net` is an untrained network of the run's class, made with `arguments`. Raises ValueError if
    the weights do not fit it, or if their loss on `loader` is not the checkpoint's test loss.
    """
    weights = evaluated_weights(checkpoint)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the checkpoint does not fit {type(net).__name__}: {error}") from error
    test, reached = utils.test_model(net, "cpu", loader), checkpoint["history"]["test_loss"][-1]
    if not math.isclose(test.loss, reached, rel_tol=1e-3):
        raise ValueError(f"expected the run's test loss of {reached:.4f}, got {test.loss:.4f}")
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    about, settings = environment("cpu"), checkpoint["settings"]
    return buffer.getvalue(), {
        "name": name,
        "file": f"{name}.pt",
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "net": type(net).__name__,
        "arguments": arguments,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "recipe": settings["recipe"],
        "epochs": settings["epochs"],
        "seed": settings["seed"],
        "training_images": settings["training_images"],
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "normalisation": {"mean": MEAN[0], "std": STD[0]},
        **{key: about[key] for key in ("torch", "torchvision", "hardware")},
    }


def main(arguments=None):
    """Run the command line."""
    parser = OneLineParser(description="Publish the weights of a finished run.")
    option = parser.option
    option("name", "of the network, and of its weights", choices=NETS)
    option("checkpoint", "of the run", type=Path)
    option("--as", "name of the weights (default: the network's)", dest="weights_name")
    parser.network_options()
    parser.data_options(source="full")
    options = parser.parse_args(arguments)
    name = options.weights_name or options.name
    own = inspect.signature(NETS[options.name]).parameters.values()
    given = {each.name: each.default for each in own}
    given |= parser.given_arguments(options, options.name)
    try:
        checkpoint = load_checkpoint(options.checkpoint)
        hands = checkpoint["settings"]["recipe"] == "hands"
        given["classes"] = 11 if hands else 10
        recipe = RECIPES[checkpoint["settings"]["recipe"]]()
        loader = utils.data_loader(
            recipe.train_transforms,
            recipe.test_transforms,
            recipe.batch_size,
            root=options.root,
            source=options.source,
            device="cpu",
        )[2]
        net = NETS[options.name](**given)
        content, entry = entry_for(name, net, given, checkpoint, loader)
        if hands:
            entry["held_out"] = held_out(net)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        sys.exit(f"ship_weights.py: error: {error}")
    metadata = WEIGHTS / "metadata.json"
    entries = json.loads(metadata.read_text()) if metadata.exists() else []
    entries = [kept for kept in entries if kept["name"] != name] + [entry]
    entries.sort(key=lambda kept: kept["name"])
    write_atomically(WEIGHTS / entry["file"], content)
    write_atomically(metadata, json.dumps(entries, indent=1).encode() + b"\n")
    print(f"{WEIGHTS / entry['file']}: seed {entry['seed']}, {entry['test_accuracy']:.2f}%")


if __name__ == "__main__":
    run_main(main)
