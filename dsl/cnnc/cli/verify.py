"""``cnnc verify``."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import click

from cnnc.cli.common import ERRORS, Choice, Unable, analyse, every_network, json_option, open_spec, print_json, refuse, report, spec_options

if TYPE_CHECKING:
    from cnnc.check import Checked
    from cnnc.runtime.verify import Report


@click.command()
@click.argument("spec", metavar="SPEC", required=False)
@click.option("--all", "everything", is_flag=True, help="Verify every network of every bundled spec.")
@click.option(
    "--device",
    type=click.Choice(["meta", "cpu"]),
    default="meta",
    show_default=True,
    help="meta compares shapes and counts without computing; cpu computes, forward and backward.",
)
@spec_options
@json_option
def command(spec: str | None, everything: bool, device: Literal["meta", "cpu"], choice: Choice, as_json: bool) -> None:
    """Run the emitted PyTorch module and compare it with the predictions.

    Compares each layer's shape, parameters, buffers and multiply-adds, in evaluation and in training
    mode; needs PyTorch. With --json, prints {"networks": [{"network", "file", "device", "agrees",
    "layers", "params", "macs", "mismatches": [{"layer", "what", "predicted", "executed"}]}]}.
    """
    if everything is (spec is not None):
        refuse("name a SPEC, or give --all" if spec is None else "give SPEC or --all, not both")
    networks = list(_bundled(choice)) if everything else [_one(spec or "", choice)]
    _need_torch()
    gc.enable()
    reports = list(_run(networks, device, show=not as_json))
    if as_json:
        print_json({"networks": [_data(r) for r in reports]})
    elif everything:
        _print_summary(reports)
    for each in reports:
        if not as_json and (each.mismatches or not everything):
            _print_report(each)
    raise click.exceptions.Exit(ERRORS if any(r.mismatches for r in reports) else 0)


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise Unable("verify runs the emitted module, and PyTorch is not installed: pip install 'cnnc[torch]'.")


def _one(spec: str, choice: Choice) -> Checked:
    options = choice.options()
    found = analyse(open_spec(spec), options)
    problems = found if isinstance(found, tuple) else found.problems
    report(problems)
    if isinstance(found, tuple) or found.errors:
        raise click.exceptions.Exit(ERRORS)
    return found


def _bundled(choice: Choice) -> Iterator[Checked]:
    from cnnc.check import Checked
    from cnnc.resources import bundled_specs

    for name in bundled_specs():
        for _, found in every_network(open_spec(name), choice):
            if not isinstance(found, Checked) or found.errors:
                report(found.errors if isinstance(found, Checked) else found)
                raise click.exceptions.Exit(ERRORS)
            yield found


def _run(networks: list[Checked], device: Literal["meta", "cpu"], show: bool) -> Iterator[Report]:
    from cnnc.diagnostics.model import CnncError
    from cnnc.runtime.verify import verify

    progress: Any = nullcontext(networks)
    if show and len(networks) > 1 and sys.stderr.isatty():
        progress = _progress(networks)
    with progress as each:
        for checked in each:
            try:
                yield verify(checked, device)
            except CnncError as error:
                report(error.diagnostics)
                raise click.exceptions.Exit(ERRORS) from None


class _progress:
    """A bar on the terminal while many networks run."""

    def __init__(self, networks: list[Checked]) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.networks = networks
        self.bar = Progress(console=Console(stderr=True), transient=True)

    def __enter__(self) -> Iterable[Checked]:
        self.bar.start()
        return self._each()

    def _each(self) -> Iterator[Checked]:
        task = self.bar.add_task("", total=len(self.networks))
        for checked in self.networks:
            self.bar.update(task, description=checked.graph.name)
            yield checked
            self.bar.advance(task)

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()


# ---------------------------------------------------------------------------------------------------------------------- printing


def _data(found: Report) -> dict[str, Any]:
    return {
        "network": found.network,
        "file": found.file,
        "device": found.device,
        "agrees": not found.mismatches,
        "layers": found.layers,
        "params": found.params,
        "macs": found.macs,
        "mismatches": [{"layer": m.layer, "what": m.what, "predicted": m.predicted, "executed": m.executed} for m in found.mismatches],
    }


def _print_summary(reports: list[Report]) -> None:
    from cnnc.cli.table import Column, Row, print_table

    columns = [
        Column("network"),
        Column("file"),
        Column("layers", True),
        Column("parameters", True),
        Column("MACs", True),
        Column("seconds", True),
        Column("outcome"),
    ]
    rows = [
        Row(
            [r.network, r.file, f"{r.layers:,}", f"{r.params:,}", f"{r.macs:,}", f"{r.seconds:.1f}", _outcome(r)],
            "red" if r.mismatches else "",
        )
        for r in reports
    ]
    print_table(columns, rows)
    good = sum(not r.mismatches for r in reports)
    click.echo(f"\n{good} of {len(reports)} networks agree on every layer ({reports[0].device if reports else 'no'} device)")


def _outcome(found: Report) -> str:
    return f"{len(found.mismatches):,} mismatches" if found.mismatches else "agrees"


def _print_report(found: Report) -> None:
    from cnnc.cli.table import Column, Row, print_table

    about = f"{found.network} ({found.file}, {found.device} device)"
    if not found.mismatches:
        click.echo(
            f"{about}: all {found.layers:,} layers agree with what PyTorch ran: shapes, {found.params:,} parameters, {found.macs:,} MACs"
        )
        return
    click.echo(f"{about}: {len(found.mismatches):,} figures differ from what PyTorch ran")
    print_table(
        [Column("layer", fold=True), Column("figure", fold=True), Column("predicted", fold=True), Column("executed", fold=True)],
        [Row([m.layer or "(network)", m.what, m.predicted, m.executed]) for m in found.mismatches],
    )
