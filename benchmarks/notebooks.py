"""Run the notebooks from top to bottom and keep their outputs in them.

    OMP_NUM_THREADS=1 MNIST_ROOT=FOLDER python benchmarks/notebooks.py [S7_Step1.ipynb ...]

A notebook that breaks stays as it was. Progress bars, which are gone when a run ends, are left out.
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import utils  # noqa: E402

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


def main(arguments=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Run the notebooks and keep their outputs.")
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks (default: the three steps)")
    paths = parser.parse_args(arguments).paths or [REPOSITORY / name for name in NAMES]
    for path in paths:
        try:
            notebook = execute(path, path.resolve().parent)
            utils.write_atomically(path, nbformat.writes(notebook).encode() + b"\n")
        except (CellExecutionError, RuntimeError, ValueError, KeyError, OSError) as error:
            sys.exit(f"notebooks.py: error: {path}: {error}")
        print(path)


if __name__ == "__main__":
    main()
