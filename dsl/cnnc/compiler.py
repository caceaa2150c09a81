"""The pipeline, in a page: text, tree, graph, checked graph, target text."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from cnnc.check import Checked
from cnnc.check import check as check_built
from cnnc.diagnostics.model import CnncError, Diagnostic, Label, Severity
from cnnc.diagnostics.order import in_order
from cnnc.elaborate.build import Built
from cnnc.elaborate.files import Loader, Reader
from cnnc.elaborate.networks import build_network, network_names
from cnnc.shapes import Shape
from cnnc.source import Source, Span
from cnnc.syntax.parser import Parsed
from cnnc.syntax.parser import parse as parse_source


@dataclass(frozen=True)
class Options:
    """What a user may choose of a spec.

    ``network`` is a name (None: the file's last). Its parameters are set by ``parameters``, which are values, and by ``texts``, which
    are of the language: ``{"depths": "[3, 4, 6, 3]"}``. ``inputs`` give shapes by input name, or under None for the first input.
    ``strict`` makes warnings errors.
    """

    network: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str | None, Shape] = field(default_factory=dict)
    strict: bool = False
    texts: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's cycle collector: it would search a growing network again and again, and find nothing."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def no_imports(source: Source, item: Any) -> str:
    """A reader for text that stands alone."""
    return "nothing can be imported here"


def parse(source: Source) -> Parsed:
    """The tree of a text, and its syntax errors."""
    with _uncollected():
        return parse_source(source)


def elaborate(parsed: Parsed, options: Options = Options(), read: Reader = no_imports) -> Built | tuple[Diagnostic, ...]:
    """The graph of the chosen network; the problems alone when there is no network to build."""
    with _uncollected():
        loader = Loader(read, parse)
        unit = loader.load(parsed.file)
        earlier = (*parsed.problems, *loader.problems)
        built = build_network(unit, options.network, options.parameters, options.texts, options.inputs, bool(earlier))
    if isinstance(built, Built):
        return replace(built, problems=(*earlier, *built.problems))
    return in_order((*earlier, *built), parsed.file.source)


def check(built: Built, options: Options = Options()) -> Checked:
    """The checked network; with ``strict``, warnings are errors."""
    with _uncollected():
        checked = check_built(built)
    if not options.strict:
        return checked
    raised = tuple(replace(p, severity=Severity.ERROR) for p in checked.problems)
    return Checked(checked.graph, checked.facts, raised)


def analyse(source: Source, options: Options = Options(), read: Reader = no_imports) -> Checked | tuple[Diagnostic, ...]:
    """From text to the checked network; the problems alone when there is no network to check."""
    built = elaborate(parse(source), options, read)
    return check(built, options) if isinstance(built, Built) else built


def networks(source: Source, read: Reader = no_imports) -> list[str]:
    """The names of the networks that a text defines, in order; the last is the default."""
    return network_names(Loader(read, parse).load(parse(source).file))


def emit(checked: Checked, target: str) -> str:
    """The text of a target. Raises CnncError when the network has errors or the target cannot express it."""
    if checked.errors:
        raise CnncError(checked.errors)
    backend = TARGETS.get(target)
    if backend is None:
        known = ", ".join(TARGETS)
        at = Label(Span(checked.graph.definition.span.source, 0, 0))
        raise CnncError((Diagnostic("E701", f"there is no target `{target}`: there is {known}", at),))
    return backend(checked)


def _torch(checked: Checked) -> str:
    from cnnc.backends.torch import emit_torch

    return emit_torch(checked)


#: Target name -> backend. A backend is imported when it is used.
TARGETS: Mapping[str, Callable[[Checked], str]] = {"torch": _torch}

__all__ = ["TARGETS", "Built", "Checked", "Options", "analyse", "check", "elaborate", "emit", "networks", "parse"]
