"""Count how many digits predict.py reads correctly: in a folder of pictures, or in synthetic ones.

    python benchmarks/photos.py --folder FOLDER [--picture FILE] [--name NAME]
    python benchmarks/photos.py [--kinds tune|report|nothing|all] [--number N] [--keep FOLDER]
    python benchmarks/photos.py --large

In a folder, a file's name starts with its digit, or with "several" for a picture of more than one,
which has to be refused: 7_anna.jpg, several_page.png. Pictures are counted by the folder they are
in, and by digit. --picture shows those that were not read as they should be.

The synthetic kinds are in photo_kinds.py and no_digit_kinds.py. Results are written to
benchmarks/results/NAME.json and NAME.md; those of a folder only with --name.
"""

import itertools
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from no_digit_kinds import NOTHING
from photo_kinds import REPORT, TUNE, twelve_megapixels
from pictures import glyphs_of
from PIL import Image
from seeds import HERE, write

import predict
import utils
from checks import check_integer
from options import OneLineParser, path, run_main
from recipes import normalised
from report import markdown_table

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SEVERAL = "several"
TITLES = {"tune": "Tuned on", "report": "Others", "nothing": "To be refused"}
SHOWN = 48  # pictures at most in --picture


class Answer(NamedTuple):
    """What is made of a picture: a digit with its probability, or why it is refused."""

    digit: int | None
    probability: float
    reason: str

    def __str__(self):
        return self.reason or f"{self.digit} ({100 * self.probability:.1f} %)"


def read(net, image):
    """Return the Answer to a PIL image."""
    try:
        (digit,) = predict.digits_in(net, image)
    except ValueError as error:
        return Answer(None, 0.0, str(error))
    return Answer(int(digit.probabilities.argmax()), float(digit.probabilities.max()), "")


def counted(kind, answers):
    """Return the counts of a kind. `answers`: (wanted, Answer) pairs; None is to be refused."""
    wrong = [a for wanted, a in answers if a.digit is not None and a.digit != wanted]
    return {
        "kind": kind,
        "n": len(answers),
        "correct": sum(a.digit == wanted for wanted, a in answers),
        "refused": sum(a.digit is None for _, a in answers),
        "wrong": len(wrong),
        "wrong_at_90": sum(a.probability >= predict.DOUBTFUL for a in wrong),
    }


def table(rows):
    """Return a Markdown table of the counts by kind, in per cent."""
    cells = []
    for row in rows:
        counts = (row[name] for name in ("correct", "refused", "wrong", "wrong_at_90"))
        shares = (f"{100 * count / row['n']:.1f}" for count in counts)
        cells.append((row["kind"].replace("_", " "), row["n"], *shares))
    header = ("kind", "n", "correct, %", "refused, %", "wrong, %", "wrong at 90 % or more, %")
    return markdown_table("lrrrrr", header, cells)


def total(name, rows):
    """Return the sum of rows as a row."""
    return {"kind": name} | {key: sum(row[key] for row in rows) for key in rows[0] if key != "kind"}


# A folder of pictures


def label_of(file):
    """Return the digit that a file's name starts with, None for several."""
    label = file.name.split("_")[0]
    if label == SEVERAL:
        return None
    if not re.fullmatch("[0-9]", label):
        raise ValueError(f"{file}: expected a name like 7_anna.jpg or {SEVERAL}_page.jpg")
    return int(label)


def pictures_in(folder):
    """Return {kind: files} of a folder: its own pictures, and those of each folder inside it.

    Raises ValueError for a folder without pictures, and for a name without a label.
    """
    if not folder.is_dir():
        raise ValueError(f"expected a folder of pictures, got {folder}")
    kinds = {}
    for inside in (folder, *sorted(inner for inner in folder.iterdir() if inner.is_dir())):
        files = sorted(file for file in inside.iterdir() if file.suffix.lower() in SUFFIXES)
        if files:
            kinds[inside.resolve().name] = files
    for files in kinds.values():
        for file in files:
            label_of(file)
    if not kinds:
        raise ValueError(f"{folder}: expected pictures ({', '.join(sorted(SUFFIXES))}), found none")
    return kinds


def read_folder(net, kinds):
    """Read {kind: files}; return (kind, file, label, Answer) tuples.

    A file that is no picture is refused, and has the label -1, because no answer would be right.
    """
    answers = []
    for kind, files in kinds.items():
        for file in files:
            try:
                with Image.open(file) as image:
                    answers.append((kind, file, label_of(file), read(net, image)))
            except predict.UNREADABLE as error:
                answers.append((kind, file, -1, Answer(None, 0.0, str(error))))
    return answers


def counted_by(name, answers):
    """Return a row for each value of `name(kind, file, label, Answer)`, and their total.

    `answers` holds such tuples. A single row has no total.
    """
    groups = {}
    for answer in answers:
        groups.setdefault(name(*answer), []).append(answer[2:])
    rows = [counted(name, group) for name, group in groups.items()]
    return rows + ([total("all", rows)] if len(rows) > 1 else [])


def failures_shown(failures):
    """Return a figure of (file, Answer) pairs: each picture with its name and the answer."""
    columns = min(6, len(failures))
    rows = -(-len(failures) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes in grid:
        axes.set_axis_off()
    for axes, (file, answer) in zip(grid, failures, strict=False):
        try:
            with Image.open(file) as image:
                image.thumbnail((300, 300))
                axes.imshow(image.convert("RGB"))
        except predict.UNREADABLE:
            pass  # the title says why
        lines = [predict.printable(file.name)[:28], str(answer).split(",")[0][:32]]
        axes.set_title("\n".join(lines), fontsize="small", parse_math=False)
    return figure


# Synthetic pictures


def measured_kind(net, kind, digits, number, keep=None):
    """Read synthetic pictures of a kind; return their row.

    Those that are not read as they should be are written to the folder `keep`.
    """
    seed = sum(map(ord, kind.__name__))
    glyphs = glyphs_of(digits.data, digits.targets, np.random.default_rng(seed))
    answers = []
    for k, glyph in enumerate(itertools.islice(glyphs, number)):
        image = kind(glyph, np.random.default_rng([seed, k]))
        wanted = None if kind in NOTHING else glyph.label
        answer = read(net, image)
        answers.append((wanted, answer))
        if keep and answer.digit != wanted:
            seen = "refused" if answer.digit is None else f"read{answer.digit}"
            image.convert("RGBA").save(keep / f"{kind.__name__}-{k}-is{glyph.label}-{seen}.png")
    return counted(kind.__name__, answers)


def report(about, results):
    """Return the tables of all groups of synthetic kinds as a Markdown page."""
    head = f"{about['number']} pictures of each kind; digits: {about['images']}."
    sections = ["# Synthetic pictures", head]
    for group, rows in results.items():
        sections.append(f"## {TITLES[group]}\n\n{table([*rows, total('all', rows)])}")
    if "tune" in results and "report" in results:
        rows = results["tune"] + results["report"]
        sections.append(f"## All that can be read\n\n{table([total('all', rows)])}")
    return "\n\n".join(sections) + "\n"


def large(net, glyph):
    """Return the seconds of one core that a JPEG of 12 megapixels takes, and the peak in MiB.

    The seconds are those of decoding, finding and reading; the peak is that of predict.py as a
    whole, with its imports, as Linux counts it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "large.jpg")
        twelve_megapixels(glyph, np.random.default_rng(0)).save(file, quality=90)
        start = time.process_time()
        with Image.open(file) as image:
            read(net, image)
        seconds = time.process_time() - start
        code = "import predict; predict.main(); print(open('/proc/self/status').read())"
        result = subprocess.run(
            [sys.executable, "-c", code, file],
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    return seconds, int(re.search(r"VmHWM:\s*(\d+) kB", result.stdout)[1]) / 1024


# The command line


def of_folder(net, options):
    """Measure a folder, print its tables, and show what failed if asked."""
    if options.picture:
        predict.check_picture(options.picture, [])
    answers = read_folder(net, pictures_in(options.folder))
    kinds = counted_by(lambda kind, *_: kind, answers)
    labelled = sorted((a for a in answers if a[2] in range(10)), key=lambda answer: answer[2])
    digits = counted_by(lambda kind, file, label, answer: str(label), labelled)
    tables = f"{table(kinds)}\n\n{table(digits)}" if digits else table(kinds)
    print(tables)
    failures = [(file, answer) for _, file, label, answer in answers if answer.digit != label]
    for file, answer in failures:
        predict.say(f"{file}: {answer}", sys.stdout)
    if options.picture and failures:
        if len(failures) > SHOWN:
            print(f"--picture shows the first {SHOWN} of {len(failures)}")
        predict.save_figure(failures_shown(failures[:SHOWN]), options.picture)
    if options.name:
        content = {"kinds": kinds, "digits": digits}
        write(options.name, content, f"# {options.name}\n\n{tables}\n")


def of_kinds(net, options, digits):
    """Measure synthetic kinds and write the results."""
    results = {}
    for group, kinds in {"tune": TUNE, "report": REPORT, "nothing": NOTHING}.items():
        if options.kinds not in ("all", group):
            continue
        results[group] = []
        for kind in kinds:
            row = measured_kind(net, kind, digits, options.number, options.keep)
            results[group].append(row)
            print(row, flush=True)
    about = {"images": f"{digits.source} {options.images}", "number": options.number}
    text = report(about, results)
    write(options.name or "photos", about | {"kinds": results}, text)
    print(text)


def main(arguments=None):
    """Run the command line."""
    parser = OneLineParser(description="Count the digits that predict.py reads correctly.")
    option = parser.option
    option("--folder", "of pictures, each named after its digit: 7_anna.jpg", type=path)
    option("--picture", "show in this file what was not read, with --folder", type=path)
    option("--weights", "of a run of train.py (default: predict.py's)", type=path, metavar="RUN")
    option("--kinds", "synthetic ones", choices=("tune", "report", "nothing", "all"), default="all")
    option("--images", "the set of the digits", choices=("train", "test"), default="test")
    option("--number", "of pictures of each kind", type=int, default=50)
    option("--name", "of the results (default: photos; none with --folder)")
    option("--keep", "folder for the synthetic pictures that are not read", type=path)
    option("--large", "measure one of 12 megapixels, and nothing else", action="store_true")
    parser.data_options(source="auto")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        check_integer("--number", options.number, minimum=1)
        net = predict.network(options.weights)
        if options.folder:
            return of_folder(net, options)
        transform = normalised()
        loaded = utils.data_loader(
            transform, transform, 64, root=options.root, source=options.source, device="cpu"
        )
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        sys.exit(f"photos.py: error: {error}")
    digits = loaded[1 if options.images == "train" else -1]
    if options.large:
        glyphs = glyphs_of(digits.data, digits.targets, np.random.default_rng(0))
        print("12 megapixels: {:.2f} s of one core, {:.0f} MiB".format(*large(net, next(glyphs))))
        return None
    return of_kinds(net, options, digits)


if __name__ == "__main__":
    run_main(main)
