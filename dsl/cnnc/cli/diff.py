"""``cnnc diff``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import click

from cnnc.cli.common import ERRORS, Choice, is_error, open_spec, print_json, read_spec, refuse, report
from cnnc.cli.forms import format_option

if TYPE_CHECKING:
    from cnnc.check import Checked
    from cnnc.compare import Comparison
    from cnnc.diagnostics.model import Diagnostic
    from cnnc.source import Source
    from cnnc.syntax.parser import Parsed

#: Exit statuses with --exit-code, as diff(1) has them: they differ; they could not be compared.
DIFFERENT, TROUBLE = 1, 2

_NETWORK = re.compile(r"(?P<spec>.+?)(?::(?P<network>[A-Za-z_]\w*)?)?(?:\((?P<values>.*)\))?", re.DOTALL)


@dataclass(frozen=True)
class Side:
    """What one of the arguments names."""

    source: Source
    choice: Choice

    @cached_property
    def parsed(self) -> Parsed:
        """The tree of the text."""
        from cnnc.compiler import parse

        return parse(self.source)

    @cached_property
    def networks(self) -> tuple[str, ...]:
        """The networks of the file, in order."""
        from cnnc.compiler import networks
        from cnnc.reading import read_import

        return tuple(networks(self.source, read_import))

    def checked(self, network: str | None = None) -> Checked | tuple[Diagnostic, ...]:
        """One of the networks: the chosen one unless named."""
        from cnnc.compiler import check, elaborate
        from cnnc.elaborate.build import Built
        from cnnc.reading import read_import

        options = self.choice.options(network)
        built = elaborate(self.parsed, options, read_import)
        return check(built, options) if isinstance(built, Built) else built


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="A B")
@click.option("-p", "--param", multiple=True, metavar="NAME=VALUE", help="Set a parameter of both networks: -p classes=10.")
@click.option("--input", multiple=True, metavar="SHAPE", help="The shape of both inputs, 3x32x32, or of one of several, name=3x32x32.")
@click.option("--all", "everything", is_flag=True, help="Compare every network of A with the one of B that has its name.")
@click.option("--unchanged", is_flag=True, help="Show the layers that are the same, too.")
@click.option("--exit-code", is_flag=True, help="End with 0 for equal networks, 1 for different ones, 2 if one has errors.")
@click.option("--git", is_flag=True, help="Take the arguments that git gives an external diff, and end with 0.")
@format_option("text", "markdown", "json")
def command(
    arguments: tuple[str, ...],
    param: tuple[str, ...],
    input: tuple[str, ...],
    everything: bool,
    unchanged: bool,
    exit_code: bool,
    git: bool,
    form: Literal["text", "markdown", "json"],
) -> None:
    """Compare two networks, layer by layer.

    A and B are specs; SPEC:NETWORK names one of several networks, SPEC:NETWORK(name=value, ...)
    or SPEC(name=value) sets its parameters. Layers of the same path belong together; among the
    others, equal ones in the same order are renamed. `git config diff.cnn.command "cnnc diff --git"`
    lets git show changed specs like that.
    """
    if git:
        _git(arguments, unchanged, form)
        return
    if len(arguments) != 2:
        refuse(f"two specs are compared, but {len(arguments)} {'is' if len(arguments) == 1 else 'are'} given.")
    if arguments == ("-", "-"):
        refuse("only one side can be standard input.")
    a, b = (_side(text, param, input) for text in arguments)
    if everything and (a.choice.network or b.choice.network):
        refuse("--all compares every network: name none.")
    names = list(dict.fromkeys((*b.networks, *a.networks))) if everything else [None]
    comparisons, problems = _compared(a, b, names)
    _show(comparisons, unchanged, form, everything)
    report(problems)
    raise click.exceptions.Exit(_status(comparisons, problems, exit_code))


def _status(comparisons: list[Comparison], problems: list[Diagnostic], exit_code: bool) -> int:
    if any(map(is_error, problems)):
        return TROUBLE if exit_code else ERRORS
    return DIFFERENT if exit_code and not all(c.equal for c in comparisons) else 0


# ------------------------------------------------------------------------------------------------------------------- the two sides


def _side(text: str, params: tuple[str, ...], inputs: tuple[str, ...]) -> Side:
    """What SPEC, SPEC:NETWORK or SPEC:NETWORK(name=value, …) names. A file of exactly that name goes first."""
    from cnnc.reading import find_spec
    from cnnc.source import Source

    match = None if text == "-" or isinstance(find_spec(text), Source) else _NETWORK.fullmatch(text)
    spec, network, values = (text, None, None) if match is None else (match["spec"], match["network"], match["values"])
    choice = Choice(network, (*params, *_values(values, text)), inputs, False)
    choice.options()  # what is wrong with the command line is said before a file is read
    return Side(open_spec(spec), choice)


def _values(text: str | None, whole: str) -> list[str]:
    from cnnc.syntax.pieces import split_values

    found = split_values(text) if text is not None and text.strip() else []
    for value in found:
        if not re.match(r"[A-Za-z_]\w*\s*=[^=]", value):
            refuse(f"{value!r} in {whole!r} is not name=value, as in `resnet:ResNet18(classes=10)`.")
    return found


def _compared(a: Side | None, b: Side | None, names: list[str] | list[None]) -> tuple[list[Comparison], list[Diagnostic]]:
    """The comparison of each network, as far as it could be built, and the problems of both sides.

    A network that one side does not have is new or gone. One that could not be built at all is compared with nothing.
    """
    from cnnc.check import Checked
    from cnnc.compare import compare

    comparisons: list[Comparison] = []
    problems: dict[tuple[str, str, int, int], Diagnostic] = {}
    for name in names:
        left, right = (_network(side, name, problems) for side in (a, b))
        if "broken" in (left, right) or left == right == "absent":
            continue
        comparisons.append(compare(*(n if isinstance(n, Checked) else None for n in (left, right))))
    return comparisons, list(problems.values())


def _network(
    side: Side | None, name: str | None, problems: dict[tuple[str, str, int, int], Diagnostic]
) -> Checked | Literal["absent", "broken"]:
    """A network of one side as far as it could be built. What is wrong with it goes to ``problems``."""
    if side is None:
        return "absent"
    known = side.networks
    if name is not None and name not in known and known:
        return "absent"
    found = side.checked(name if known else None)
    if isinstance(found, tuple) and name is not None and found and all(d.code in ("E510", "E512") for d in found):
        return "absent"  # a file of blocks; or a network that is there for its variants, which give it values
    for problem in found if isinstance(found, tuple) else found.problems:
        span = problem.at.span
        problems.setdefault((problem.code, span.source.name, span.start, span.end), problem)
    return "broken" if isinstance(found, tuple) else found


# ------------------------------------------------------------------------------------------------------------------------- for git


def _git(arguments: tuple[str, ...], unchanged: bool, form: str) -> None:
    """Show what git hands over: path, then file, object and mode of the old side and of the new; for a rename the new path, too.

    git stops at a program that fails, so problems are printed among the rest and the status is 0.
    """
    if len(arguments) == 1:
        click.echo(f"{arguments[0]}: unmerged")
        return
    if len(arguments) < 7:
        refuse("--git takes what git gives an external diff: PATH OLD-FILE OLD-HEX OLD-MODE NEW-FILE NEW-HEX NEW-MODE.")
    path, renamed = arguments[0], arguments[7] if len(arguments) > 7 else arguments[0]
    if form != "json":
        click.echo(f"cnnc diff a/{path} b/{renamed}")
    problems: list[Diagnostic] = []
    a = _blob(arguments[1], f"a/{path}", path, problems)
    b = _blob(arguments[4], f"b/{renamed}", renamed, problems)
    names = list(dict.fromkeys(name for side in (b, a) if side is not None for name in side.networks))
    comparisons, found = ([], []) if problems else _compared(a, b, names)
    different = [c for c in comparisons if not c.equal]
    problems += found
    if different or form == "json" or not problems:
        _show(different, unchanged, form, many=True)
    report(problems, to_stdout=form != "json")


def _blob(file: str, name: str, path: str, problems: list[Diagnostic]) -> Side | None:
    """A side as git gives it; None for no file. Imports are those of the working tree, beside the path."""
    from pathlib import Path

    from cnnc.source import Source

    if file == "/dev/null":
        return None
    source = read_spec(file)
    if not isinstance(source, Source):
        problems.append(source)
        return None
    return Side(replace(source, name=name, path=Path(path).resolve()), Choice(None, (), (), False))


# ---------------------------------------------------------------------------------------------------------------------- what it says


def _show(comparisons: list[Comparison], unchanged: bool, form: str, many: bool) -> None:
    from cnnc.cli import comparison

    if form == "json":
        print_json({"equal": all(c.equal for c in comparisons), "networks": [comparison.data(c, unchanged) for c in comparisons]})
        return
    shown = [c for c in comparisons if unchanged or not c.equal] if many else comparisons
    for k, each in enumerate(shown):
        if k:
            click.echo()
        comparison.show(each, unchanged, form == "markdown")
    if many and not shown:
        click.echo("the networks are the same")
