"""What the commands share: the options that choose a network, reading the spec, showing diagnostics."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from cnnc.check import Checked
    from cnnc.compiler import Options
    from cnnc.diagnostics.model import Diagnostic
    from cnnc.source import Source

#: Exit statuses: the spec has errors; the command was not given what it needs.
ERRORS, USAGE = 1, 2

_F = TypeVar("_F", bound=Callable[..., Any])

_INPUT = re.compile(r"(?:([A-Za-z_]\w*)=)?([0-9]+(?:x[0-9]+)*)")


@dataclass(frozen=True)
class Choice:
    """What the common options say, not yet looked at."""

    network: str | None
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    strict: bool

    def options(self, network: str | None = None) -> Options:
        """The compiler's options, for the chosen network or for ``network``."""
        from cnnc.compiler import Options
        from cnnc.shapes import Shape

        texts = dict(_parameter(p) for p in self.parameters)
        inputs = {name: Shape(sizes) for name, sizes in map(_input, self.inputs)}
        return Options(network or self.network, {}, inputs, self.strict, texts)


def spec_options(command: _F) -> _F:
    """``--network``, ``-p``, ``--input`` and ``--strict``, gathered in one argument called ``choice``."""

    @wraps(command)
    def gathered(*args: Any, network: str | None, param: tuple[str, ...], input: tuple[str, ...], strict: bool, **kwargs: Any) -> Any:
        return command(*args, choice=Choice(network, param, input, strict), **kwargs)

    for decorate in reversed(
        (
            click.option("--network", metavar="NAME", help="The network to use: the file's last one, unless told."),
            click.option("-p", "--param", multiple=True, metavar="NAME=VALUE", help="Set a parameter of the network: -p classes=10."),
            click.option(
                "--input", multiple=True, metavar="SHAPE", help="The shape of the input, 3x32x32, or of one of several, name=3x32x32."
            ),
            click.option("--strict", is_flag=True, help="Make warnings errors."),
        )
    ):
        gathered = decorate(gathered)
    return gathered  # type: ignore[return-value]


def json_option(command: _F) -> _F:
    """``--json``, as the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")(command)


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name.isidentifier() or not value.strip():
        raise click.BadParameter(f"{text!r} is not NAME=VALUE, as in `-p classes=10`.", param_hint="'-p'")
    return name, value.strip()


def _input(text: str) -> tuple[str | None, tuple[int, ...]]:
    match = _INPUT.fullmatch(text.strip())
    sizes = tuple(int(n) for n in match[2].split("x") if len(n) < 20) if match else ()
    if match is None or not sizes or min(sizes) < 1 or len(sizes) != match[2].count("x") + 1:
        raise click.BadParameter(f"{text!r} is not a shape, as in `--input 3x32x32` or `--input image=3x32x32`.", param_hint="'--input'")
    return match[1], sizes


# ------------------------------------------------------------------------------------------------------------------------ specs


def read_spec(spec: str) -> Source | Diagnostic:
    """The text that SPEC names, or why there is none."""
    from cnnc.reading import MAX_BYTES, decode, find_spec

    if spec != "-":
        return find_spec(spec)
    return decode(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>")


def open_spec(spec: str) -> Source:
    """The text that SPEC names; where there is none, says why and ends."""
    from cnnc.source import Source

    source = read_spec(spec)
    if isinstance(source, Source):
        return source
    report([source])
    raise click.exceptions.Exit(unreadable(source))


def unreadable(diagnostic: Diagnostic) -> int:
    """The exit status for a spec that was not read: there is none of that name, or what is there is no text."""
    return USAGE if diagnostic.code == "E513" else ERRORS


def analyse(source: Source, options: Options) -> Checked | tuple[Diagnostic, ...]:
    """The checked network of a spec that may import others."""
    from cnnc.compiler import analyse as run
    from cnnc.reading import read_import

    return run(source, options, read_import)


def every_network(source: Source, choice: Choice) -> Iterator[tuple[str, Checked | tuple[Diagnostic, ...]]]:
    """Each network of a file with what came of it; only the chosen one with ``--network``.

    A network that needs values for its parameters is there for its variants: it is left out when there are others.
    """
    from cnnc.compiler import check, elaborate, networks, parse
    from cnnc.elaborate.build import Built
    from cnnc.reading import read_import

    parsed = parse(source)
    names = [choice.network] if choice.network is not None else networks(source, read_import) or [""]
    left_out: list[tuple[str, tuple[Diagnostic, ...]]] = []
    found = False
    for name in names:
        options = choice.options(name)
        built = elaborate(parsed, options, read_import)
        if not isinstance(built, Built) and built and all(d.code == "E512" for d in built):
            left_out.append((name, built))
            continue
        found = True
        yield name, check(built, options) if isinstance(built, Built) else built
    if not found:
        yield from left_out[-1:]


# ------------------------------------------------------------------------------------------------------------------ diagnostics


def report(diagnostics: Sequence[Diagnostic], *, to_stdout: bool = False) -> None:
    """Print diagnostics: with colour on a terminal, plain elsewhere."""
    if not diagnostics:
        return
    from cnnc.cli import COMMANDS
    from cnnc.diagnostics import text

    stream = sys.stdout if to_stdout else sys.stderr
    explain = "explain" in COMMANDS
    width = terminal_width(stream)
    if width is None or not colourful(stream):
        click.echo(text.to_text(diagnostics, width=_room(width), explain=explain), file=stream, nl=False)
        return
    from rich.console import Console

    Console(file=stream, highlight=False).print(text.to_rich(diagnostics, width=_room(width), explain=explain), soft_wrap=True, end="")


def _room(width: int | None) -> int:
    """The cells that a line of a spec may take, the gutter left out."""
    from cnnc.diagnostics.text import WIDTH

    return WIDTH if width is None else max(width - 8, 40)


def is_error(diagnostic: Diagnostic) -> bool:
    """Whether a diagnostic is more than a warning."""
    return diagnostic.severity.value == "error"


def terminal_width(stream: Any) -> int | None:
    """The width of the terminal that a stream goes to; None when it goes elsewhere."""
    import os
    import shutil

    try:
        if not stream.isatty():
            return None
        columns = os.environ.get("COLUMNS", "")
        return int(columns) if columns.isdigit() and int(columns) else os.get_terminal_size(stream.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):
        return shutil.get_terminal_size().columns


def colourful(stream: Any) -> bool:
    """Whether to print in colour: on a terminal, unless NO_COLOR says otherwise."""
    import os

    return terminal_width(stream) is not None and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


class Unable(click.ClickException):
    """What was asked for cannot be done here: nothing of that name may be written, PyTorch is missing."""

    exit_code = USAGE


def refuse(message: str) -> NoReturn:
    """End with a message about how the command was called."""
    raise click.UsageError(message)
