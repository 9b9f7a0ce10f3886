"""Runs notebooks from top to bottom and stores them with their output.

    python experiments/run_notebooks.py experiments/notebooks/*.ipynb

Each takes about a minute on one CPU core. Needs the extra `test`.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from distax.runtime.files import write_text

TIMEOUT = 600
"""Largest time in seconds for one cell."""


def main(paths: list[Path]) -> None:
    """Runs the notebooks in these files. A notebook that fails is left as it was."""
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        execute(notebook)
        notebook.metadata = {
            "kernelspec": notebook.metadata.kernelspec,
            "language_info": {"name": "python"},
            "code_sha256": code_sha256(notebook),
        }
        write_text(path, nbformat.writes(notebook) + "\n")
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def execute(notebook: NotebookNode) -> None:
    """Runs a notebook in place, in a fresh kernel and an empty folder.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell ends with an error.
    """
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT,
            resources=resources,
            record_timing=False,
            coalesce_streams=True,
        )
        client.execute()


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Returns the cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def code_sha256(notebook: NotebookNode) -> str:
    """Hashes a notebook's code, to compare with the code that made its stored output."""
    code = "\0".join(cell.source for cell in code_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
