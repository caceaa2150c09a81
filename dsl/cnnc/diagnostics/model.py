"""A problem as a value. Renderings are elsewhere; nothing here prints."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cnnc.source import Span


class Severity(Enum):
    """How bad a problem is: an error stops every backend, a warning none (unless ``--strict``)."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A place and a few words that make sense only there."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters of ``span`` by ``text``."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """Edits that repair a problem; ``safe`` ones keep what the author meant and may be applied unseen."""

    title: str
    edits: tuple[Edit, ...]
    safe: bool = False


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: what, where, the numbers, and a way out.

    ``headline`` is lower case, without a full stop, and stands alone in a log; ``notes`` are facts (the formula with its numbers);
    ``also`` are other places that matter (where a shape comes from, the calls that led here).
    """

    code: str
    headline: str
    at: Label
    also: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    fixes: tuple[Fix, ...] = ()
    severity: Severity = Severity.ERROR


class CnncError(Exception):
    """Raised by the Python interface when a spec has errors; carries every diagnostic."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        self.diagnostics = diagnostics
        lines = [
            f"{d.at.span.source.name}:{d.at.span.line}:{d.at.span.column}: {d.severity.value}[{d.code}]: {d.headline}" for d in diagnostics
        ]
        super().__init__("\n".join(lines))
