"""Two networks side by side as text, Markdown and JSON: the printing of ``cnnc diff``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import click

from cnnc.cli.forms import bytes_text, escaped, markdown, per_cent, signed
from cnnc.cli.table import Column, Row, print_table
from cnnc.compare import TOTALS, Comparison, Pair
from cnnc.compare import Layer as Side

if TYPE_CHECKING:
    from cnnc.check import Checked

_COLUMNS = (
    Column(""),
    Column("layer", fold=True),
    Column("op", fold=True),
    Column("difference", fold=True),
    Column("output", fold=True),
    Column("params", right=True),
    Column("change", right=True),
    Column("MACs", right=True),
    Column("change", right=True),
)

_MARKS = {"same": "", "changed": "~", "renamed": "~", "added": "+", "removed": "-"}
_STYLES = {"same": "dim", "changed": "bold", "renamed": "", "added": "", "removed": "red"}

#: The totals that are told below the table: name, title, whether bytes.
_SUMMED = (
    ("layers", "layers", False),
    ("params", "parameters", False),
    ("macs", "MACs", False),
    ("buffers", "buffers", False),
    ("aux_params", "parameters of heads", False),
    ("aux_macs", "MACs of heads", False),
    ("depth", "depth", False),
    ("memory", "memory", True),
    ("receptive_field", "receptive field", False),
)


def show(comparison: Comparison, unchanged: bool, as_markdown: bool) -> None:
    """Print a comparison."""
    title = _title(comparison)
    click.echo(f"### {escaped(title)}\n" if as_markdown else f"{title}\n")
    if comparison.equal and not unchanged:
        click.echo(_same(comparison))
        return
    rows = [*_rows(comparison, unchanged), Row(), _total(comparison)]
    if as_markdown:
        click.echo(markdown(_COLUMNS, rows))
    else:
        print_table(_COLUMNS, rows)
    lines = [*_outputs(comparison), *_summary(comparison)]
    if as_markdown:
        click.echo("\n" + "\n".join(f"* {escaped(f'{word}: {text}')}" for word, text in lines))
    else:
        width = max(len(word) for word, _ in lines) + 2
        click.echo("\n" + "\n".join(f"{word:<{width}}{text}" for word, text in lines))


def _same(comparison: Comparison) -> str:
    return f"the networks are the same: {comparison.total('b', 'layers'):,} layers, {comparison.total('b', 'params'):,} parameters"


def _title(comparison: Comparison) -> str:
    a, b = comparison.a, comparison.b
    return f"{_name(a)} -> {_name(b)}"


def _name(checked: Checked | None) -> str:
    return "nothing" if checked is None else f"{checked.graph.name} ({checked.graph.definition.span.source.name})"


# --------------------------------------------------------------------------------------------------------------------------- rows


def _rows(comparison: Comparison, unchanged: bool) -> Iterator[Row]:
    """A row a layer; runs of layers that are the same are one row unless they are wanted."""
    same = 0
    for pair in comparison.pairs:
        if pair.change == "same" and not unchanged:
            same += 1
            continue
        if same:
            yield _skipped(same)
            same = 0
        yield Row(_cells(pair), _STYLES[pair.change])
    if same:
        yield _skipped(same)


def _skipped(count: int) -> Row:
    return Row(["", f"… {count:,} the same", *[""] * (len(_COLUMNS) - 2)], "dim")


def _cells(pair: Pair) -> list[str]:
    one = pair.b or pair.a
    assert one is not None
    return [
        _MARKS[pair.change],
        one.path,
        _both(pair, lambda side: side.op),
        ", ".join(_words(pair)),
        _both(pair, lambda side: side.shape),
        _count(one, one.params),
        signed(pair.delta("params")),
        _count(one, one.macs),
        signed(pair.delta("macs")),
    ]


def _count(side: Side, count: int) -> str:
    return "?" if side.shapes is None else f"{count:,}" if count else ""


def _both(pair: Pair, get: Any) -> str:
    """What both sides have, or ``before -> after``."""
    return " -> ".join(dict.fromkeys(get(side) for side in (pair.a, pair.b) if side is not None))


def _words(pair: Pair) -> Iterator[str]:
    for d in pair.differences:
        if d.of == "path":
            yield f"was {d.a}"
        elif d.of in ("attribute", "reads", "training"):
            yield f"{d.name} {d.a} -> {d.b}"
        elif d.of == "buffers":
            yield f"buffers {int(d.a):,} -> {int(d.b):,}"


def _total(comparison: Comparison) -> Row:
    def cells(name: str) -> list[str]:
        return [f"{comparison.total('b', name):,}", signed(comparison.delta(name))]

    counts = ((comparison.count(change), change) for change in ("changed", "renamed", "added", "removed"))
    words = ", ".join(f"{n:,} {change}" for n, change in counts if n)
    label = "total" if comparison.known else "total of what is known"
    return Row(["", label, "", words, "", *cells("params"), *cells("macs")], "bold")


# ------------------------------------------------------------------------------------------------------------------------ below it


def _outputs(comparison: Comparison) -> Iterator[tuple[str, str]]:
    for d in comparison.outputs:
        yield "outputs", f"{d.a} -> {d.b}" if d.a != d.b else f"{d.a}, from other layers"


def _summary(comparison: Comparison) -> Iterator[tuple[str, str]]:
    for name, title, is_bytes in _SUMMED:
        before, after = comparison.total("a", name), comparison.total("b", name)
        if not before and not after:
            continue
        yield title, _change(before, after, is_bytes)


def _change(before: int | None, after: int | None, is_bytes: bool) -> str:
    shown = ["none" if n is None else bytes_text(n) if is_bytes else f"{n:,}" for n in (before, after)]
    if before == after:
        return shown[1]
    change = "" if before is None or after is None else after - before
    details = [] if change == "" else [d for d in ("" if is_bytes else signed(int(change)), per_cent(int(change), before or 0)) if d]
    return f"{shown[0]} -> {shown[1]}" + (f" ({', '.join(details)})" if details else "")


# --------------------------------------------------------------------------------------------------------------------------- JSON


def data(comparison: Comparison, unchanged: bool) -> dict[str, Any]:
    """A comparison for other programs."""
    return {
        "a": _network(comparison.a),
        "b": _network(comparison.b),
        "equal": comparison.equal,
        "layers": [_pair(p) for p in comparison.pairs if unchanged or p.change != "same"],
        "counts": {change: comparison.count(change) for change in ("same", "changed", "renamed", "added", "removed")},
        "outputs": None if not comparison.outputs else {"a": comparison.outputs[0].a, "b": comparison.outputs[0].b},
        "totals": {name: _sum(comparison, name) for name in TOTALS},
    }


def _network(checked: Checked | None) -> dict[str, Any] | None:
    if checked is None:
        return None
    return {"network": checked.graph.name, "file": checked.graph.definition.span.source.name}


def _sum(comparison: Comparison, name: str) -> dict[str, int | None]:
    return {"a": comparison.total("a", name), "b": comparison.total("b", name), "delta": comparison.delta(name)}


def _pair(pair: Pair) -> dict[str, Any]:
    counts: tuple[Literal["params", "buffers", "macs"], ...] = ("params", "buffers", "macs")
    return {
        "change": pair.change,
        "a": _layer(pair.a),
        "b": _layer(pair.b),
        "differences": [{"of": d.of, "name": d.name, "a": d.a, "b": d.b} for d in pair.differences],
        "delta": {name: pair.delta(name) for name in counts},
    }


def _layer(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    known = side.shapes is not None
    return {
        "path": side.path,
        "op": side.op,
        "attributes": dict(side.attributes),
        "shapes": None if side.shapes is None else [list(s) for s in side.shapes],
        "params": side.params if known else None,
        "buffers": side.buffers if known else None,
        "macs": side.macs if known else None,
        "aux": side.aux,
    }
