"""Files and what they define: imports followed, names of networks, blocks and constants bound.

Reading is handed in, so nothing here touches the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cnnc.diagnostics.model import Diagnostic, Label, Severity
from cnnc.elaborate.values import (
    SYMBOLS,
    Binding,
    BlockValue,
    Evaluator,
    Frame,
    Refusal,
    nearest,
    refuse,
)
from cnnc.layers import KINDS
from cnnc.source import Source, Span
from cnnc.syntax import ast
from cnnc.syntax.parser import Parsed

#: How long a chain of imports may be.
MAX_IMPORT_DEPTH = 32
#: How many files one spec may import in all.
MAX_IMPORTED_FILES = 500

#: Words with a meaning of their own in bodies.
RESERVED = frozenset({"in", "flow"})

#: Given the importing source and the import, the imported source, or a sentence that says why not.
Reader = Callable[[Source, ast.Import], Source | str]


@dataclass(eq=False)
class Unit:
    """A file with its definitions bound."""

    file: ast.File
    frame: Frame
    networks: dict[str, tuple[ast.Network | ast.Variant, Unit]] = field(default_factory=dict)
    #: names of the networks that this file itself defines, in order
    own: list[str] = field(default_factory=list)


class Loader:
    """Binds the definitions of a file and of all that it imports."""

    def __init__(self, read: Reader, parse: Callable[[Source], Parsed]) -> None:
        self.read = read
        self.parse = parse
        self.problems: list[Diagnostic] = []
        self._units: dict[str, Unit] = {}
        self._open: list[str] = []

    def load(self, file: ast.File) -> Unit:
        """The unit of a parsed file."""
        unit = Unit(file, Frame())
        evaluate = Evaluator(lambda name, span: self._constant(unit, name, span))
        for item in file.items:
            try:
                self._item(unit, item, evaluate)
            except Refusal as refusal:
                self.problems.append(refusal.diagnostic)
        return unit

    def _constant(self, unit: Unit, name: str, span: Span) -> Any:
        found = unit.frame.names.get(name)
        if found is not None:
            found.used = True
            return found.value
        if name in SYMBOLS:
            return name
        guess = nearest(name, unit.frame.names)
        refuse("E204", f"`{name}` is not defined", span, help=f"did you mean `{guess}`?" if guess else None)

    def _item(self, unit: Unit, item: ast.Item, evaluate: Evaluator) -> None:
        if isinstance(item, ast.Block):
            self._bind(unit, item.name, BlockValue(item, unit.frame), item.name_span, "block")
        elif isinstance(item, ast.Network | ast.Variant):
            self._network(unit, item)
        elif isinstance(item, ast.Let):
            self._bind(unit, item.name, evaluate(item.value), item.name_span, "constant")
        elif isinstance(item, ast.Import):
            self._import(unit, item)
        else:
            refuse_reserved(item)

    def _bind(self, unit: Unit, name: str, value: Any, span: Span, kind: str) -> None:
        check_name(name, span, unit.frame)
        if name in unit.networks:
            refuse("E203", f"`{name}` is defined twice", span, "a network has this name already")
        unit.frame.names[name] = Binding(value, span, kind)

    def _network(self, unit: Unit, item: ast.Network | ast.Variant) -> None:
        if item.name in unit.networks:
            first = unit.networks[item.name][0].name_span
            raise Refusal(
                Diagnostic("E203", f"`{item.name}` is defined twice", Label(item.name_span, "again here"), (Label(first, "first here"),))
            )
        check_name(item.name, item.name_span, unit.frame)
        unit.networks[item.name] = (item, unit)
        unit.own.append(item.name)

    def _import(self, unit: Unit, item: ast.Import) -> None:
        if len(self._open) >= MAX_IMPORT_DEPTH:
            refuse("E603", f"imports go more than {MAX_IMPORT_DEPTH} files deep", item.module_span)
        found = self.read(unit.file.source, item)
        if isinstance(found, str):
            refuse("E501", found, item.module_span)
        key = str(found.path or found.name)
        if key in self._open or found.path == unit.file.source.path:
            refuse("E502", f"`{item.module}` imports itself, directly or through other files", item.module_span, "the circle closes here")
        if key not in self._units:
            if len(self._units) >= MAX_IMPORTED_FILES:
                refuse("E603", f"more than {MAX_IMPORTED_FILES} files are imported", item.module_span)
            self._open.append(key)
            try:
                parsed = self.parse(found)
                self.problems.extend(parsed.problems)
                self._units[key] = self.load(parsed.file)
            finally:
                self._open.pop()
        self._take(unit, self._units[key], item)

    def _take(self, unit: Unit, other: Unit, item: ast.Import) -> None:
        for name, alias, span in item.names:
            if name in other.networks:
                check_name(alias, span, unit.frame)
                unit.networks[alias] = other.networks[name]
                continue
            binding = other.frame.names.get(name)
            if binding is None:
                if any(d.severity is Severity.ERROR and d.at.span.source is other.file.source for d in self.problems):
                    continue  # what is missing may stand behind the error
                known = [*other.frame.names, *other.networks]
                guess = nearest(name, known)
                refuse(
                    "E503",
                    f"`{item.module}` defines no `{name}`",
                    span,
                    help=f"did you mean `{guess}`?" if guess else f"it defines {', '.join(known[:8])}" if known else "it defines nothing",
                )
            self._bind(unit, alias, binding.value, span, binding.kind)


def check_name(name: str, span: Span, frame: Frame) -> None:
    """Refuse a name that is taken: by an op, by a word with a meaning, or by another name that can be seen."""
    if name in KINDS and KINDS[name].role != "input":
        refuse("E203", f"`{name}` is the name of an op", span, "choose another name")
    if name in RESERVED:
        refuse("E203", f"`{name}` has a meaning of its own in a body", span, "choose another name")
    other = frame.find(name)
    if other is not None:
        raise Refusal(
            Diagnostic(
                "E203",
                f"`{name}` is the name of another {other.kind}",
                Label(span, "choose another name"),
                (Label(other.span, "defined here"),),
            )
        )


def refuse_reserved(item: ast.Reserved) -> None:
    """Say that a reserved construct is not compiled by this version."""
    training = item.word == "train"
    refuse(
        "E801",
        f"`{item.word}` is reserved for {'training' if training else 'placement'}, which this version does not compile",
        item.span,
        "not supported yet",
        help="leave the training section out" if training else "describe the network on one device; `groups=2` says what two towers compute",
    )
