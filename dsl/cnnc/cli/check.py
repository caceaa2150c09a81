"""``cnnc check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cnnc.cli.common import ERRORS, Choice, every_network, is_error, json_option, print_json, read_spec, report, spec_options, unreadable

if TYPE_CHECKING:
    from cnnc.check import Checked
    from cnnc.diagnostics.model import Diagnostic


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@spec_options
@json_option
def command(specs: tuple[str, ...], choice: Choice, as_json: bool) -> None:
    """Say what is wrong with specs, or that they are fine.

    Every network of a file is checked unless --network names one. With --json, prints
    {"diagnostics": [{"code", "severity", "headline", "file", "line", "column", "end_line",
    "end_column", "label", "also", "notes", "help", "fixes"}]}.
    """
    status = 0
    everything: list[Diagnostic] = []
    for spec in specs:
        problems, fine, outcome = _check(spec, choice)
        status = max(status, outcome)
        everything += problems
        if not as_json and fine:
            click.echo(fine)
    if as_json:
        from cnnc.diagnostics.json import to_json

        print_json({"diagnostics": to_json(everything)})
    else:
        report(everything, to_stdout=True)
    raise click.exceptions.Exit(status)


def _check(spec: str, choice: Choice) -> tuple[list[Diagnostic], str | None, int]:
    """The problems of a spec, a line when there are none, and the exit status."""
    from cnnc.check import Checked
    from cnnc.source import Source

    source = read_spec(spec)
    if not isinstance(source, Source):
        return [source], None, unreadable(source)
    kept: dict[tuple[str, str, int, int], Diagnostic] = {}
    networks: list[Checked] = []
    for _, found in every_network(source, choice):
        if isinstance(found, Checked):
            networks.append(found)
        for problem in found.problems if isinstance(found, Checked) else found:
            span = problem.at.span  # a mistake that several networks share is told once
            kept.setdefault((problem.code, span.source.name, span.start, span.end), problem)
    problems = list(kept.values())
    if any(map(is_error, problems)):
        return problems, None, ERRORS
    return problems, None if problems else _fine(source.name, networks), 0


def _fine(name: str, networks: list[Checked]) -> str:
    if len(networks) == 1:
        totals = networks[0].totals
        about = f"{networks[0].graph.name}: {totals.layers:,} layers, {totals.params:,} parameters, {totals.macs:,} MACs"
    else:
        about = ", ".join(n.graph.name for n in networks)
    return f"{name}: fine ({about})"
