"""Formatting of texts in pictures."""

from distax.runtime.terminal import printable


def plural(count: int, noun: str) -> str:
    """Returns a number with its noun in the singular or the plural."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def elide(text: str, most: int = 90) -> str:
    """Replaces the middle of a text by "…" if it has more than `most` characters.

    The beginning and the end of a file's name say more than its middle. Control characters, which
    fonts and SVG files do not have, are replaced by the escapes of Python's strings.
    """
    text = printable(text)
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - 1 - end]}…{text[-end:]}"
