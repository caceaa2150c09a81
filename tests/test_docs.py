"""The documents hold: complete specs in them check as they say, and what a command prints there is what it prints."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from cnnc.check import Checked
from cnnc.cli import cli
from cnnc.compiler import Options, analyse, networks, parse
from cnnc.diagnostics.model import Diagnostic
from cnnc.reading import read_import
from cnnc.source import Source

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LESSON = ROOT / "docs" / "shape-arithmetic.md"

#: Blocks that are no complete specs, by document and first line: left out knowingly, each of them.
FRAGMENTS = {
    ("README.md", "network AlexNet(classes = 1000) {"): "has an ellipsis",
    ("language.md", 'from "blocks.cnn" import Inception, Tail as Head'): "imports files that are not there",
    ("language.md", "for i, depth in [3, 4, 6, 3] {"): "is a piece of a body",
}

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPECTED = re.compile(r"#\s*(?:error|warning): \[(\w+)\]\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, what language it says it is in, and its text."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"

    @property
    def first(self) -> str:
        """The first line."""
        return self.text.partition("\n")[0]


def blocks(document: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a document in one of the languages."""
    text = document.read_text(encoding="utf-8")
    found = [Block(document, text.count("\n", 0, m.start()) + 2, m[1], m[2]) for m in _FENCE.finditer(text)]
    return [b for b in found if b.language in languages]


SPECS = [b for d in DOCUMENTS for b in blocks(d, "cnn") if (d.name, b.first) not in FRAGMENTS]


def diagnostics(block: Block) -> list[Diagnostic]:
    """Every problem of every network of a block."""
    source = Source(str(block), block.text)
    names = networks(source, read_import)
    if not names:
        return list(parse(source).problems)
    found: list[Diagnostic] = []
    for name in names:
        checked = analyse(source, Options(name), read_import)
        found += checked.problems if isinstance(checked, Checked) else checked
    return found


@pytest.mark.parametrize("block", SPECS, ids=str)
def test_a_spec_checks_as_it_says(block):
    lines = enumerate(block.text.splitlines(), 1)
    expected = {(n, m[1]) for n, line in lines if (m := _EXPECTED.search(line))}
    assert {(d.at.span.line, d.code) for d in diagnostics(block)} == expected


def test_there_are_specs_and_every_fragment_is_still_there():
    assert len([b for b in SPECS if b.document == LESSON]) >= 10
    assert len([b for b in SPECS if b.document != LESSON]) >= 2
    there = {(b.document.name, b.first) for d in DOCUMENTS for b in blocks(d, "cnn")}
    assert FRAGMENTS.keys() <= there


def test_quoted_messages_are_those_of_the_specs_before_them():
    headlines = {f"{d.severity.value}[{d.code}]: {d.headline}" for b in SPECS if b.document == LESSON for d in diagnostics(b)}
    quoted = [line for b in blocks(LESSON, "") for line in b.text.splitlines() if line.startswith(("error[", "warning["))]
    assert len(quoted) == 2
    assert set(quoted) <= headlines


@pytest.mark.parametrize("block", blocks(LESSON, "console"), ids=str)
def test_quoted_output_is_what_is_printed(block):
    """Line by line; `…` stands for lines left out, and so does the end."""
    command, *quoted = block.text.splitlines()
    assert command.startswith("$ cnnc ")
    printed = CliRunner().invoke(cli, shlex.split(command)[2:]).stdout.splitlines()
    for piece in "\n".join(quoted).split("\n…\n"):
        assert f"\n{piece}\n" in "\n".join(["", *printed, ""])
