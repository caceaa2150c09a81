"""The variants of a sweep as text, CSV, JSON, Markdown and a plot: the printing of ``cnnc sweep``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from cnnc.cli.common import print_json
from cnnc.cli.forms import bytes_text, escaped, markdown
from cnnc.cli.table import Column, Row, print_table
from cnnc.sweep.condition import FACTS
from cnnc.sweep.run import Row as Found
from cnnc.sweep.scatter import MOST_SERIES
from cnnc.sweep.space import Dimension, Space, Variant

#: The facts of a table for people, and their titles; CSV and JSON have all.
_TITLES = {"params": "params", "macs": "MACs", "depth": "depth", "layers": "layers", "memory": "memory", "receptive_field": "RF"}


def names(space: Space) -> list[str]:
    """What the columns are called, in ``--sort`` and in CSV. Where a parameter has a fact's name, each says what it is."""
    clash = {d.name for d in space.dimensions if d.kind == "parameter"} & {*FACTS}
    found = [f"parameter.{d.title}" if d.kind == "parameter" and d.title in clash else d.title for d in space.dimensions]
    return [*found, *(f"fact.{name}" if name in clash else name for name in FACTS)]


class Table:
    """The rows of a sweep in their order, what was left out, and what was refused."""

    def __init__(self, file: str, space: Space, rows: Sequence[Found], order: tuple[str, bool] | None, top: int | None) -> None:
        self.file, self.space, self.top = file, space, top
        self.names = names(space)
        pairs = list(zip(space, rows, strict=True))
        self.refused = [(v, r) for v, r in pairs if r.facts is None or r.asked]
        self.kept = [(v, r) for v, r in pairs if r.kept and r.facts is not None]
        self.left_out = len(pairs) - len(self.refused) - len(self.kept)
        if order is not None:
            self.kept = self._sorted(*order)
        self.shown = self.kept[:top]

    def _sorted(self, field: str, descending: bool) -> list[tuple[Variant, Found]]:
        """By one column; what has no value there stands last."""
        at = self.names.index(field)
        pairs = [(self._value(at, v, r), (v, r)) for v, r in self.kept]
        known = sorted((p for p in pairs if p[0] is not None), key=lambda p: _key(p[0]), reverse=descending)
        return [pair for _, pair in (*known, *(p for p in pairs if p[0] is None))]

    def _value(self, at: int, variant: Variant, row: Found) -> Any:
        if at >= len(self.space.dimensions):
            return row.facts[FACTS[at - len(self.space.dimensions)]] if row.facts is not None else None
        dimension = self.space.dimensions[at]
        # Networks and inputs come in the order in which they were named.
        return dimension.values[variant.choice[at]].plain if dimension.kind == "parameter" else variant.choice[at]

    def texts(self, variant: Variant) -> list[str]:
        """What each dimension is in a variant, as it was given."""
        return [value.text for value in self.space.values(variant)]

    def plot(self) -> str | None:
        """The plot of the rows that are shown; None without any."""
        from cnnc.sweep.scatter import Point, scatter

        series = self._series()
        points = []
        for variant, row in self.shown:
            assert row.facts is not None
            params, macs = row.facts["params"] or 0, row.facts["macs"] or 0
            about = ", ".join(t if d.kind == "network" else f"{d.title}={t}" for d, t in self._told(variant))
            name = "" if series is None else self.texts(variant)[series]
            points.append(Point(params, macs, name, f"{about}: {params:,} parameters, {macs:,} MACs"))
        return scatter(points, f"Variants of {self.file}", "parameters", "MACs") if points else None

    def _told(self, variant: Variant) -> list[tuple[Dimension, str]]:
        return list(zip(self.space.dimensions, self.texts(variant), strict=True))

    def _series(self) -> int | None:
        """The dimension that the marks of a plot tell apart: the first with a few values, the networks before all."""
        for k, dimension in enumerate(self.space.dimensions):
            if 1 < len(dimension.values) <= MOST_SERIES:
                return k
        return None


def _key(value: Any) -> tuple[int, Any]:
    """Sorts values of different kinds: numbers, then texts, then lists."""
    if isinstance(value, list):
        return (2, [_key(v) for v in value])
    return (1, value) if isinstance(value, str) else (0, value)


# ----------------------------------------------------------------------------------------------------------------------- printing


def print_rows(table: Table, form: str) -> None:
    """Print a sweep in one of its forms."""
    if form == "json":
        print_json(_data(table))
    elif form == "csv":
        click.echo(_csv(table), nl=False)
    else:
        _print_tables(table, form == "markdown")


def _print_tables(table: Table, as_markdown: bool) -> None:
    dimensions = [Column(name, right=_numeric(d), fold=True) for name, d in zip(table.names, table.space.dimensions, strict=False)]
    clash = {name.removeprefix("fact.") for name in table.names if name.startswith("fact.")}
    columns = [*dimensions, *(Column(f"fact.{name}" if name in clash else title, right=True) for name, title in _TITLES.items())]
    rows = [Row([*table.texts(v), *_facts(r)]) for v, r in table.shown]
    if rows:
        _print_table(columns, rows, as_markdown)
    if table.refused:
        listed = table.refused[: table.top]
        if rows:
            click.echo()
        rows = [Row([*table.texts(v), _why(r)], "red") for v, r in listed]
        _print_table([*dimensions, Column("refused because", fold=True)], rows, as_markdown)
        if len(listed) < len(table.refused):
            click.echo(f"\n… and {len(table.refused) - len(listed):,} more were refused; --format json lists all")
    for line in _footer(table):
        click.echo("\n" + (escaped(line) if as_markdown else line))


def _print_table(columns: Sequence[Column], rows: Sequence[Row], as_markdown: bool) -> None:
    if as_markdown:
        click.echo(markdown(columns, rows))
    else:
        print_table(columns, rows)


def _numeric(dimension: Dimension) -> bool:
    return all(isinstance(v.plain, int | float) for v in dimension.values)


def _facts(row: Found) -> list[str]:
    assert row.facts is not None
    return [_shown(name, row.facts[name]) for name in _TITLES]


def _shown(name: str, value: int | None) -> str:
    if value is None:
        return ""
    return bytes_text(value) if name == "memory" else f"{value:,}"


def _why(row: Found) -> str:
    return f"--where: {row.problem}" if row.asked else f"[{row.code}] {row.problem}" if row.code else row.problem


def _footer(table: Table) -> list[str]:
    count = table.space.size
    words = [f"{count:,} variant{'s' if count != 1 else ''} of {table.file}"]
    if table.left_out:
        words.append(f"{table.left_out:,} left out by --where")
    if len(table.shown) < len(table.kept):
        words.append(f"the first {len(table.shown):,} of {len(table.kept):,} shown")
    if table.refused:
        words.append(f"{len(table.refused):,} refused")
    found = [", ".join(words)]
    stated = sum(r.stated for _, r in table.refused)
    if stated:
        found.append(f"{stated:,} of the refused break only what the spec states of itself; --ignore-stated lets them pass")
    return found


# ------------------------------------------------------------------------------------------------------------------- CSV and JSON


def _csv(table: Table) -> str:
    import csv
    import io

    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write([*table.names, "problem"])
    for variant, row in table.shown:
        assert row.facts is not None
        write([*table.texts(variant), *(row.facts[name] for name in FACTS), ""])
    for variant, row in table.refused:
        write([*table.texts(variant), *[""] * len(FACTS), _why(row)])
    return out.getvalue()


def _data(table: Table) -> dict[str, Any]:
    return {
        "file": table.file,
        "variants": table.space.size,
        "kept": len(table.kept),
        "left_out": table.left_out,
        "rows": [{**_choice(table, v), **(r.facts or {})} for v, r in table.shown],
        "refused": [{**_choice(table, v), "code": r.code or None, "problem": r.problem, "where": r.asked} for v, r in table.refused],
    }


def _choice(table: Table, variant: Variant) -> dict[str, Any]:
    found: dict[str, Any] = {"network": variant.network, "inputs": {}, "parameters": {}}
    for dimension, value in zip(table.space.dimensions, table.space.values(variant), strict=True):
        if dimension.kind == "input":
            found["inputs"][dimension.name or "(first)"] = value.plain
        elif dimension.kind == "parameter":
            found["parameters"][dimension.name] = value.plain
    return found
