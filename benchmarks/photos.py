"""Read digits from photographs of many kinds, and tabulate by kind how many are read correctly.

    python benchmarks/photos.py [--root FOLDER] [--kinds tune|report|nothing|all]
                                [--images train|test] [--number N] [--large]

The kinds are in photo_kinds.py. photo/ was tuned on those in TUNE, with --images train but for
its last changes; those in REPORT were only reported. Writes NAME.md and NAME.json to
benchmarks/results/, NAME being what --name says.
"""

import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from photo_kinds import NOTHING, REPORT, TUNE, glyphs_of, twelve_megapixels  # noqa: E402

import hubconf  # noqa: E402
import predict  # noqa: E402
import utils  # noqa: E402
from checkpoints import write_atomically  # noqa: E402
from checks import check_integer  # noqa: E402
from options import OneLineParser, path  # noqa: E402
from recipes import normalised  # noqa: E402

TITLES = {"tune": "Tuned on", "report": "Reported", "nothing": "To be refused"}


def read(net, image):
    """Return digit and probability, or None for an image that is refused."""
    try:
        probabilities = predict.read_digits(net, predict.to_mnist(image)[None])[0]
    except ValueError:
        return None
    return int(probabilities.argmax()), float(probabilities.max())


def measure(net, kind, glyphs, number, seed, keep=None):
    """Read photographs of a kind; return how many are correct, refused, wrong at 90 % or more.

    Those that are not read as they should be are written to the folder `keep`.
    """
    counts = {"kind": kind.__name__, "n": number, "correct": 0, "refused": 0, "wrong_at_90": 0}
    for k, glyph in enumerate(itertools.islice(glyphs, number)):
        image = kind(glyph, np.random.default_rng([seed, k]))
        answer = read(net, image)
        wanted = None if kind in NOTHING else glyph.label
        correct = wanted == (answer and answer[0])
        counts["correct"] += correct
        counts["refused"] += answer is None
        counts["wrong_at_90"] += bool(answer and answer[1] >= predict.DOUBTFUL and not correct)
        if keep and not correct:
            seen = f"read{answer[0]}" if answer else "refused"
            name = f"{kind.__name__}-{k}-is{glyph.label}-{seen}.png"
            image.convert("RGBA").save(keep / name)
    return counts


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


def table(rows):
    """Return a Markdown table of the counts by kind, in per cent."""
    lines = ["| kind | correct | refused | wrong at 90 % or more |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        shares = (100 * row[name] / row["n"] for name in ("correct", "refused", "wrong_at_90"))
        name = row["kind"].replace("_", " ")
        lines.append(f"| {name} | " + " | ".join(f"{share:.1f}" for share in shares) + " |")
    return "\n".join(lines)


def total(name, rows):
    """Return the sum of rows as a row."""
    return {"kind": name} | {key: sum(row[key] for row in rows) for key in rows[0] if key != "kind"}


def report(about, results):
    """Return the tables of all groups of kinds as a Markdown page."""
    head = f"In per cent of {about['number']} photographs of each kind; digits: {about['images']}."
    sections = ["# Photographs", head]
    for group, rows in results.items():
        sections.append(f"## {TITLES[group]}\n\n{table([*rows, total('all', rows)])}")
    if "tune" in results and "report" in results:
        rows = results["tune"] + results["report"]
        sections.append(f"## All that can be read\n\n{table([total('all', rows)])}")
    return "\n\n".join(sections) + "\n"


def main(arguments=None):
    """Run the command line."""
    parser = OneLineParser(description="Read photographs of digits, by kind.")
    option = parser.option
    option("--kinds", "to measure", choices=("tune", "report", "nothing", "all"), default="all")
    option("--images", "the set of the digits", choices=("train", "test"), default="test")
    option("--number", "of photographs of each kind", type=int, default=50)
    option("--name", "of the results", default="photos")
    option("--keep", "folder for the photographs that are not read as they should be", type=path)
    option("--large", "measure one of 12 megapixels, and nothing else", action="store_true")
    parser.data_options(source="auto")
    options = parser.parse_args(arguments)
    try:
        check_integer("--number", options.number, minimum=1)
    except ValueError as error:
        sys.exit(f"photos.py: error: {error}")
    torch.set_num_threads(1)
    transform = normalised()
    loaded = utils.data_loader(
        transform, transform, 64, root=options.root, source=options.source, device="cpu"
    )
    digits = loaded[1 if options.images == "train" else -1]
    net = hubconf.net5(pretrained=True)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    if options.large:
        digits = glyphs_of(digits.data, digits.targets, np.random.default_rng(0))
        print("12 megapixels: {:.2f} s of one core, {:.0f} MiB".format(*large(net, next(digits))))
        return
    results, start = {}, time.perf_counter()
    for group, kinds in {"tune": TUNE, "report": REPORT, "nothing": NOTHING}.items():
        if options.kinds not in ("all", group):
            continue
        results[group] = []
        for kind in kinds:
            seed = sum(map(ord, kind.__name__))
            glyphs = glyphs_of(digits.data, digits.targets, np.random.default_rng(seed))
            row = measure(net, kind, glyphs, options.number, seed, options.keep)
            results[group].append(row)
            print(row, flush=True)
    about = {"images": f"{digits.source} {options.images}", "number": options.number}
    text = report(about, results)
    write_atomically(HERE / "results" / f"{options.name}.md", text.encode())
    content = json.dumps(about | {"kinds": results}, indent=1) + "\n"
    write_atomically(HERE / "results" / f"{options.name}.json", content.encode())
    print(f"{text}\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
