"""``cnnc sweep``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnc.cli.common import ERRORS, USAGE, Choice, Unable, open_spec, refuse, report
from cnnc.cli.forms import format_option

if TYPE_CHECKING:
    from cnnc.cli.variants import Table
    from cnnc.elaborate.files import Unit
    from cnnc.shapes import Shape
    from cnnc.source import Source
    from cnnc.sweep.run import Job, Row
    from cnnc.sweep.space import Space

#: How many bytes of a file are searched for the line that says who wrote it.
_SEARCHED = 2**12


@click.command()
@click.argument("spec", metavar="SPEC")
@click.option("-p", "--param", multiple=True, metavar="NAME=VALUES", help="Values of a parameter: -p width=0.5,0.75 or -p n=10..100 by 10.")
@click.option("--network", metavar="NAMES", help="The networks to use, with commas between; ResNet* stands for all that begin so.")
@click.option("--input", multiple=True, metavar="SHAPES", help="Shapes of the input, with commas between: 3x128x128,3x160x160.")
@click.option("--where", metavar="CONDITION", help='Keep the variants for which this holds: "params < 5M and macs < 600M".')
@click.option("--sort", metavar="FIELD[:desc]", help="Sort by a fact or a parameter; with :desc the largest first.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Show the first N only.")
@click.option("--plot", metavar="FILE.svg", help="Also draw parameters against MACs.")
@click.option("--ignore-stated", is_flag=True, help="Let pass what breaks only shapes and facts that the spec states.")
@click.option("--strict", is_flag=True, help="Make warnings errors.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="How many processes to use: one a core unless told.")
@format_option("text", "csv", "json", "markdown")
def command(
    spec: str,
    param: tuple[str, ...],
    network: str | None,
    input: tuple[str, ...],
    where: str | None,
    sort: str | None,
    top: int | None,
    plot: str | None,
    ignore_stated: bool,
    strict: bool,
    jobs: int | None,
    form: str,
) -> None:
    """Tabulate the variants of a network: every combination of some values.

    Facts in --where and --sort are params, macs, depth, layers, memory, receptive_field, buffers
    and ops. Variants with errors are listed as refused, with the first error.
    """
    from cnnc.sweep.run import Job

    parameters = [_parameter(p) for p in param]
    shapes = [_shapes(i) for i in input]
    if plot is not None:
        _check_free(Path(plot))
    source = open_spec(spec)
    unit = _load(source)
    space = _space(unit, network, shapes, parameters)
    order = _order(sort, space)
    _check_condition(where, unit, space)
    rows = _run(Job(source, where, strict, ignore_stated), space, unit, jobs)
    from cnnc.cli.variants import Table, print_rows

    table = Table(source.name, space, rows, order, top)
    print_rows(table, form)
    if plot is not None:
        _plot(Path(plot), table)
    raise click.exceptions.Exit(0 if any(r.facts is not None for r in rows) else ERRORS)


# ------------------------------------------------------------------------------------------------------------- the command line


def _parameter(text: str) -> tuple[str, str]:
    name, equals, values = text.partition("=")
    name = name.strip()
    if not equals or not name.isidentifier() or not values.strip():
        raise click.BadParameter(f"{text!r} is not NAME=VALUES, as in `-p width=0.5,0.75,1.0`.", param_hint="'-p'")
    return name, values.strip()


def _shapes(text: str) -> tuple[str | None, list[Shape]]:
    """The shapes of one input: ``3x128x128,3x160x160``, or with its name in front ``image=3x128x128,3x160x160``."""
    name, equals, values = text.rpartition("=")
    if any(not part.strip() for part in values.split(",")):
        raise click.BadParameter(f"{text!r} is not one shape or several, as in `--input 3x128x128,3x160x160`.", param_hint="'--input'")
    found = [Choice(None, (), (f"{name}{equals}{part.strip()}",), False).options().inputs for part in values.split(",")]
    return next(iter(found[0])), [shape for each in found for shape in each.values()]


def _load(source: Source) -> Unit:
    from cnnc.diagnostics.model import CnncError
    from cnnc.sweep.run import load

    try:
        return load(source)
    except CnncError as error:
        report(error.diagnostics)
        raise click.exceptions.Exit(ERRORS) from None


def _space(unit: Unit, network: str | None, shapes: list[tuple[str | None, list[Shape]]], parameters: list[tuple[str, str]]) -> Space:
    from cnnc.elaborate.values import Refusal
    from cnnc.sweep.space import Unusable, space

    try:
        return space(unit, network, shapes, parameters)
    except Unusable as error:
        refuse(f"{error}.")
    except Refusal as refusal:
        report([refusal.diagnostic])
        raise click.exceptions.Exit(USAGE) from None


def _order(text: str | None, space: Space) -> tuple[str, bool] | None:
    """What ``--sort`` says: a column's name, and whether the largest is first."""
    from cnnc.cli.variants import names

    if text is None:
        return None
    field, _, direction = text.rpartition(":") if ":" in text else (text, "", "")
    if direction not in ("", "asc", "desc"):
        refuse(f"--sort {text}: a field is followed by :desc or nothing.")
    known = names(space)
    if field not in known:
        both = [n for n in known if n in (f"fact.{field}", f"parameter.{field}")]
        if both:
            refuse(f"{field!r} is a fact and a parameter: write {' or '.join(both)}.")
        refuse(f"nothing is called {field!r}; there is {', '.join(known)}.")
    return field, direction == "desc"


def _check_condition(where: str | None, unit: Unit, space: Space) -> None:
    """Say what is wrong with a condition before anything is analysed for it."""
    from cnnc.elaborate.values import Refusal
    from cnnc.sweep.condition import Condition
    from cnnc.sweep.space import parameter_names

    if where is None:
        return
    networks = [v.text for v in space.dimensions[0].values]
    try:
        Condition(where, unit).check(frozenset().union(*(parameter_names(unit, n) for n in networks)))
    except Refusal as refusal:
        report([refusal.diagnostic])
        raise click.exceptions.Exit(USAGE) from None


# ------------------------------------------------------------------------------------------------------------------- the analysis


def _run(job: Job, space: Space, unit: Unit, jobs: int | None) -> list[Row]:
    from concurrent.futures.process import BrokenProcessPool

    from cnnc.sweep.run import run

    with _progress(space.size) as done:
        try:
            rows = run(job, list(space), unit, jobs, done)
        except BrokenProcessPool:
            raise Unable("a process of the sweep ended before its work; perhaps the memory is too small: try --jobs 1.") from None
    asked = [row for row in rows if row.facts is not None]
    if asked and all(row.asked for row in asked):
        raise Unable(f"--where {job.where!r} has no answer for any variant: {asked[0].problem}.")
    return rows


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal; elsewhere nothing."""
    if total < 2 or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("variants", total=total)
        yield lambda count: bar.advance(task, count)


# ----------------------------------------------------------------------------------------------------------------------- the plot


def _check_free(path: Path) -> None:
    """Refuse to overwrite what an earlier sweep did not write."""
    from cnnc.sweep.scatter import MARK

    try:
        if path.is_dir():
            refuse(f"{path} is a folder.")
        if not path.is_file() or not path.stat().st_size:
            return
        with path.open("rb") as file:
            ours = MARK.encode() in file.read(_SEARCHED)
    except OSError as error:
        raise Unable(f"{path} cannot be looked at: {error.strerror or error}.") from None
    except ValueError:
        refuse(f"{str(path)!r} is no file name.")
    if not ours:
        refuse(f"{path} exists and is no plot of `cnnc sweep`; choose another name.")


def _plot(path: Path, table: Table) -> None:
    """Write the plot whole or not at all."""
    text = table.plot()
    if text is None:
        click.echo(f"{path}: not written, since there is nothing to draw", err=True)
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")  # a pipe or a device
            return
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise Unable(f"{path} cannot be written: {error.strerror or error}.") from None
