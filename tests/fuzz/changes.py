"""Changes of a file's content."""

import re

import numpy as np

VALUES = (
    b"\0",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"9",
    b"0",
    b"9999",
    b"-",
    b"{}",
    b"\n",
)
"""Bytes that are likely to do harm."""
WORDS = (
    b"nan -inf inf 1e308 -1e308 1e-320 1e999 -0.0 0 -1 1 2 2000 1000000000 9223372036854775808 "
    b"-170141183460469231731687303715884105728 99999999999999999999999999999999999999 0x10 1_0 "
    b'true false null none "none" "" "a" [] {} [[]] [1,2] [[1,2],[3]] {"a":1} {a=1} 1979-05-27 '
    b'07:32:00 1979-05-27T07:32:00Z "\\u0000" "../../a" "/dev/zero" "\xff"'
).split()
"""Values that are likely to do harm in a text."""
BYTE_KINDS = ("write", "flip", "delete", "copy", "cut")
TEXT_KINDS = (*BYTE_KINDS, "value", "value", "value", "nest")
_VALUE = re.compile(rb"""(?<=[=:,\[\s])(?:"[^"\n]*"|[-+\w.]+)(?=[\s,\]}])""")

Change = tuple[str, float, float, bytes]
"""A kind of change, two places as shares of the content's length, and a value."""


def changed(content: bytes, changes: list[Change]) -> bytes:
    """Applies changes to a file's content."""
    result = bytearray(content)
    for kind, place, other, value in changes:
        start, source = int(place * len(result)), int(other * len(result))
        if kind == "write":
            result[start : start + len(value)] = value
        elif kind == "flip":
            result[start] ^= 1 << (value[0] % 8)
        elif kind == "delete":
            del result[start : start + 1 + value[0]]
        elif kind == "copy":
            result[start : start + 40] = result[source : source + 40]
        elif kind in ("value", "nest"):
            values = list(_VALUE.finditer(result))
            if values:
                found = values[int(place * len(values))]
                deep = b"[" * 3000 + b"]" * 3000
                result[found.start() : found.end()] = deep if kind == "nest" else value
        else:
            del result[max(start, source) :]
        if not result:
            return b"x"
    return bytes(result)


def random_changes(rng: np.random.Generator, is_text: bool) -> list[Change]:
    """Draws one to four changes. Places at the start, where headers are, are more likely."""
    if is_text and rng.random() < 0.5:  # what follows the parser is reached by one bad value
        return [_random_change(rng, "value")]
    kinds = TEXT_KINDS if is_text else BYTE_KINDS
    return [_random_change(rng, kinds[rng.integers(len(kinds))]) for _ in range(rng.integers(1, 5))]


def _random_change(rng: np.random.Generator, kind: str) -> Change:
    if kind == "value":
        return kind, rng.random(), 0.0, WORDS[rng.integers(len(WORDS))]
    value = VALUES[rng.integers(len(VALUES))] if rng.random() < 0.7 else rng.bytes(4)
    return kind, rng.random() ** 2, rng.random() ** 2, value
