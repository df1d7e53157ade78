"""Execute the notebooks in place, and copy their results to results/steps/.

    OMP_NUM_THREADS=1 MNIST_ROOT=FOLDER python benchmarks/notebooks.py [S7_Step1.ipynb ...]

A notebook that fails is left unchanged. Progress bars are removed from the outputs. Results in
runs/steps/ of 15 epochs on the full MNIST are copied to results/steps/, the source of the README's
table and of docs/accuracy.png. For a quick run, set EPOCHS=1 and a small MNIST_ROOT in a copy of
the repository.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import report  # noqa: E402
import utils  # noqa: E402
from checkpoints import write_atomically  # noqa: E402
from hardware import environment  # noqa: E402

NAMES = ("S7_Step1.ipynb", "S7_Step2.ipynb", "S7_Step3.ipynb")
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path, folder):
    """Return a file's notebook after running it in a folder; CellExecutionError if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        coalesce_streams=True,
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran: another file at every run
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs if WIDGET not in output.get("data", {})
            ]
    return notebook


def publish(kept, folder):
    """Copy the results of 15 epochs on the full MNIST from one folder to another.

    A file is named after its experiment, such as 2.1-net2.json, and gets hardware and versions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(kept.glob("*, full, 15 epochs.json")):
        content = json.loads(path.read_text())
        content["environment"] = environment(utils.get_device())
        name = re.sub(r"[^\w.]+", "-", content["name"].lower())
        text = json.dumps(content, indent=1) + "\n"
        write_atomically(folder / f"{name}.json", text.encode())


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Run the notebooks and keep their outputs.")
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks (default: the three steps)")
    paths = parser.parse_args(arguments).paths or [REPOSITORY / name for name in NAMES]
    for path in paths:
        folder = path.resolve().parent
        try:
            notebook = execute(path, folder)
            write_atomically(path, nbformat.writes(notebook).encode() + b"\n")
        except (CellExecutionError, RuntimeError, ValueError, KeyError, OSError) as error:
            sys.exit(f"notebooks.py: error: {path}: {error}")
        if folder == REPOSITORY:
            publish(folder / report.SAVED, report.RESULTS / "steps")
        print(path)


if __name__ == "__main__":
    main()
