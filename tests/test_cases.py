"""The folder of cases itself is in order."""

from __future__ import annotations

import pytest

from conftest import CASES

#: what the outputs of a case end in; the case itself is the `.cnn` file of the same name beside it
_EXPECTED = {".txt", ".py", ".json", ".dot", ".svg", ".sarif", ".out"}


@pytest.mark.parametrize("folder", sorted(p for p in CASES.rglob("*") if p.is_dir() and p.name != "__pycache__"), ids=lambda p: p.name)
def test_every_expected_file_has_its_case(folder):
    """An expected file that no case claims is one that nothing checks: its case was renamed or removed."""
    cases = {p.stem for p in folder.glob("*.cnn")}
    expected = [p for p in folder.iterdir() if p.suffix in _EXPECTED]
    strays = sorted(p.name for p in expected if not any(p.name.startswith(f"{case}.") for case in cases))
    assert not strays, f"no case stands beside {', '.join(strays)}"
