"""Problems as a reader wants them: in the order of the text, and each once."""

from __future__ import annotations

from collections.abc import Iterable

from cnnc.diagnostics.model import Diagnostic
from cnnc.source import Source


def in_order(problems: Iterable[Diagnostic], home: Source) -> tuple[Diagnostic, ...]:
    """Each problem once, sorted by place; those of the file at hand come before those of files that it imports."""
    kept: dict[tuple[str, Source, int, int], Diagnostic] = {}
    for problem in problems:
        span = problem.at.span
        kept.setdefault((problem.code, span.source, span.start, span.end), problem)
    return tuple(sorted(kept.values(), key=lambda p: (p.at.span.source is not home, p.at.span.source.name, p.at.span.start)))
