"""Whole processes: `cnnc shapes alexnet` against a torchinfo summary of the same network, in turn.

Processes are started one after the other, A B A B, so that a machine that slows down slows both; the ratio is the median of the pairs'.
Also timed: a bare interpreter, and one that imports the libraries that cnnc stands on, since the machine decides those and cnnc does not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent

SECONDS = 0.22
MEGABYTES = 45
RATIO = 8


@dataclass
class Runs:
    """A command, and what each of its runs took."""

    name: str
    arguments: list[str]
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Runs it once, with its output thrown away."""
        quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        # What a user has: bytecode beside the sources.
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME")}
        start = time.perf_counter()
        pid = os.posix_spawn(sys.executable, [sys.executable, *self.arguments], environment, file_actions=quiet)
        _, status, usage = os.wait4(pid, 0)
        self.seconds.append(time.perf_counter() - start)
        self.megabytes.append(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
        if status:
            sys.exit(f"{self.name} failed: {' '.join(self.arguments)}")


def main() -> None:
    """Runs everything and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=11, help="how often each command runs (default: 11)")
    pairs: int = parser.parse_args().pairs

    ours = Runs("cnnc shapes alexnet", ["-m", "cnnc", "shapes", "alexnet"])
    theirs = Runs("torchinfo, same network", [str(HERE / "alexnet_torchinfo.py")])
    libraries = Runs(
        "import click, lark, pydantic, rich", ["-c", "import click, lark, rich.console, rich.table; from pydantic import BaseModel"]
    )
    bare = Runs("python -c pass", ["-c", "pass"])
    every = (ours, theirs, libraries, bare)
    for runs in every:  # the first run fills caches
        runs.run()
        runs.seconds.clear()
        runs.megabytes.clear()
    for _ in range(pairs):
        for runs in every:
            runs.run()

    table = Table("process", "median s", "fastest s", "peak MB")
    for column in table.columns[1:]:
        column.justify = "right"
    for runs in every:
        seconds = runs.seconds
        table.add_row(runs.name, f"{statistics.median(seconds):.3f}", f"{min(seconds):.3f}", f"{statistics.median(runs.megabytes):.0f}")
    console = Console()
    console.print(table)

    ratio = statistics.median(b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True))
    over = statistics.median(a - b for a, b in zip(ours.seconds, libraries.seconds, strict=True))
    console.print(f"torchinfo takes {ratio:.1f} times as long (target: at least {RATIO})")
    console.print(f"cnnc takes {over:.3f} s more than importing its libraries does")
    console.print(f"targets for cnnc: at most {SECONDS} s and {MEGABYTES} MB")


if __name__ == "__main__":
    main()
