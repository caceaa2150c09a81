"""``cnnc list``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from cnnc.cli.common import Choice, every_network, json_option, print_json

if TYPE_CHECKING:
    from cnnc.check import Checked


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Name the bundled networks.

    Each can be used as SPEC by its file's name: `cnnc shapes vgg --network VGG11`. With --json,
    prints {"specs": [{"name", "file", "description", "networks": [{"network", "inputs", "params",
    "aux_params", "macs", "default"}]}]}.
    """
    specs = list(_specs())
    if as_json:
        print_json({"specs": specs})
        return
    from cnnc.cli.table import Column, Row, print_table

    columns = [
        Column("name"),
        Column("network"),
        Column("input"),
        Column("parameters", True),
        Column("MACs", True),
        Column("about", fold=True),
    ]
    rows = []
    for spec in specs:
        name, about = spec["name"], spec["description"]
        for network in spec["networks"]:
            inputs = ", ".join("x".join(map(str, i["shape"])) for i in network["inputs"])
            rows.append(Row([name, network["network"], inputs, f"{network['params']:,}", f"{network['macs']:,}", about]))
            name = about = ""
    print_table(columns, rows)


def _specs() -> Iterator[dict[str, Any]]:
    from cnnc.check import Checked
    from cnnc.reading import find_spec
    from cnnc.resources import bundled_specs
    from cnnc.source import Source

    for name in bundled_specs():
        source = find_spec(name)
        if not isinstance(source, Source):
            continue
        found = [(n, c) for n, c in every_network(source, Choice(None, (), (), False)) if isinstance(c, Checked) and not c.errors]
        yield {
            "name": name,
            "file": source.name,
            "description": description(source.text),
            "networks": [_network(checked, checked is found[-1][1]) for _, checked in (*found[-1:], *found[:-1])],
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
