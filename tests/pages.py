"""Runs the code blocks of Markdown pages as a reader does."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distax.cli.main import main

ROOT = Path(__file__).parents[1]
# Options that make a command short; they change how much is done, not what.
_TINY = "--model.options.stages 1 --model.options.channels 4"
_SMALL = "--steps 2 --batch-size 8 --eval-every 100 --eval-images 20"
SHORTER = {
    "quickstart": "--steps 2 --images 40",
    "train --run-dir runs/small": f"{_SMALL} --model.options stages 1 channels 4",
    "train --run-dir runs/edsr": f"{_SMALL} --model.options window 7 channels 4 blocks 1",
    "train --run-dir runs/blurred": f"{_SMALL} --model.options window 5 channels 8 blocks 2",
    "train --run-dir runs/upsampler": _SMALL,
    "train --run-dir runs/offsets": "--steps 2 --eval-images 20",
    "train --run-dir runs/tuned": "--steps 2 --eval-images 20",
    "train --run-dir runs/dista_c3": f"{_SMALL} {_TINY}",
    "evaluate": "--images 20",
    "unmix samples/frame.fits": "--prior.max-targets 2 --prior.cluster 1.0",
    "track samples/moving.npy": "--prior.max-targets 2 --prior.cluster 1.0",
    "track": "--checkpoint cfgn --threshold 120",
}
"""Options to add to the commands that start so."""


class Block(NamedTuple):
    """A fenced block: its language, the label behind that (or nothing) and its text."""

    language: str
    label: str
    text: str


def blocks(text: str) -> list[Block]:
    """Returns the fenced blocks of a page."""
    found = re.findall(r"^```(\w+)(?: ([\w.]+))?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(*block) for block in found]


def links(text: str) -> list[str]:
    """Returns the relative links of a page, without the place within the other page."""
    return re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)


def runs(block: Block) -> bool:
    """True if `run_page` runs or writes a block; other blocks are only shown."""
    return block.language not in ("text", "sh") or (block.language == "sh" and not block.label)


def run_page(text: str, name: str, shorter: Mapping[str, str] = SHORTER) -> None:
    """Runs a page's blocks from top to bottom in the current folder, sharing one namespace.

    Blocks labelled with a file's name are written to that file. Commands in labelled shell blocks
    are left out: they install, or take hours.

    Args:
      text: the page.
      name: the page's name, for error messages.
      shorter: options to add to the commands that start so, to have them do less.
    """
    names: dict[str, Any] = {"__name__": "page"}
    for block in filter(runs, blocks(text)):
        if block.label:
            Path(block.label).write_text(block.text)
        elif block.language == "sh":
            for line in block.text.splitlines():
                assert line.startswith("distax "), line
                run_line(line, shorter)
        else:
            assert block.language == "python"
            exec(compile(block.text, name, "exec"), names)


def run_line(line: str, shorter: Mapping[str, str]) -> None:
    """Runs a line of a shell block.

    Args:
      line: a `distax` command.
      shorter: options to add to the commands that start so, to have them do less.
    """
    arguments = [
        word
        for part in shlex.split(line)[1:]
        for word in (sorted(map(str, Path().glob(part))) if "*" in part else [part])
    ]
    extra = next((text for start, text in shorter.items() if line[7:].startswith(start)), "")
    main(arguments + extra.split())
