"""``cnnc weights``."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnc.cli.common import ERRORS, Choice, Unable, analyse, json_option, open_spec, print_json, refuse, report, spec_options

if TYPE_CHECKING:
    from torch import Tensor

    from cnnc.check import Checked
    from cnnc.runtime.mapping import Match, Part, Refusal, Row
    from cnnc.runtime.weights import Compared, State


@click.group()
def command() -> None:
    """Weights that another implementation has trained."""


@dataclass(frozen=True)
class _Job:
    """What the command line asks for, looked at as far as can be before PyTorch is imported."""

    source: Path
    output: Path
    checked: Checked
    #: the network with the wanted number of classes, and with another: what differs between the two starts anew
    resized: tuple[Checked, Checked] | None
    golden: tuple[Path, Path] | None
    tolerance: float


@dataclass(frozen=True)
class _Outcome:
    """What came of it: a mapping with what is to be said of it, or why there is none."""

    found: Match | Refusal
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    compared: Compared | None = None
    agrees: bool = True


@command.command()
@click.argument("source", metavar="IN")
@click.option("--spec", required=True, metavar="SPEC", help="The network that the weights are for.")
@click.option("-o", "--output", required=True, metavar="FILE", help="The safetensors file to write.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.option(
    "--classes", type=click.IntRange(1), metavar="N", help="Set the network's `classes`; the layers that depend on it start anew."
)
@click.option("--check", "golden", metavar="INPUT,OUTPUT", help="Compare with a golden output; .pt, .safetensors or .npy files.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=1e-4,  # other orders of summation give 1e-6, another stride 5e-2
    show_default=True,
    metavar="X",
    help="The difference that --check lets pass, as a part of the largest number.",
)
@spec_options
@json_option
def adapt(source: str, spec: str, output: str, force: bool, as_json: bool, choice: Choice, **more: Any) -> None:
    """Map another implementation's weights onto a spec's layers.

    IN is a state dict: a .pth or .pt file of tensors, or safetensors. Its modules are matched with
    the layers by order, kind and shape, or by their keys where these are the same. Order means that
    a layer comes after those that it reads: branches side by side may come in any. Where that leaves
    a choice, names decide, such as those in other instances of the same block. A mapping that is
    incomplete, or still ambiguous, is refused with the first place where the two sides part.

    Weights that fit do not prove the same function. ResNet v1 and v1.5 have equal keys and shapes,
    and differ in a stride; the epsilon of a normalisation, rounding (ceil_mode) and padding leave no
    trace in a state dict either. --check runs the network on an input of which the other
    implementation's output in evaluation mode is known, and nothing is written if the results
    differ. Such a pair also decides an ambiguous mapping. Random numbers are the best input.

    With --classes, the layers that depend on the parameter `classes` start anew, in the same way each
    time; all others keep their weights. --check looks at the network with the classes of IN.

    With --json, prints {"network", "file", "source", "output", "layers": [{"layer", "op", "source",
    "how", "shapes"}], "notes", "check": {"difference", "tolerance", "agrees", "logits"}, "refused": {"reason",
    "message", "source", "layer", "others"}}; `how` is key, order, names or fresh, the last two can be
    null.
    """
    job = _job(source, spec, output, force, choice, **more)
    from cnnc.diagnostics.model import CnncError
    from cnnc.runtime.weights import WeightsError

    gc.enable()
    try:
        outcome = _adapted(job)
    except WeightsError as error:
        click.echo(f"cnnc: {error}", err=True)
        raise click.exceptions.Exit(ERRORS) from None
    except CnncError as error:
        report(error.diagnostics)
        raise click.exceptions.Exit(ERRORS) from None
    if as_json:
        print_json(_data(job, outcome))
    else:
        _print(job, outcome)
    raise click.exceptions.Exit(0 if outcome.rows and outcome.agrees else ERRORS)


# ----------------------------------------------------------------------------------------------------------------- what is asked


def _job(
    source: str, spec: str, output: str, force: bool, choice: Choice, *, classes: int | None, golden: str | None, tolerance: float
) -> _Job:
    path = _free(Path(output), force)
    _existing(source)
    pair = _pair(golden) if golden is not None else None
    text = open_spec(spec)

    def network(classes: int | None = None) -> Checked:
        options = choice.options()
        if classes is not None:
            options = replace(options, texts={**options.texts, "classes": str(classes)})
        found = analyse(text, options)
        report(found if isinstance(found, tuple) else found.problems if classes is None else found.errors)
        if isinstance(found, tuple) or found.errors:
            raise click.exceptions.Exit(ERRORS)
        return found

    checked = network()
    resized = None
    if classes is not None:
        if "classes" not in checked.graph.parameters:
            refuse(f"{checked.graph.name} has no parameter `classes`.")
        wanted = network(classes)
        resized = wanted, checked if checked.graph.parameters["classes"] != classes else network(classes + 1)
    _need_torch()
    return _Job(Path(source), path, checked, resized, pair, tolerance)


def _free(path: Path, force: bool) -> Path:
    """The path, if it may be written."""
    try:
        if path.is_dir():
            refuse(f"{path} is a folder.")
        if path.exists() and not path.is_file():
            refuse(f"{path} is no plain file.")
        if path.exists() and not force:
            refuse(f"{path} exists; --force overwrites it.")
        if not path.parent.is_dir():
            refuse(f"there is no folder {path.parent}.")
    except OSError as error:
        raise Unable(f"{path} cannot be looked at: {error.strerror or error}.") from None
    except ValueError:
        refuse(f"{str(path)!r} is no file name.")
    return path


def _existing(name: str) -> Path:
    try:
        there = Path(name).is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        refuse(f"there is no file {ascii(name)[1:-1]}.")
    return Path(name)


def _pair(text: str) -> tuple[Path, Path]:
    """The two files of ``--check``."""
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise click.BadParameter(f"{text!r} is not two files, as in `--check input.pt,output.pt`.", param_hint="'--check'")
    return _existing(names[0]), _existing(names[1])


def _need_torch() -> None:
    from importlib.util import find_spec

    for package, name in (("torch", "PyTorch"), ("safetensors", "safetensors")):
        if find_spec(package) is None:
            raise Unable(f"weights are read and written with PyTorch, and {name} is not installed: pip install 'cnnc[torch]'.")


# ----------------------------------------------------------------------------------------------------------------------- the work


def _adapted(job: _Job) -> _Outcome:
    """Read, map, check, and write if all is well."""
    from cnnc.runtime.mapping import Match
    from cnnc.runtime.weights import adapt, read

    state = read(job.source)
    found = adapt(job.checked, state)
    match = found if isinstance(found, Match) else found.guess if job.golden is not None else None
    if match is None:
        lost = "the file's keys are sorted by name, so that only numbers in names tell an order; a .pth file keeps it"
        return _Outcome(found, notes=state.notes if state.ordered else (*state.notes, lost))
    tensors, match, compared = _weights(job, state, match)
    agrees = compared is None or compared.difference <= job.tolerance
    notes: tuple[str, ...] = (*state.notes, *match.notes)
    if not isinstance(found, Match):
        notes += (f"{found.message}: {'the golden output agrees with' if agrees else 'tried'} the spec's order",)
    if agrees:
        _write(job, tensors)
    return _Outcome(found, match.rows, notes, compared, agrees)


def _weights(job: _Job, state: State, match: Match) -> tuple[dict[str, Tensor], Match, Compared | None]:
    """The tensors to write, where they come from, and how far the network with the source's weights is from the golden output."""
    from cnnc.runtime.module import forget
    from cnnc.runtime.weights import compare, module_with, renewed

    compared = None
    tensors: dict[str, Tensor] = {}
    if job.golden is not None or job.resized is None:
        module = module_with(job.checked, state, match)
        forget(module)
        tensors = dict(module.state_dict())
        compared = compare(module, *job.golden, job.checked) if job.golden is not None else None
    if job.resized is not None:
        match = renewed(match, *job.resized)
        module = module_with(job.resized[0], state, match)
        forget(module)
        tensors = dict(module.state_dict())
    return tensors, match, compared


def _write(job: _Job, tensors: dict[str, Tensor]) -> None:
    from cnnc.runtime.weights import write

    try:
        write(job.output, tensors)
    except OSError as error:
        raise Unable(f"{job.output} cannot be written: {error.strerror or error}.") from None


# ----------------------------------------------------------------------------------------------------------------------- printing


def _print(job: _Job, outcome: _Outcome) -> None:
    from cnnc.cli.table import Column, Row, print_table

    if not outcome.rows:
        _print_refusal(job, outcome)
        return
    columns = [Column(str(job.source), fold=True), Column(job.checked.graph.name, fold=True), Column("op"), Column("shapes"), Column("by")]
    rows = [
        Row([r.source.name if r.source is not None else "-", r.target.part.name, r.target.op, r.target.part.shown, r.how])
        for r in outcome.rows
    ]
    print_table(columns, rows)
    click.echo("")
    for note in outcome.notes:
        click.echo(f"note: {note}")
    if outcome.compared is not None:
        what = "the scores before the softmax" if outcome.compared.logits else "the result"
        shown = f"{what} and the golden output: the largest difference is {outcome.compared.difference:.1e} of the largest number"
        click.echo(f"check: {shown}" if outcome.agrees else f"cnnc: {shown}, more than {job.tolerance:.0e}", err=not outcome.agrees)
    if not outcome.agrees:
        click.echo(
            "the weights fit, but it is another function: look at strides, padding, rounding (ceil_mode), epsilons, "
            "what pooling counts, and the golden pair; nothing is written",
            err=True,
        )
        return
    fresh = sum(row.source is None for row in outcome.rows)
    left = f", {fresh} of them fresh" if fresh else ""
    click.echo(f"{job.output}: weights of {len(rows)} layers of {job.checked.graph.name}{left}")


def _print_refusal(job: _Job, outcome: _Outcome) -> None:
    from cnnc.runtime.mapping import Refusal

    refusal = outcome.found
    assert isinstance(refusal, Refusal)
    network = job.checked.graph.name
    nothing = "nothing is left"
    target = refusal.target
    sides = [
        (str(job.source), _side(refusal.source, nothing)),
        *((str(job.source), _side(other, "")) for other in refusal.others if other != refusal.source),
        (network, nothing if target is None else f"{target.part.name}: {target.op}, {target.part.shown}"),
    ]
    width = max(len(name) for name, _ in sides)
    lines = [f"cnnc: {job.source} is not mapped onto {network}, the mapping is {refusal.reason}: {refusal.message}"]
    if refusal.source is not None or target is not None:
        lines += [f"  {name:<{width}}  {what}" for name, what in sides]
    if refusal.reason == "ambiguous":
        lines.append("with --check and a golden pair, the mapping in the spec's order is tried")
    lines += [f"note: {note}" for note in outcome.notes]
    click.echo("\n".join(lines), err=True)


def _side(part: Part | None, nothing: str) -> str:
    return nothing if part is None else f"{part.name}: {part.kind}, {part.shown}"


def _data(job: _Job, outcome: _Outcome) -> dict[str, Any]:
    from cnnc.runtime.mapping import Refusal

    layers = [
        {
            "layer": row.target.part.name,
            "op": row.target.op,
            "source": row.source.name if row.source is not None else None,
            "how": row.how,
            "shapes": {leaf: list(shape) for leaf, shape in row.target.part.tensors},
        }
        for row in outcome.rows
    ]
    compared, refusal = outcome.compared, outcome.found
    return {
        "network": job.checked.graph.name,
        "file": job.checked.graph.definition.span.source.name,
        "source": str(job.source),
        "output": str(job.output) if outcome.rows and outcome.agrees else None,
        "layers": layers,
        "notes": list(outcome.notes),
        "check": None
        if compared is None
        else {
            "difference": compared.difference if isfinite(compared.difference) else None,
            "tolerance": job.tolerance,
            "agrees": outcome.agrees,
            "logits": compared.logits,
        },
        "refused": None
        if outcome.rows or not isinstance(refusal, Refusal)
        else {
            "reason": refusal.reason,
            "message": refusal.message,
            "source": refusal.source.name if refusal.source is not None else None,
            "layer": refusal.target.part.name if refusal.target is not None else None,
            "others": [part.name for part in refusal.others],
        },
    }
