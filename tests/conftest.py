"""What every test may use: the ``golden`` fixture, the Hypothesis profiles, and a cache folder of the run's own."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

CASES = Path(__file__).parent / "cases"

#: ``golden(expected_file, text)``: the text must be what the file holds.
Golden = Callable[[Path, str], None]

# HYPOTHESIS_PROFILE=full looks longer, and elsewhere each time; the default looks at the same examples on every run.
settings.register_profile("quick", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("full", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the expected files anew instead of comparing with them")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # a worker of pytest-xdist: it has the environment of the process that started it
    # The user's own cache must neither help a test to pass nor change because of it.
    cache = tempfile.mkdtemp(prefix="cnnc-tests-")
    config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))
    os.environ["XDG_CACHE_HOME"] = cache
    os.environ.pop("CNNC_NO_CACHE", None)
    # Output must not depend on the terminal that the tests happen to run in.
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "CLICOLOR_FORCE"):
        os.environ.pop(name, None)
    # Workers share the cores already: a pool of threads in each only slows them all.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a text with an expected file; with ``--update-golden``, writes the file instead."""
    update = bool(request.config.getoption("--update-golden"))

    def check(expected: Path, text: str) -> None:
        if update:
            if not expected.exists() or expected.read_text(encoding="utf-8") != text:
                expected.write_text(text, encoding="utf-8")
            return
        shown = os.path.relpath(expected)
        if not expected.exists():
            pytest.fail(f"{shown} is missing; if this is right, run `pytest --update-golden`:\n{text}", pytrace=False)
        old = expected.read_text(encoding="utf-8")
        if old != text:
            lines = difflib.unified_diff(old.splitlines(), text.splitlines(), shown, "what came out", lineterm="")
            pytest.fail("\n".join([*lines, "", "if this is right, run `pytest --update-golden`"]), pytrace=False)

    return check
