"""Run the notebooks from top to bottom; keep their outputs in them, and their results in results/.

    OMP_NUM_THREADS=1 MNIST_ROOT=FOLDER python benchmarks/notebooks.py [S7_Step1.ipynb ...]

A notebook that fails stays as it was. Progress bars, which are gone when a run ends, are left out.
What the experiments kept in runs/steps/, if of 15 epochs on the full MNIST, goes to results/steps/,
from where the README's table and docs/accuracy.png take it. EPOCHS=1 and a small MNIST_ROOT give a
quick run, best in a copy of the folder.
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
    """Return the notebook of a file, run in a folder; CellExecutionError if a cell fails."""
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
    """Copy the experiments kept in a folder, if whole and on the full MNIST, to another folder.

    A file is named after its experiment, such as 2.1-net2.json, and says where the run was made.
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
