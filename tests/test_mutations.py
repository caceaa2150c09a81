"""No text ends in a traceback or hangs: bundled specs, changed at random, are compiled or refused with diagnostics that have a place."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable

import pytest

from cnnc.check import Checked
from cnnc.compiler import Options, analyse
from cnnc.diagnostics.model import Diagnostic, Severity
from cnnc.diagnostics.text import to_text
from cnnc.reading import read_import
from cnnc.resources import specs_dir
from cnnc.source import Source

#: The specs that are changed: small networks with every construct between them.
SPECS = [
    specs_dir() / f"{name}.cnn" for name in ("alexnet", "lenet", "googlenet", "resnet", "unet", "vgg", "std/residual", "std/attention")
]
#: How many changed texts each part of the test compiles; MUTATIONS=20000 looks longer.
COUNT = int(os.environ.get("MUTATIONS", "1000")) // 10

_TOKEN = re.compile(r'"[^"\n]*"|#[^\n]*|\w+|->|\.\.|[=!<>]=|\*\*|//|\s+|.')
_PIECES = """
    -> = == { } ( ) [ ] , ; : . .. + - * / // % ** < <= and or not if else for in repeat let module default expect head input output network
    block from import as by concat add mul relu conv maxpool linear flatten identity split crop_like 0 1 -1 2 3x3 0x0 1e9 99999999999 1e400
    in flow in.channels true same "text" ' @ é 名 on towers exchange train x y 3x(1+2) a[0] b[0][1] range(9) 2**62 1.5 #
""".split()


def _bytes(text: str, rng: random.Random) -> str:
    """One to five characters changed, taken away or put in."""
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(text) + 1)
        new = rng.choice(["", chr(rng.randrange(32, 127)), rng.choice("\n\t\0\x7f \u00a0\ud800é"), text[at : at + 1] * 2])
        text = text[:at] + new + text[at + 1 :]
    return text


def _tokens(text: str, rng: random.Random) -> str:
    """One to four tokens changed for others, taken away, doubled or swapped."""
    tokens = _TOKEN.findall(text)
    for _ in range(rng.randint(1, 4)):
        at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        match rng.randrange(5):
            case 0:
                tokens[at] = rng.choice(_PIECES)
            case 1:
                tokens[at] = ""
            case 2:
                tokens.insert(at, rng.choice(_PIECES) + " ")
            case 3:
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case _:
                tokens[at] = tokens[other]
    return "".join(tokens)


def _lines(text: str, rng: random.Random) -> str:
    """One to three lines taken away, doubled, moved, joined or cut off."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                lines[at] = ""
            case 1:
                lines.insert(rng.randrange(len(lines)), lines[at])
            case 2:
                lines[at] = lines[at].rstrip("\n")
            case 3:
                lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
            case _:
                del lines[at:]
                lines.append("\n")
    return "".join(lines)


def _problems(text: str) -> tuple[Diagnostic, ...]:
    found = analyse(Source("changed.cnn", text, specs_dir() / "changed.cnn"), Options(), read_import)
    if isinstance(found, Checked):
        assert all((n.shapes is None) <= any(p.severity is Severity.ERROR for p in found.problems) for n in found.graph.nodes)
        assert len({n.path for n in found.graph.nodes}) == len(found.graph.nodes)
        return found.problems
    return found


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("change", [_bytes, _tokens, _lines], ids=["characters", "tokens", "lines"])
def test_changed_specs(change: Callable[[str, random.Random], str], seed: int) -> None:
    rng = random.Random(f"{change.__name__} {seed}")
    texts = [p.read_text(encoding="utf-8") for p in SPECS]
    for _ in range(max(COUNT // 3, 1)):
        text = change(rng.choice(texts), rng)
        started = time.perf_counter()
        problems = _problems(text)
        taken = time.perf_counter() - started
        assert taken < 60, f"{taken:.0f} s for:\n{text}"
        for problem in problems:
            span = problem.at.span
            assert 0 <= span.start <= span.end <= len(span.source.text), (problem, text)
            assert problem.headline and problem.headline[0] != " "
        assert len({(p.code, p.at.span.source, p.at.span.start, p.at.span.end) for p in problems}) == len(problems)
        to_text(problems)
