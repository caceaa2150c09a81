"""Files and what they define: imports followed, names of networks, blocks and constants bound.

Reading is handed in, so nothing here touches the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Never

from cnnc.diagnostics.model import Diagnostic, Severity
from cnnc.elaborate.evaluate import Evaluator, among
from cnnc.elaborate.names import check_name, refuse_taken
from cnnc.elaborate.values import Binding, BlockValue, Frame, Poisoned, Refusal, did_you_mean, refuse, too_deep
from cnnc.source import Source, Span
from cnnc.syntax import ast
from cnnc.syntax.parser import Parsed

#: How long a chain of imports may be.
MAX_IMPORT_DEPTH = 32
#: How many files one spec may import in all.
MAX_IMPORTED_FILES = 500

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
        evaluate = among(unit.frame)
        self._open.append(_key(file.source))
        for item in file.items:
            try:
                self._item(unit, item, evaluate)
                continue
            except Refusal as refusal:
                self.problems.append(refusal.diagnostic)
            except Poisoned:
                pass
            except RecursionError:
                self.problems.append(too_deep(item.span))
            _poison(unit, item)
        self._open.pop()
        for item in file.items:
            if isinstance(item, ast.Network | ast.Block):
                self._params(unit, item)
        return unit

    def _params(self, unit: Unit, item: ast.Network | ast.Block) -> None:
        """Parameters whose names are taken, or stand twice."""
        frame = unit.frame.nested()
        for param in item.params:
            span = Span(param.span.source, param.span.start, param.span.start + len(param.name))
            try:
                check_name(param.name, span, frame)
            except Refusal as refusal:
                self.problems.append(refusal.diagnostic)
            frame.names[param.name] = Binding(None, span, "parameter")

    def _item(self, unit: Unit, item: ast.Item, evaluate: Evaluator) -> None:
        match item:
            case ast.Block():
                self._bind(unit, item.name, BlockValue(item, unit.frame), item.name_span, "block")
            case ast.Network() | ast.Variant():
                self._claim(unit, item.name, item.name_span)
                unit.networks[item.name] = (item, unit)
                unit.own.append(item.name)
            case ast.Let():
                self._claim(unit, item.name, item.name_span)
                self._bind(unit, item.name, evaluate(item.value), item.name_span, "constant")
            case ast.Import():
                self._import(unit, item)
            case ast.Broken():
                raise Poisoned
            case ast.Reserved():
                refuse_reserved(item)

    def _claim(self, unit: Unit, name: str, span: Span) -> None:
        """Refuse a name that the file has already."""
        check_name(name, span, unit.frame)
        if name in unit.networks:
            refuse_taken(name, span, "network", unit.networks[name][0].name_span)

    def _bind(self, unit: Unit, name: str, value: Any, span: Span, kind: str) -> None:
        self._claim(unit, name, span)
        unit.frame.names[name] = Binding(value, span, kind)

    def _import(self, unit: Unit, item: ast.Import) -> None:
        if len(self._open) > MAX_IMPORT_DEPTH:
            refuse("E603", f"imports go more than {MAX_IMPORT_DEPTH} files deep", item.module_span)
        found = self.read(unit.file.source, item)
        if isinstance(found, str):
            refuse("E501", found, item.module_span)
        key = _key(found)
        if key in self._open:
            refuse("E502", f"`{item.module}` imports itself, directly or through other files", item.module_span, "the circle closes here")
        if key not in self._units:
            if len(self._units) >= MAX_IMPORTED_FILES:
                refuse("E603", f"more than {MAX_IMPORTED_FILES} files are imported", item.module_span)
            parsed = self.parse(found)
            self.problems.extend(parsed.problems)
            self._units[key] = self.load(parsed.file)
        for name, alias, span in item.names:
            try:
                self._take(unit, self._units[key], item, name, alias, span)
            except Refusal as refusal:
                self.problems.append(refusal.diagnostic)
                _bind_poison(unit, alias, span)

    def _take(self, unit: Unit, other: Unit, item: ast.Import, name: str, alias: str, span: Span) -> None:
        """Bind one imported name."""
        binding = other.frame.names.get(name)
        if name in other.networks:
            self._claim(unit, alias, span)
            unit.networks[alias] = other.networks[name]
        elif binding is not None:
            self._bind(unit, alias, binding.value, span, binding.kind)
        elif any(d.severity is Severity.ERROR and d.at.span.source is other.file.source for d in self.problems):
            _bind_poison(unit, alias, span)  # what is missing may stand behind the error
        else:
            known = [*other.frame.names, *other.networks]
            defines = f"it defines {', '.join(known[:8])}" if known else "it defines nothing"
            refuse("E503", f"`{item.module}` defines no `{name}`", span, "not there", help=did_you_mean(name, known, defines))


def _key(source: Source) -> str:
    return str(source.path) if source.path is not None else f"<{source.name}>"


def _bind_poison(unit: Unit, name: str, span: Span) -> None:
    if name not in unit.networks:
        unit.frame.poison(name, span)


def _poison(unit: Unit, item: ast.Item) -> None:
    """Bind what a definition that failed would have bound, so that nothing else is blamed for it."""
    match item:
        case ast.Let() | ast.Block():
            _bind_poison(unit, item.name, item.name_span)
        case ast.Import():
            for _, alias, span in item.names:
                _bind_poison(unit, alias, span)
        case ast.Broken():
            for name in item.names:
                _bind_poison(unit, name, item.span)


def refuse_reserved(item: ast.Reserved) -> Never:
    """Say that a reserved construct is not compiled by this version."""
    training = item.word == "train"
    refuse(
        "E801",
        f"`{item.word}` is reserved for {'training' if training else 'placement'}, which this version does not compile",
        item.span,
        "not supported yet",
        help="leave the training section out"
        if training
        else "describe the network on one device; `groups=2` says what two towers compute",
    )
