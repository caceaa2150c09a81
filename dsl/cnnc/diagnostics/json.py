"""Diagnostics as data for other programs. The keys are documented and stable; lines and columns count from 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.source import Span


def to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """One object a diagnostic, ready for ``json.dumps``."""
    return [_diagnostic(d) for d in diagnostics]


def _diagnostic(d: Diagnostic) -> dict[str, Any]:
    return {
        "code": d.code,
        "severity": d.severity.value,
        "headline": d.headline,
        **_label(d.at),
        "also": [_label(label) for label in d.also],
        "notes": list(d.notes),
        "help": d.help,
        "fixes": [{"title": f.title, "safe": f.safe, "edits": [{**_place(e.span), "text": e.text} for e in f.edits]} for f in d.fixes],
    }


def _label(label: Label) -> dict[str, Any]:
    return {**_place(label.span), "label": label.text}


def _place(span: Span) -> dict[str, Any]:
    return {
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }
