"""The code blocks of Markdown pages, run as a reader would."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from distax.cli.main import main

ROOT = Path(__file__).parents[1]


class Block(NamedTuple):
    """A fenced block: its language, the label behind that (or nothing) and its text."""

    language: str
    label: str
    text: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    found = re.findall(r"^```(\w+)(?: ([\w.]+))?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(*block) for block in found]


def links(text: str) -> list[str]:
    """The relative links of a page, without what they point to within another."""
    return re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)


def run_line(line: str, shorter: Mapping[str, str]) -> None:
    """Run a line of a shell block.

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
