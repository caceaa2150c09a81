"""``cnnc list``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from cnnc.cli.common import Choice, every_network, json_option, print_json, refuse
from cnnc.cli.table import Column, Row, print_table

if TYPE_CHECKING:
    from cnnc.check import Checked
    from cnnc.source import Source


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Show every network of every spec, not only each spec's own.")
@json_option
def command(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Show the bundled specs, or every network of the ones named.

    Each can be used as SPEC by its name: `cnnc shapes vgg --network VGG11`. With --json, prints
    {"specs": [{"name", "file", "description", "networks": [{"network", "inputs", "params",
    "aux_params", "macs", "default"}]}]}, with every network.
    """
    sources = _sources(names)
    if as_json:
        print_json({"specs": [_data(name, source) for name, source in sources.items()]})
        return
    columns = [Column("name"), Column("network"), Column("input"), Column("parameters", True), Column("MACs", True)]
    rows: list[Row] = []
    for name, source in sources.items():
        found, more = (_networks(source), 0) if names or everything else _main_network(source)
        about = description(source.text)
        for checked in found:
            others = f", and {more} more" if more else ""
            rows.append(Row([name, checked.graph.name + others, _inputs(checked), *_figures(checked), about]))
            name = about = ""
        if not found:
            rows.append(Row([name, "", "", "", "", f"has errors: see `cnnc check {name}`"], "red"))
    print_table([*columns, Column("about", fold=True)], rows)


def _sources(names: tuple[str, ...]) -> dict[str, Source]:
    """The bundled specs, all or those named."""
    from cnnc.reading import read_file
    from cnnc.resources import bundled_specs
    from cnnc.source import Source

    bundled = bundled_specs()
    for name in names:
        if name not in bundled:
            refuse(f"there is no bundled spec {name!r}; there is {', '.join(bundled)}.")
    read = {name: read_file(bundled[name], f"{name}.cnn") for name in names or bundled}
    return {name: source for name, source in read.items() if isinstance(source, Source)}


def _networks(source: Source) -> list[Checked]:
    """Every network of a spec, its own (the last one) first."""
    from cnnc.check import Checked

    found = [c for _, c in every_network(source, Choice(None, (), (), False)) if isinstance(c, Checked) and not c.errors]
    return [*found[-1:], *found[:-1]]


def _main_network(source: Source) -> tuple[list[Checked], int]:
    """A spec's own network, and how many others there are."""
    from cnnc.compiler import Options, check, elaborate, parse
    from cnnc.elaborate.build import Built
    from cnnc.reading import read_import
    from cnnc.syntax import ast

    parsed = parse(source)
    count = sum(isinstance(item, ast.Network | ast.Variant) for item in parsed.file.items)
    built = elaborate(parsed, Options(), read_import)
    found = check(built) if isinstance(built, Built) else None
    return ([found], count - 1) if found is not None and not found.errors else ([], 0)


def _inputs(checked: Checked) -> str:
    return ", ".join(str(n.shapes[0]) for n in checked.graph.inputs if n.shapes)


def _figures(checked: Checked) -> tuple[str, str]:
    return f"{checked.totals.params:,}", f"{checked.totals.macs:,}"


def _data(name: str, source: Source) -> dict[str, Any]:
    networks = _networks(source)
    return {
        "name": name,
        "file": source.name,
        "description": description(source.text),
        "networks": [_network(checked, checked is networks[0]) for checked in networks],
    }


def _network(checked: Checked, default: bool) -> dict[str, Any]:
    totals = checked.totals
    return {
        "network": checked.graph.name,
        "inputs": [{"name": n.name, "shape": list(n.shapes[0]) if n.shapes else None} for n in checked.graph.inputs],
        "params": totals.params,
        "aux_params": totals.aux_params,
        "macs": totals.macs,
        "default": default,
    }


def description(text: str) -> str:
    """The first line of comment in a spec."""
    comment = re.search(r"^[ \t]*#+[ \t]*(\S.*?)[ \t]*$", text, re.MULTILINE)
    return comment[1] if comment else ""
