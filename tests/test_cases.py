"""The folder of cases is in order; each file in `errors/` is refused as it says.

A case in `errors/` is a spec with mistakes. A comment at the end of a line, `# error: [E301]` or `# warning: [W301]`, says what must be
blamed there; nothing else may be reported. The rendering stands beside it as `.txt`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import cnnc
from cnnc.check import Checked
from cnnc.compiler import Options, analyse
from cnnc.diagnostics.text import to_text
from cnnc.reading import read_file, read_import
from cnnc.source import Source
from conftest import CASES, Golden

#: what the outputs of a case end in; the case itself is the `.cnn` file of the same name beside it
_EXPECTED = {".txt", ".py", ".json", ".dot", ".svg", ".sarif", ".out"}

ERRORS = CASES / "errors"

_MARK = re.compile(r"# (error|warning): ((?:\[\w+\] ?)+)$")

#: Codes that no file on its own can bring about, and why.
WITHOUT_CASE = {
    "E300": "the code of a layer's refusal that gives none of its own",
    "E506": "--input names an input that is not there",
    "E513": "the spec on the command line cannot be read",
    "E514": "the file is too large, or no text",
    "E701": "--target names no target",
    "E702": "a network that PyTorch code cannot express",
}


@pytest.mark.parametrize("folder", sorted(p for p in CASES.rglob("*") if p.is_dir() and p.name != "__pycache__"), ids=lambda p: p.name)
def test_every_expected_file_has_its_case(folder: Path) -> None:
    """An expected file that no case claims is one that nothing checks: its case was renamed or removed."""
    cases = {p.stem for p in folder.glob("*.cnn")}
    expected = [p for p in folder.iterdir() if p.suffix in _EXPECTED]
    strays = sorted(p.name for p in expected if not any(p.name.startswith(f"{case}.") for case in cases))
    assert not strays, f"no case stands beside {', '.join(strays)}"


@pytest.mark.parametrize("case", sorted(ERRORS.glob("*.cnn")), ids=lambda p: p.stem)
def test_errors(case: Path, golden: Golden) -> None:
    source = read_file(case, case.name)
    assert isinstance(source, Source)
    found = analyse(source, Options(), read_import)
    problems = found.problems if isinstance(found, Checked) else found
    expected = Counter(
        (number, mark[1], code)
        for number, line in enumerate(source.text.splitlines(), start=1)
        if (mark := _MARK.search(line))
        for code in re.findall(r"\w+", mark[2])
    )
    assert expected, "a case marks the lines that must be blamed"
    assert Counter((p.at.span.line, p.severity.value, p.code) for p in problems) == expected
    assert all(p.at.span.source is source for p in problems)
    assert [p.at.span.start for p in problems] == sorted(p.at.span.start for p in problems)
    golden(case.with_suffix(".txt"), to_text(problems))


def test_every_code_has_a_case() -> None:
    package = Path(cnnc.__file__).parent
    codes = {code for file in package.rglob("*.py") for code in re.findall(r'"([EW][1-9]\d\d)"', file.read_text(encoding="utf-8"))}
    marks = [mark for file in ERRORS.glob("*.cnn") for mark in re.findall(r"# (?:error|warning): (.*)", file.read_text(encoding="utf-8"))]
    cases = {code for mark in marks for code in re.findall(r"\w+", mark)}
    assert codes - cases == set(WITHOUT_CASE), "give each new code a case in tests/cases/errors, or say here why it has none"
