"""Read handwritten digits from image files: python predict.py FILE ...

photo/ finds the digit in each picture, be it a photograph, a scan or a drawing, and net5_hands or
a network of your own (--weights) reads it. --picture FILE shows what was found and what the network
saw.
"""

import contextlib
import glob
import json
import os
import pickle
import sys
import textwrap
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import nn

import hubconf
import options
from checkpoints import evaluated_weights, load_checkpoint
from mnist_format import MEAN, STD
from model import NETS
from photo import find
from photo.shades import shades_of

DIGITS = list("0123456789")
DOUBTFUL = 0.9  # answers with a lower probability are marked
UNREADABLE = (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError)  # PIL's


def digits_in(net, image, split=False):
    """Return the digits of a PIL image, from left to right, as a list of find.FoundDigit.

    Raises ValueError for an image without a digit, or with several unless it may be split.
    """

    def judge(seen):
        return read_digits(net, torch.from_numpy(seen)).cpu().numpy()

    digits = find.find_digits(image, judge, split)
    if len(digits) > 1 and not split:
        raise ValueError(f"found {len(digits)} digits: one per image, or --split")
    return digits


@torch.no_grad()
def read_digits(net, images):
    """Return the probabilities of uint8 images (N, 28, 28) in MNIST's format.

    float (N, 10), or (N, 11) for a network whose last class is no digit.
    """
    like = next(net.parameters())
    images = images[:, None].to(like.device, like.dtype)
    return net((images / 255 - MEAN[0]) / STD[0]).exp()


class Renormalize(nn.Module):
    """Convert images normalised by MNIST's mean and std to another mean and std."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, images):
        """Map normalised images of any shape to images of the same shape."""
        return (images * STD[0] + MEAN[0] - self.mean) / self.std


class Reading(NamedTuple):
    """A digit that was read: its picture and place, what the network saw, and the predictions."""

    name: str
    picture: Image.Image  # small
    box: tuple  # left, top, right, bottom, as shares of the picture
    seen: np.ndarray  # uint8 (28, 28)
    guesses: list  # (digit, probability), the most probable first

    @property
    def doubtful(self):
        return self.guesses[0][1] < DOUBTFUL

    def __str__(self):
        (first, sure), (second, less) = self.guesses[:2]
        mark = ", doubtful" if self.doubtful else ""
        return f"{first} ({100 * sure:.1f} %), or {second} ({100 * less:.1f} %){mark}"


def read_file(net, path, split=False):
    """Return the Readings of an image file: one, or with `split` one for each digit."""
    with Image.open(path) as image:
        digits = digits_in(net, image, split)
        small = Image.fromarray(shades_of(image).astype("uint8"))
        small.thumbnail((400, 400))
    readings = []
    for k, digit in enumerate(digits):
        name = f"{path}, digit {k + 1} of {len(digits)}" if len(digits) > 1 else str(path)
        guesses = sorted(enumerate(digit.probabilities.tolist()), key=lambda guess: -guess[1])
        readings.append(Reading(name, small, digit.box, digit.seen, guesses))
    return readings


def network(run=None):
    """Return the pretrained net5_hands, or the network of a run of train.py, in eval mode.

    `run` is the run's folder, its weights.pt or its checkpoint.pt. It has 10 outputs, or 11 with no
    digit as the last. Raises OSError where a file is missing, ValueError where one does not fit.
    """
    with torch.device("cpu"):
        if run is None:
            return hubconf.net5_hands(pretrained=True)
        weights, about, state = saved_run(run)
        try:
            make = NETS[about["net"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected the settings of a run beside {weights}") from error
        classes = about.get("classes", DIGITS)
        if classes[:10] != DIGITS or len(classes) > 11:
            names = ", ".join(map(str, classes))
            raise ValueError(f"expected a run on the digits 0 to 9 in {weights}, got {names}")
        try:
            net = make(classes=len(classes))
            net.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            name = make.__name__
            raise ValueError(f"expected the weights of a {name} in {weights}") from error
        if "mean" in about and (about["mean"], about["std"]) != (MEAN[0], STD[0]):
            net = nn.Sequential(Renormalize(about["mean"], about["std"]), net)
        return net.eval()


def saved_run(run):
    """Return the file that holds a run's weights, the run's settings and its weights.

    A run that goes on, or was cut off, has left them in its checkpoint.pt: stderr is told so.
    """
    weights = run / "weights.pt" if run.is_dir() else run
    checkpoint = weights.with_name("checkpoint.pt")
    is_newer = checkpoint.exists() and (
        not weights.exists() or checkpoint.stat().st_mtime > weights.stat().st_mtime
    )
    if weights == checkpoint or (is_newer and (run.is_dir() or not weights.exists())):
        state = load_checkpoint(checkpoint)
        epochs = len(state["history"]["train_loss"])
        say(f"predict.py: {checkpoint}: the weights after epoch {epochs}", sys.stderr)
        return checkpoint, state["settings"], evaluated_weights(state)
    settings = weights.with_name("settings.json")
    if not weights.exists() and settings.exists():
        raise ValueError(f"{weights.parent} holds no weights: no epoch is complete yet")
    try:
        about = json.loads(settings.read_text())
        return weights, about, torch.load(weights, map_location="cpu", weights_only=True)
    except (ValueError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        wrong = settings if isinstance(error, json.JSONDecodeError) else weights
        raise ValueError(f"expected the settings and weights of a run in {wrong}") from error


def expanded(path):
    """Return the files that a name with wildcards matches, sorted; [path] where there are none.

    Windows' shells leave this to the program. A file or folder that has such a name comes first.
    """
    if os.path.exists(path) or not glob.has_magic(str(path)):
        return [path]
    folder = next((parent for parent in path.parents if os.path.isdir(parent)), Path())
    names = glob.glob(str(path.relative_to(folder)), root_dir=folder)
    return [folder / name for name in sorted(names)] or [path]


def printable(text, encoding="utf-8"):
    """Return text with what an encoding, or a line, cannot hold written as escapes."""
    text = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )
    return text.encode(encoding, "backslashreplace").decode(encoding)


def say(text, stream):
    """Print a line of text, whatever characters the stream can show."""
    print(printable(text, getattr(stream, "encoding", None) or "utf-8"), file=stream)


def report(path, error):
    """Print what is wrong with a file, and return True: something failed."""
    reason = getattr(error, "strerror", None) or error
    if isinstance(error, Image.UnidentifiedImageError) and is_heic(path):
        reason = "HEIC needs a plugin: pip install pillow-heif, or save the photograph as JPEG"
    say(f"predict.py: error: {path}: {reason}", sys.stderr)
    return True


def is_heic(path):
    """Say whether a file is of the HEIC family, by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"hev", b"mif", b"msf")


def check_picture(picture, files):
    """Raise ValueError or OSError for a --picture that cannot be written, or must not be.

    An existing file is refused, unless it is a PNG that an earlier --picture wrote.
    """
    kinds = Figure().canvas.get_supported_filetypes()
    if picture.suffix[1:].lower() not in kinds:
        raise ValueError(f"expected a name that ends in .png, .jpg or .pdf, got {picture.name}")
    if not picture.parent.is_dir():
        raise FileNotFoundError(2, "No such file or directory", str(picture.parent))
    if not picture.exists():
        return
    if any(path.exists() and picture.samefile(path) for path in files):
        raise ValueError("is among the files to read: choose another name for --picture")
    with contextlib.suppress(*UNREADABLE), Image.open(picture) as image:
        if image.info.get("Software") == "predict.py":
            return
    raise FileExistsError(17, "exists, and is no PNG that --picture wrote: choose another name")


def picture_of(readings):
    """Return a figure of Readings: the picture with the box found, what was seen, the guesses."""
    columns = min(3, len(readings))
    rows = -(-len(readings) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.8 * rows), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[3, 2] * columns)
    for axes in grid.flat:
        axes.set_axis_off()
    for reading, (left, right) in zip(readings, grid.reshape(-1, 2), strict=False):
        width, height = reading.picture.size
        x0, y0, x1, y1 = reading.box
        left.imshow(reading.picture)
        place = (x0 * width, y0 * height), (x1 - x0) * width, (y1 - y0) * height
        left.add_patch(Rectangle(*place, fill=False, color="#d55e00", linewidth=1.5))
        name = printable(Path(reading.name).name)
        name = name if len(name) <= 56 else f"{name[:27]}...{name[-26:]}"
        name = "\n".join(textwrap.wrap(name, 28)) or name
        right.imshow(reading.seen, cmap="gray_r", vmin=0, vmax=255)
        guesses = "\n".join(f"{digit}: {100 * p:.1f} %" for digit, p in reading.guesses[:2])
        guesses += "\ndoubtful" if reading.doubtful else ""
        for axes, title in ((left, name), (right, guesses)):
            axes.set_title(title, fontsize="small", parse_math=False)
    return figure


def save_figure(figure, path):
    """Write a figure to a file, marked as one of ours if it is a PNG."""
    mark = {"Software": "predict.py"} if path.suffix.lower() == ".png" else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # in a file's name
        figure.savefig(path, dpi=150, metadata=mark)


def parse_arguments(arguments=None):
    """Return the options as a namespace."""
    parser = options.OneLineParser(description="Read handwritten digits from image files.")
    parser.add_argument("files", nargs="+", type=options.path, metavar="FILE", help="an image")
    parser.option("--split", "read several digits of a picture, left to right", action="store_true")
    parser.option("--picture", "show in this file what was found and seen", type=options.path)
    about = "folder of a run of train.py, or a file in it (default: the pretrained net5_hands)"
    parser.option("--weights", about, type=options.path, metavar="RUN")
    return parser.parse_intermixed_args(arguments)


def main(arguments=None):
    """Run the command line; return its exit code: 0, or 2 if a file could not be read."""
    chosen = parse_arguments(arguments)
    chosen.files = [path for name in chosen.files for path in expanded(name)]
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    try:
        if chosen.picture:
            check_picture(chosen.picture, chosen.files)
    except (OSError, ValueError) as error:
        report(chosen.picture, error)
        return 2
    try:
        net = network(chosen.weights)
    except (OSError, ValueError) as error:
        say(f"predict.py: error: {error}", sys.stderr)
        return 2
    readings, failed = [], False
    for path in chosen.files:
        try:
            found = read_file(net, path, chosen.split)
        except UNREADABLE as error:
            failed = report(path, error)
            continue
        for reading in found:
            say(f"{reading.name}: {reading}", sys.stdout)
        readings += found if chosen.picture else []
    if readings:
        try:
            save_figure(picture_of(readings), chosen.picture)
        except (OSError, ValueError) as error:
            failed = report(chosen.picture, error)
    return 2 if failed else 0


if __name__ == "__main__":
    options.run_main(main)
