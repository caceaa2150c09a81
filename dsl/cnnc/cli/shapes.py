"""``cnnc shapes``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cnnc.cli.common import ERRORS, Choice, analyse, is_error, json_option, open_spec, print_json, refuse, report, spec_options
from cnnc.cli.forms import bytes_text

if TYPE_CHECKING:
    from cnnc.check import Checked
    from cnnc.cli.outline import Group, Sums
    from cnnc.cli.table import Row
    from cnnc.graph import Node


@click.command()
@click.argument("spec", metavar="SPEC")
@spec_options
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Open blocks down to level N; those below are one row each.")
@click.option(
    "--columns",
    metavar="NAMES",
    help="Columns, with commas between: layer, op, window, in, output, params, params%, macs, macs%, field, from, activation, buffers, "
    "ops, line. With a + in front (+in,line) they are added to the usual ones.",
)
@json_option
def command(spec: str, choice: Choice, depth: int | None, columns: str | None, as_json: bool) -> None:
    """Print every layer's shape, parameters and MACs.

    k/s/p/g is kernel, stride, padding and groups; RF/jump the receptive field and the effective
    stride, in input cells. With --json, prints {"network", "file", "inputs", "outputs", "params",
    "aux_params", "buffers", "macs", "aux_macs", "layers": [{"path", "op", "shape", "params",
    "macs", "aux", "file", "line", "column"}]}; what could not be worked out is null.
    """
    names = _columns(columns)
    options = choice.options()
    source = open_spec(spec)
    found = analyse(source, options)
    if isinstance(found, tuple):
        report(found)
        raise click.exceptions.Exit(ERRORS)
    if as_json:
        print_json(_data(found))
    else:
        _print(found, names, depth)
    report(found.problems)
    raise click.exceptions.Exit(ERRORS if any(map(is_error, found.problems)) else 0)


def _columns(text: str | None) -> tuple[str, ...]:
    from cnnc.cli.outline import COLUMNS, DEFAULT

    if text is None:
        return DEFAULT
    chosen = tuple(name.strip().lower() for name in text.removeprefix("+").split(",") if name.strip())
    for name in chosen:
        if name not in COLUMNS:
            refuse(f"there is no column {name!r}; there are {', '.join(COLUMNS)}")
    if not chosen:
        refuse("--columns needs at least one name")
    return tuple(dict.fromkeys((*DEFAULT, *chosen) if text.startswith("+") else chosen))


# ------------------------------------------------------------------------------------------------------------------------- JSON


def _data(checked: Checked) -> dict[str, Any]:
    graph, totals = checked.graph, checked.totals
    return {
        "network": graph.name,
        "file": graph.definition.span.source.name,
        "inputs": [{"name": n.name or n.path, "shape": _first(n)} for n in graph.inputs],
        "outputs": [{"name": o.name or graph.nodes[o.ref.node].path, "shape": _list(graph.shape(o.ref))} for o in graph.outputs],
        "params": totals.params,
        "aux_params": totals.aux_params,
        "buffers": totals.buffers,
        "macs": totals.macs,
        "aux_macs": totals.aux_macs,
        "layers": [_layer(checked, n) for n in graph.layers],
    }


def _layer(checked: Checked, node: Node) -> dict[str, Any]:
    facts = checked.facts[node.id]
    known = node.shapes is not None
    return {
        "path": node.path,
        "op": node.op,
        "shape": _first(node),
        "params": facts.params if known else None,
        "macs": facts.macs if known else None,
        "aux": facts.aux,
        "file": node.span.source.name,
        "line": node.span.line,
        "column": node.span.column,
    }


def _first(node: Node) -> list[int] | None:
    """The shape of a layer's first (mostly only) output."""
    return None if node.shapes is None else list(node.shapes[0])


def _list(shape: tuple[int, ...] | None) -> list[int] | None:
    return None if shape is None else list(shape)


# ------------------------------------------------------------------------------------------------------------------------ the table


def _print(checked: Checked, names: tuple[str, ...], depth: int | None) -> None:
    from cnnc.cli.outline import COLUMNS, outline, rows, total_row
    from cnnc.cli.table import Row, print_table

    root, heads = outline(checked)
    click.echo(f"{_title(checked)}\n")
    table: list[Row] = [*rows(checked, root, root.sums, depth, names), Row()]
    table.append(total_row(root.sums, names, "total" if not root.sums.partial else "total of what is known"))
    if heads:
        table += _heads(checked, heads, names, depth)
    print_table([COLUMNS[name][0] for name in names], table)
    click.echo("\n" + "\n".join(f"{word:<16}{text}" for word, text in _footer(checked, root.sums)))


def _heads(checked: Checked, heads: list[Group], names: tuple[str, ...], depth: int | None) -> list[Row]:
    from cnnc.cli.outline import Sums, group_row, rows, total_row
    from cnnc.cli.table import Row

    whole = Sums()
    for head in heads:
        for name in ("layers", "params", "buffers", "macs", "ops", "activation"):
            setattr(whole, name, getattr(whole, name) + getattr(head.sums, name))
        whole.partial = whole.partial or head.sums.partial
    found = [Row(), Row([("training only" if name == "layer" else "") for name in names])]
    for head in heads:
        found.append(group_row(checked, head, whole, names, head.path))
        if depth is None or depth > 1:
            inner = rows(checked, head, whole, None if depth is None else depth - 1, names)
            at = names.index("layer") if "layer" in names else None
            for row in inner:
                cells = list(row.cells)
                if at is not None:
                    cells[at] = "  " + cells[at]
                found.append(Row(cells, row.style))
    return [*found, Row(), total_row(whole, names, "total of heads")]


def _title(checked: Checked) -> str:
    graph = checked.graph
    inputs = ", ".join(f"{n.name} {n.shapes[0] if n.shapes else '?'}" for n in graph.inputs)
    outputs = ", ".join(f"{o.name or graph.nodes[o.ref.node].path} {graph.shape(o.ref) or '?'}" for o in graph.outputs)
    return f"{graph.name} ({graph.definition.span.source.name}): {inputs or 'no input'} -> {outputs or 'no output'}"


def _footer(checked: Checked, sums: Sums) -> list[tuple[str, str]]:
    from cnnc.check.facts import BYTES

    totals = checked.totals
    least = "at least " if sums.partial else ""
    found = [("parameters", f"{least}{totals.params:,} ({bytes_text(BYTES * totals.params)} in float32)")]
    if totals.aux_params:
        found[0] = ("parameters", f"{found[0][1]}, and {totals.aux_params:,} in auxiliary heads")
    if totals.buffers:
        found.append(("buffers", f"{least}{totals.buffers:,} numbers that are kept but not trained"))
    found.append(("MACs", f"{least}{totals.macs:,} for one input: multiply-adds of convolutions and dense layers, bias not counted"))
    peak = checked.peak_activations
    found.append(
        (
            "activations",
            f"{least}{totals.activation:,} numbers ({bytes_text(BYTES * totals.activation)}) in all, "
            f"{peak:,} ({bytes_text(BYTES * peak)}) at most alive at once",
        )
    )
    field = _receptive_field(checked)
    if field:
        found.append(("receptive field", field))
    return found


def _receptive_field(checked: Checked) -> str | None:
    """The largest receptive field of a map, and the first layer that has it."""
    from cnnc.cli.outline import reach

    largest = checked.receptive_field
    for node in checked.graph.layers:
        facts = checked.facts[node.id]
        if isinstance(facts.field, tuple) and facts.field and not facts.aux and max(e.size for e in facts.field) == largest:
            size, _, jump = reach(facts.field).partition("/")
            return f"{size} input cells a side at {node.path}, " + (
                "where branches do not line up" if "?" in jump else f"{jump} cells apart"
            )
    return None
