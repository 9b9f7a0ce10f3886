"""Scores methods on sequences under SeqCSIST's protocol, and writes the table of the docs page.

    distax train --config experiments/tdan.toml --run-dir runs/tdan
    python experiments/sequences_leaderboard.py

Every method is scored on the same simulated sequences by `distax evaluate --protocol seqcsist`.
Published scores on the released sequences are listed below, labelled.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import tyro

from distax.cli.main import main as distax
from distax.evaluation.results import SCORE_HEADINGS
from distax.runtime.files import write_text

RESULTS = Path("experiments/results/sequences_leaderboard.json")
TABLE = Path("experiments/results/sequences_leaderboard.md")
METHODS = {
    "refine, linked over all frames (this library)": ["--method", "refine", "--linked"],
    "refine, frame by frame (this library)": ["--method", "refine"],
    "CFGN, weights of still scenes, frame by frame": ["--checkpoint", "cfgn"],
    "DISTA-Net, weights of still scenes, frame by frame": ["--checkpoint", "dista"],
    "TDAN, small, 600 sequences of training": ["--checkpoint", "runs/tdan"],
    "FISTA, frame by frame": ["--checkpoint", "fista"],
}
"""Options of `distax evaluate` by the label of a row."""
PUBLISHED = {
    "DeRefNet": (51.55, 1.0, 14.4, 54.9, 90.4, 97.1),
    "ISTA-Net+": (51.02,),
    "GMFN": (50.94,),
    "FISTA-Net": (50.61,),
    "ISTA-Net++": (50.50,),
    "DBPN": (50.40,),
    "EDSR": (50.19,),
    "SRCNN": (49.64,),
    "RDN": (49.61,),
    "USRNet": (49.25,),
    "ISTA-Net": (48.95,),
    "TDAN": (47.96,),
    "ESPCN": (47.18,),
    "RPCANet": (47.17,),
    "ESRGAN": (36.86,),
    "BSRGAN": (33.21,),
    "SRGAN": (26.96,),
    "BID": (14.40,),
    "TiLISTA": (13.52,),
    "ISTA": (10.72,),
    "LISTA": (9.39,),
    "LAMP": (9.09,),
    "LIHT": (6.36,),
}
"""Published CSO-mAP, and AP at the five radii where known, in percent (arXiv 2507.09556)."""


def score(options: list[str], sequences: int, seed: int) -> dict[str, Any]:
    """Runs `distax evaluate` and returns what it writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "result.json")
        common = ["--protocol", "seqcsist", "--sequences", str(sequences), "--seed", str(seed)]
        distax(["evaluate", *common, *options, "--json", str(file)])
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def make_table(results: dict[str, dict[str, Any]]) -> str:
    """Returns the Markdown table of measured rows, then of published ones."""
    headings = ["method", "sequences", *SCORE_HEADINGS[1:], "found within 0.25 px", "false"]
    lines = [f"| {' | '.join(headings)} |", "|---|---|" + "--:|" * (len(headings) - 2)]
    for name, result in results.items():
        frames = result["frames"]
        shares = [frames["cso_map"], *frames["ap"].values()]
        shares += [result["detection_rate"]["0.25"], result["false_rate"]["0.25"]]
        cells = [name, "simulated", *(f"{100 * share:.1f}" for share in shares)]
        lines.append(f"| {' | '.join(cells)} |")
    for name, row in PUBLISHED.items():
        values = [
            f"{value:.2f}" if not place else f"{value:.1f}" for place, value in enumerate(row)
        ]
        padding = ["–"] * (len(headings) - 2 - len(values))
        lines.append(f"| {' | '.join([f'{name}, published', 'released', *values, *padding])} |")
    return "\n".join(lines) + "\n"


def main(sequences: int = 40, seed: int = 10_000) -> None:
    """Score the methods and write results and table.

    Args:
      sequences: number of simulated sequences of 20 frames.
      seed: random seed of the sequences.
    """
    results = {name: score(options, sequences, seed) for name, options in METHODS.items()}
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    write_text(TABLE, make_table(results))


if __name__ == "__main__":
    tyro.cli(main)
