"""Several values of the language in one text, as a command line has them: ``0.5, [3, 4], "a,b"``."""

from __future__ import annotations

import re

#: A string, a bracket, or a comma.
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[()\[\]{},]', re.DOTALL)


def split_values(text: str) -> list[str]:
    """The parts between the commas that stand outside of brackets and strings, without the spaces around them."""
    parts: list[str] = []
    depth = start = 0
    for mark in _MARKS.finditer(text):
        found = mark[0]
        if found in "([{":
            depth += 1
        elif found in ")]}":
            depth -= 1
        elif found == "," and depth <= 0:
            parts.append(text[start : mark.start()].strip())
            start = mark.end()
    return [*parts, text[start:].strip()]


__all__ = ["split_values"]
