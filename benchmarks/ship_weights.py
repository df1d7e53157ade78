"""Ship weights: of a sweep's seeds, those with the highest validation accuracy, to weights/.

    python benchmarks/ship_weights.py net5 --sweep net5-best-validation [--root FOLDER]

The sweep is one of Net5 by seeds.py with images held out (--split validation, or --val-size), other
images for each seed. Writes weights/NAME.pt and its entry in weights/metadata.json. The test set
has no say in the choice; it is tested afterwards.
"""

import hashlib
import io
import json
import sys

import torch
from seeds import HERE, RESULTS, STATES

import utils
from model import Net5
from options import OneLineParser
from recipes import MEAN, RECIPES, STD

WEIGHTS = HERE.parent / "weights"


def chosen(sweep):
    """Return the result of the seed whose last epoch has the highest validation accuracy.

    Of equals the one with the lower validation loss. Raises ValueError without validation.
    """
    results = [
        json.loads(path.read_text()) for path in sorted((RESULTS / sweep).glob("seed-*.json"))
    ]
    if not results or not all(result["settings"]["val_size"] for result in results):
        raise ValueError(f"expected runs with validation images in {RESULTS / sweep}")
    return max(results, key=validation)


def validation(result):
    """Return accuracy, and the negative of the loss, on the images held out, after a run."""
    kind = "test" if result["settings"]["split"] == "validation" else "val"
    return result["history"][f"{kind}_accuracy"][-1], -result["history"][f"{kind}_loss"][-1]


def check(result, checkpoint, width, path):
    """Raise ValueError unless result, checkpoint and width are of one run of Net5."""
    settings = result["settings"]
    parameters = sum(parameter.numel() for parameter in Net5(width).parameters())
    if (settings["net"], settings["parameters"]) != ("Net5", parameters):
        raise ValueError(
            f"expected runs of Net5 with {parameters:,} parameters, got {settings['net']} with "
            f"{settings['parameters']:,}"
        )
    if checkpoint["history"]["test_loss"] != result["history"]["test_loss"]:
        raise ValueError(f"{path} is not the run that results/ has: train it again")


def entry_for(name, sweep, width, weights, result, loader):
    """Return the bytes of the weights and what metadata.json says of them."""
    net = Net5(width)
    net.load_state_dict(weights)
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    test = utils.test_model(net, "cpu", loader)
    settings = result["settings"]
    return buffer.getvalue(), {
        "name": name,
        "file": f"{name}.pt",
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "net": settings["net"],
        "width": width,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "recipe": settings["recipe"],
        "epochs": settings["epochs"],
        "seed": settings["seed"],
        "seeds_chosen_from": len(list((RESULTS / sweep).glob("seed-*.json"))),
        "training_images": settings["training_images"],
        "validation_accuracy": validation(result)[0],
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "normalisation": {"mean": MEAN[0], "std": STD[0]},
        "torch": settings["torch"],
        "torchvision": settings["torchvision"],
        "hardware": settings["hardware"],
    }


def main(arguments=None):
    """Run the command line."""
    parser = OneLineParser(description="Ship the weights of a sweep.")
    option = parser.option
    option("name", "of the weights, such as net5")
    option("--sweep", "a folder below results/", required=True)
    option("--width", "of its Net5", type=int, default=12)
    parser.data_options(source="full")
    options = parser.parse_args(arguments)
    try:
        result = chosen(options.sweep)
        state = STATES / options.sweep / f"seed-{result['settings']['seed']}.pt"
        checkpoint = utils.load_checkpoint(state)
        check(result, checkpoint, options.width, state)
        weights = utils.tested_weights(checkpoint)
        recipe = RECIPES[result["settings"]["recipe"]]()
        loader = utils.data_loader(
            recipe.train_transforms,
            recipe.test_transforms,
            recipe.batch_size,
            root=options.root,
            source=options.source,
            device="cpu",
        )[2]
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"ship_weights.py: error: {error}")
    content, entry = entry_for(options.name, options.sweep, options.width, weights, result, loader)
    metadata = WEIGHTS / "metadata.json"
    entries = json.loads(metadata.read_text()) if metadata.exists() else []
    entries = [kept for kept in entries if kept["name"] != options.name] + [entry]
    utils.write_atomically(WEIGHTS / entry["file"], content)
    utils.write_atomically(metadata, json.dumps(entries, indent=1).encode() + b"\n")
    print(f"{WEIGHTS / entry['file']}: seed {entry['seed']}, {entry['test_accuracy']:.2f}%")


if __name__ == "__main__":
    main()
