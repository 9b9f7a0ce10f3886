"""Sequences leaderboard: scores methods under SeqCSIST's protocol, and writes the page's table.

    for name in tdan edsr_moving srcnn_moving cfgn_moving; do
      distax train --config experiments/$name.toml --run-dir runs/$name
    done
    python experiments/sequences_leaderboard.py

Every method is scored on the same simulated sequences by `distax evaluate --protocol seqcsist`. The
scores are in `experiments/results/sequences_leaderboard.json`, and the table in
docs/sequences-leaderboard.md is made from that file. Methods with a score are skipped, so the
command can be stopped and restarted at any time. `--models tdan fista` scores these again.
`--no-score` only makes the table. Published scores on the released sequences are listed below,
labelled.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from leaderboard_page import insert_table

from distax.cli.main import main as distax
from distax.evaluation.results import SCORE_HEADINGS
from distax.runtime.files import write_text

HERE = Path(__file__).parent
RESULTS = HERE / "results/sequences_leaderboard.json"
PAGE = HERE.parent / "docs/sequences-leaderboard.md"
SEQUENCES, SEED = 40, 10_000
"""Number of simulated sequences of 20 frames, the same for all methods, and their seed."""


@dataclass(frozen=True)
class Entry:
    """One method of the leaderboard.

    Attributes:
      title: name in the table.
      options: options of `distax evaluate` that name the method.
    """

    title: str
    options: tuple[str, ...]


ENTRIES = {
    "refine_linked": Entry(
        "refine, linked over all frames (this library)", ("--method", "refine", "--linked")
    ),
    "refine": Entry("refine, frame by frame (this library)", ("--method", "refine")),
    "cfgn": Entry("CFGN, weights of still scenes, frame by frame", ("--checkpoint", "cfgn")),
    "dista": Entry("DISTA-Net, weights of still scenes, frame by frame", ("--checkpoint", "dista")),
    "density": Entry(
        "density, weights of still scenes, frame by frame (this library)",
        ("--checkpoint", "density"),
    ),
    "edsr_moving": Entry(
        "EDSR, trained on moving scenes, frame by frame", ("--checkpoint", "runs/edsr_moving")
    ),
    "srcnn_moving": Entry(
        "SRCNN, trained on moving scenes, frame by frame", ("--checkpoint", "runs/srcnn_moving")
    ),
    "cfgn_moving": Entry(
        "CFGN, trained on moving scenes, frame by frame", ("--checkpoint", "runs/cfgn_moving")
    ),
    "tdan": Entry("TDAN, small, 600 sequences of training", ("--checkpoint", "runs/tdan")),
    "fista": Entry("FISTA, frame by frame", ("--checkpoint", "fista")),
}
"""Methods by name, in the order in which they are scored."""
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


def command(entry: Entry) -> list[str]:
    """Returns the command line that scores a method, after `distax`."""
    data = ["--sequences", str(SEQUENCES), "--seed", str(SEED)]
    return ["evaluate", "--protocol", "seqcsist", *data, *entry.options]


def score(entry: Entry) -> dict[str, Any]:
    """Runs `distax evaluate` and returns what it writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "result.json")
        distax([*command(entry), "--json", str(file)])
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def read_results() -> dict[str, Any]:
    """Reads the scores so far, by the names of the methods."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results


def table(results: Mapping[str, dict[str, Any]]) -> str:
    """Returns the Markdown table of measured rows, best first, and then of published ones."""
    headings = ["method", "sequences", *SCORE_HEADINGS[1:], "found within 0.25 px", "false"]
    lines = [f"| {' | '.join(headings)} |", "|---|---|" + "--:|" * (len(headings) - 2)]
    for name in sorted(results, key=lambda name: -results[name]["frames"]["cso_map"]):
        result, frames = results[name], results[name]["frames"]
        shares = [frames["cso_map"], *frames["ap"].values()]
        shares += [result["detection_rate"]["0.25"], result["false_rate"]["0.25"]]
        cells = [ENTRIES[name].title, "simulated", *(f"{100 * share:.1f}" for share in shares)]
        lines.append(f"| {' | '.join(cells)} |")
    for name, row in PUBLISHED.items():
        values = [
            f"{value:.2f}" if not place else f"{value:.1f}" for place, value in enumerate(row)
        ]
        padding = ["–"] * (len(headings) - 2 - len(values))
        lines.append(f"| {' | '.join([f'{name}, published', 'released', *values, *padding])} |")
    return "\n".join(lines) + "\n"


def main(models: tuple[str, ...] = (), no_score: bool = False) -> None:
    """Score methods without a result, then make the table.

    Args:
      models: names of methods to score, also again. Default: those without a result.
      no_score: only make the table.
    """
    if unknown := set(models) - ENTRIES.keys():
        raise SystemExit(f"no method is named {', '.join(sorted(unknown))}: see ENTRIES")
    results = read_results() if RESULTS.exists() else {}
    chosen = models or [name for name in ENTRIES if name not in results]
    for name in () if no_score else chosen:
        results[name] = score(ENTRIES[name])
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    insert_table(PAGE, table(results))


if __name__ == "__main__":
    tyro.cli(main)
