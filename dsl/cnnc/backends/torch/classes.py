"""One class of the emitted file: its constructor and its forward pass, written from all its instances at once.

The instances of a block (or of a named body) are aligned item by item. Where they agree, a literal is written; where they differ, the
spec's own expression over the block's parameters, checked against every instance; where that cannot say it, a further constructor
argument. What cannot be aligned is a :class:`Mismatch`, and the file then has two classes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cnnc.backends.torch import expressions as ex
from cnnc.backends.torch.layout import WIDTH, lay_out
from cnnc.backends.torch.names import argument, attribute, class_name, split_path, variable
from cnnc.backends.torch.values import (
    Context,
    LetValue,
    Mismatch,
    Occurrence,
    Parameter,
    Unsupported,
    Value,
    equal,
    find,
    plain,
    translate,
)
from cnnc.graph import Node, Ref, Scope
from cnnc.layers.form import IN_CHANNELS, IN_SIZE, Arg, Call, Form, InitCall, Raw, literal, write
from cnnc.shapes import Shape
from cnnc.syntax import ast

if TYPE_CHECKING:
    from cnnc.backends.torch.file import File

#: Names in Python text that are no attributes: among them the variables.
_VARIABLE = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
#: An expression of a forward pass grows to about this many characters before it gets a line of its own.
_NEST = 62
#: Repeats of at least this many turns become loops; fewer are written out.
_ROLL = 3
#: An expression of at most this many characters is never worth a line of its own.
_SHORT = 12


@dataclass(slots=True, eq=False)
class Line:
    """A line of code with its depth; ``probed`` is the same with probes, ``comment`` goes behind it where there is room."""

    depth: int
    text: str
    probed: str
    comment: str = ""


@dataclass(slots=True, eq=False)
class Family:
    """The modules of an indexed name."""

    name: str
    at: int
    rows: dict[int, str] = field(default_factory=dict)
    chained: bool = False


class Inexpressible(Mismatch):
    """A number of the network's own class varies with an open parameter in a way that no expression says."""


class ClassWriter:
    """Writes one class."""

    def __init__(self, file: File, name: str, kind: str, instances: list[Occurrence], skip: frozenset[int] = frozenset()) -> None:
        self.file = file
        self.name = name
        self.kind = kind
        self.instances = instances
        self.boundaries = [o.scope for o in instances]
        self.index = {id(o.scope): k for k, o in enumerate(instances)}
        self.skip = skip
        self.params: dict[str, Parameter] = {}
        self.used: set[str] = set()
        self.stored: set[str] = set()
        self.init: list[Line] = []
        self.lines: list[Line] = []
        self.depth = 0
        self.init_depth = 0
        self.families: dict[str, Family] = {}
        self.registered: set[str] = set()
        self.values: dict[tuple[int, Ref], Value] = {}
        self.live: dict[str, Value] = {}
        self.taken: set[str] = {"self", "x"}
        self.captured: list[Value] = []
        self.capture_refs: list[list[Ref]] = []
        self.flags: dict[str, str] = {}
        self.lets: dict[str, tuple[ast.Expr, list[Any]]] = {}
        self.result: Value | None = None
        self.chain = False
        self.shown: Shape | None = None
        self.last_statement: tuple[int, int] | None = None
        #: what is borrowed from around: shared modules, passed to ``forward``; name -> the use in each instance
        self.borrowed: dict[str, dict[int, Node | Scope]] = {}
        self.attributes = self._attributes()
        #: names of the spec -> arguments and variables of the constructor
        self.pythonic: dict[str, str] = {}

    def _attributes(self) -> set[str]:
        """The attributes that layers of this class have, or would have."""
        found: set[str] = set()

        def visit(occurrence: Occurrence, scope: Scope) -> None:
            prefix = self.boundaries[occurrence.owner].path
            for item in scope.items:
                path = occurrence.graph.nodes[item].path if isinstance(item, int) else item.path
                relative = path[len(prefix) + 1 :] if prefix else path
                if relative:
                    found.add(split_path(relative)[0])
                if isinstance(item, Scope) and item.kind not in ("block",):
                    visit(occurrence, item)

        for occurrence in self.instances:
            visit(occurrence, occurrence.scope)
        return found

    def python_name(self, spec: str, key: str | None = None) -> str:
        """The constructor's name for a name of the spec, different from all others."""
        key = key or spec
        known = self.pythonic.get(key)
        if known is None:
            known = argument(spec)
            while known in self.file.reserved or known in self.pythonic.values() or known == "in_channels":
                known += "_"
            self.pythonic[key] = known
        return known

    def local(self, spec: str) -> str:
        """A name of the spec as a variable of ``forward``, which hides no function or class of the file."""
        name = variable(spec)
        while name in self.file.reserved:
            name += "_"
        return name

    # ------------------------------------------------------------------------------------------------------------- names

    @property
    def takes_input(self) -> bool:
        """Whether ``forward`` reads what flows in: a named body may start from other values only."""
        return self.chain or any(
            o.scope.inputs and (self.file.reads(o.graph, o.scope)[o.scope.inputs[0]] or self.kind == "block") for o in self.instances
        )

    def resolve(self, name: str, scopes: list[Scope], context: Context) -> ast.Expr | None:
        """A name of the spec over the names of this class."""
        if name == "in.channels":
            return self.inlet_channels(scopes, context)
        found = [find(name, s, self.boundaries[o]) for s, o in zip(scopes, context.owners, strict=True)]
        where, inside, value = found[0]
        if isinstance(value, LetValue):
            homes = [f[0] for f in found]
            if any(h is None for h in homes) or any(not isinstance(f[2], LetValue) for f in found):
                return None
            inlined = translate(value.expr, [h for h in homes if h is not None], context, self.resolve)
            if inlined is not None:
                return self._let(name, inlined, [f[2].value for f in found], context)
            return self._constant([f[2].value for f in found])
        values = [f[2] for f in found]
        if not all(plain(v) for v in values):
            return None
        if where is None:
            return self._constant(values)
        if where in self.boundaries:
            return self.parameter(name)
        if not inside:
            return self._capture_number(name, values, context)
        rolled = context.loops.get(id(where.origin))
        if rolled is not None and name in rolled:
            return ex.name(rolled[name])
        return self._constant(values)

    def _let(self, spec: str, expr: ast.Expr, values: list[Any], context: Context) -> ast.Expr:
        """A constant of the spec: a variable at the top of the constructor, if only its arguments decide it."""
        names = ex.names_in(expr)
        if isinstance(expr, ast.Name) or not names or names & set(context.variables):
            return expr
        python = self.python_name(spec, f"let {spec}")
        known = self.lets.get(python)
        if known is None:
            kept = self._per_instance(values, context)
            if kept is None:
                return expr
            known = self.lets[python] = (expr, kept)
        return ex.name(python) if known[0] is expr or ex.to_python(known[0]) == ex.to_python(expr) else expr

    @staticmethod
    def _constant(values: list[Any]) -> ast.Expr | None:
        if all(equal(v, values[0]) for v in values) and plain(values[0]):
            return ex.constant(values[0])
        return None

    def inlet_channels(self, scopes: list[Scope], context: Context) -> ast.Expr | None:
        """``in.channels``, where ``in`` is what flows into this class."""
        return ex.name("in_channels") if self.kind == "block" else None

    def parameter(self, spec: str) -> ast.Expr | None:
        """The constructor argument for a parameter of the block; for a network only if it is open."""
        values = [b.bindings[spec] for b in self.boundaries]
        if self.kind == "network" and spec not in self.file.open:
            return self._constant(values)
        name = self.python_name(spec)
        if name not in self.params:
            self.params[name] = Parameter(name, values, spec)
        return ex.name(name)

    def _capture_number(self, spec: str, values: list[Any], context: Context) -> ast.Expr | None:
        """A name from around a named body: an argument of the body's class."""
        if self.kind == "network":
            return self._constant(values)
        kept = self._per_instance(values, context)
        if kept is None:
            return None
        name = self.python_name(spec, f"outer {spec}")
        if name not in self.params:
            self.params[name] = Parameter(name, kept, spec)
        return ex.name(name)

    def _per_instance(self, values: list[Any], context: Context) -> list[Any] | None:
        kept: list[Any] = [None] * len(self.instances)
        seen = [False] * len(self.instances)
        for value, owner in zip(values, context.owners, strict=True):
            if seen[owner] and not equal(kept[owner], value):
                return None
            kept[owner], seen[owner] = value, True
        return kept

    def environment(self, context: Context, k: int) -> dict[str, Any]:
        """The values of all names in one occurrence."""
        owner = context.owners[k]
        names = {p.name: p.values[owner] for p in self.params.values()}
        names.update((n, values[owner]) for n, (_, values) in self.lets.items())
        scope = self.boundaries[owner]
        if scope.inputs:
            shape = self.instances[owner].graph.shape(scope.inputs[0])
            if shape is not None:
                names["in_channels"] = shape.channels
        for name, values in context.variables.items():
            names[name] = values[k]
        return names

    def holds(self, expr: ast.Expr, values: Sequence[Any], context: Context) -> bool:
        """Whether an expression gives these values in every occurrence."""
        return all(equal(ex.evaluate(expr, self.environment(context, k)), v) for k, v in enumerate(values))

    def express(self, values: Sequence[Any], expr: ast.Expr | None, context: Context, hint: str) -> ast.Expr | None:
        """Values as an expression of the class; None: a literal will do, since all are the same."""
        if expr is not None and ex.has_names(expr) and self.holds(expr, values, context):
            return expr
        if all(equal(v, values[0]) for v in values):
            return None
        if self.kind == "network":
            raise Inexpressible(hint)
        kept = self._per_instance(list(values), context)
        if kept is None or any(not plain(v) for v in kept):
            raise Mismatch(hint)
        return ex.name(self._extra(hint, kept))

    def _extra(self, hint: str, values: list[Any]) -> str:
        """A constructor argument that the spec has no word for."""
        for param in self.params.values():
            if param.spec is None and param.hint == hint and equal(param.values, values):
                return param.name
        n = 1
        while f"extra {hint} {n}" in self.pythonic:
            n += 1
        name = self.python_name(hint, f"extra {hint} {n}")
        self.params[name] = Parameter(name, values, hint=hint)
        return name

    def print(self, expr: ast.Expr, context: Context, forward: bool = False) -> str:
        """Python text; the names in it count as used, and in ``forward`` they are attributes."""
        names = ex.names_in(expr)
        self.used |= names
        for function in ex.functions_in(expr):
            if function in ex.NEEDS:
                self.file.needs.add(ex.NEEDS[function])

        def whole(e: ast.Expr) -> bool:
            return all(isinstance(ex.evaluate(e, self.environment(context, k)), int) for k in range(len(context.occurrences)))

        if forward:
            replaced = {n: ex.name(self.stored_name(n)) if n not in context.variables else ex.name(n) for n in names}
            text = ex.to_python(expr, whole)
            for n in sorted(names, key=len, reverse=True):
                text = re.sub(rf"(?<![\w.]){re.escape(n)}\b", replaced[n].id, text)
            return text
        return ex.to_python(expr, whole)

    def stored_name(self, name: str) -> str:
        """A constructor's name as ``forward`` reaches it."""
        self.stored.add(name)
        shown = attribute(name)
        while shown in self.attributes:
            shown += "_"
        return f"self.{shown}"

    # ------------------------------------------------------------------------------------------------------------- values

    def value_of(self, refs: list[Ref], context: Context) -> Value:
        """The value that each occurrence means by its reference; it must be the same one."""
        first = self.values.get((id(context.occurrences[0].graph), refs[0]))
        for occurrence, ref in zip(context.occurrences, refs, strict=True):
            if self.values.get((id(occurrence.graph), ref)) is not first:
                raise Mismatch("the wiring differs")
        if first is not None:
            return first
        if all(r.node in self.file.dead(o.graph) for o, r in zip(context.occurrences, refs, strict=True)):
            return self.stand_in(refs, context)
        return self._capture(refs, context)

    def _capture(self, refs: list[Ref], context: Context) -> Value:
        """A value from around a named body: an argument of its ``forward``."""
        if self.kind != "body":
            raise Unsupported("a value from outside is used in a place that PyTorch's modules cannot reach", context.occurrences[0].scope)
        kept = self._per_instance(list(refs), context)
        if kept is None:
            raise Mismatch("the wiring differs")
        shapes = [s for o, r in zip(context.occurrences, refs, strict=True) if (s := o.graph.shape(r)) is not None]
        spec = context.occurrences[0].graph.value_names.get(refs[0], "other")
        value = Value(shapes, None, self.unique(self.local(spec)))
        value.uses = 10**9
        self.captured.append(value)
        self.capture_refs.append(kept)
        self.bind(refs, value, context)
        return value

    def bind(self, refs: list[Ref], value: Value, context: Context) -> None:
        """Remember what computes a value."""
        for occurrence, ref in zip(context.occurrences, refs, strict=True):
            self.values[(id(occurrence.graph), ref)] = value

    def unique(self, name: str) -> str:
        """A variable name that nothing has yet."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def use(self, value: Value) -> tuple[str, str]:
        """The text of a value where it is read, plain and probed."""
        value.uses -= 1
        if value.variable is not None:
            return value.variable, value.variable
        return value.text, value.probed

    def materialise(self, value: Value, prefer: str | None = None, comment: str = "") -> None:
        """Give a value a line and a variable."""
        if value.variable is not None or self.chain:
            return
        target = self._free(value, prefer)
        value.variable = target
        self.live[target] = value
        if value.text != target:
            self.emit(f"{target} = {value.text}", f"{target} = {value.probed}", comment)

    def _free(self, value: Value, prefer: str | None) -> str:
        """A variable that nothing needs any more: neither as it is nor in an expression that still waits for its line."""
        waiting = self._waiting(value)

        def free(name: str) -> bool:
            holder = self.live.get(name)
            return name not in waiting and name not in self.fixed and (holder is None or holder is value or holder.uses <= 0)

        names = itertools.chain([prefer] if prefer else [], ("x", "y", "z", "u", "v", "w"), (f"y{n}" for n in itertools.count(2)))
        return next(name for name in names if free(name))

    def unique_result(self) -> str:
        """The variable of the network's result."""
        return self._free(Value([]), None)

    def _waiting(self, value: Value) -> set[str]:
        """The variables in expressions that are not in any line yet, apart from that of ``value``."""
        found: set[str] = set()
        for other in dict.fromkeys(self.values.values()):
            if other is not value and other.variable is None and other.uses > 0:
                found.update(_VARIABLE.findall(other.text))
        return found

    @property
    def fixed(self) -> set[str]:
        """Names that no line may assign: arguments of forward beside the first."""
        return {v.variable for v in self.captured if v.variable}

    def emit(self, text: str, probed: str | None = None, comment: str = "") -> None:
        """A line of the forward pass."""
        self.lines.append(Line(self.depth, text, text if probed is None else probed, comment))

    # ------------------------------------------------------------------------------------------------------------- items

    def items(self, context: Context) -> None:
        """Write the items of aligned scopes."""
        scopes = [o.scope for o in context.occurrences]
        if len({len(s.items) for s in scopes}) != 1:
            raise Mismatch("the instances have different layers")
        k = 0
        while k < len(scopes[0].items):
            column = [s.items[k] for s in scopes]
            k += 1
            self.item(column, context)

    def item(self, column: list[Any], context: Context) -> None:
        """Write one item of aligned scopes."""
        first = column[0]
        if isinstance(first, int):
            if any(not isinstance(c, int) for c in column):
                raise Mismatch("the instances have different layers")
            nodes = [o.graph.nodes[c] for o, c in zip(context.occurrences, column, strict=True)]
            if nodes[0].id not in self.skip:
                self.op(nodes, context)
            return
        if any(not isinstance(c, Scope) or c.kind != first.kind or c.origin is not first.origin for c in column):
            raise Mismatch("the instances have different layers")
        inner = self._at(column, context)
        match first.kind:
            case "block" | "body" | "head":
                self.instance(inner, context)
            case "merge" if self.file.is_class(inner.occurrences[0].graph, first):
                self.instance(inner, context)
            case "merge":
                self.merge(inner)
            case "if":
                self.condition(inner)
            case "loop":
                self.loop(inner)
            case _:
                self.items(inner)

    @staticmethod
    def _at(scopes: list[Scope], context: Context) -> Context:
        moved = [o.at(s) for o, s in zip(context.occurrences, scopes, strict=True)]
        return Context(moved, context.variables, context.loops)

    # ---------------------------------------------------------------------------------------------------------------- ops

    def forms(self, nodes: list[Node], context: Context) -> list[Form]:
        """What the layer is in PyTorch, in each occurrence."""
        kinds = {type(n.layer) for n in nodes}
        if len(kinds) != 1:
            raise Mismatch("the instances have different layers")
        found = []
        for node, occurrence in zip(nodes, context.occurrences, strict=True):
            shapes = occurrence.graph.input_shapes(node)
            assert shapes is not None
            found.append(self.file.form(node.layer, shapes))
        return found

    def op(self, nodes: list[Node], context: Context) -> None:
        """Write one layer."""
        first = nodes[0]
        if first.is_input:
            return
        self._current = nodes
        dead = all(n.id in self.file.dead(o.graph) for n, o in zip(nodes, context.occurrences, strict=True))
        read = self.stand_in if dead else self.value_of
        inputs = [read([n.inputs[i] for n in nodes], context) for i in range(len(first.inputs))]
        if any(len(n.inputs) != len(first.inputs) for n in nodes):
            raise Mismatch("the instances have different layers")
        forms = self.forms(nodes, context)
        for helper in forms[0].helpers:
            self.file.helpers[helper.name] = helper.source
        boundary = next((o.scope, n.statement) for o, n in zip(context.occurrences, nodes, strict=True))
        statement = (id(boundary[0]), boundary[1])
        if self.last_statement is not None and statement != self.last_statement and not self.chain:
            for value in inputs[:1]:
                if not (value.infix and value.uses == 1 and len(value.text) <= 2 * _SHORT):
                    self.settle(value)
        self.last_statement = statement
        channels = self._channels(nodes, inputs, context)
        shapes = [n.shapes[0] for n in nodes if n.shapes is not None]
        if dead:
            if forms[0].call is None:
                self._register(nodes, forms, inputs, context)
            return
        if self.chain:
            self._register(nodes, forms, inputs, context)
            value = Value(shapes, channels, "x")
            self._bind_ports(nodes, value, context)
            return
        text, probed, infix = self._apply(nodes, forms, inputs, context)
        pending = [v for v in inputs if v.variable is None and len(v.text) > _SHORT]
        if pending and len(text) + 4 * self.depth + 28 > WIDTH:
            for value in pending:
                self.settle(value)
            text, probed, infix = self._apply(nodes, forms, inputs, context)
        for value in inputs:
            self.use(value)
        if first.path != self.boundaries[context.owners[0]].path:  # the join of a named merge is probed where the merge is used
            probed = f"_probe(self, {self._probe_name(first, context)}, {probed})"
        value = Value(shapes, channels, None, text, probed, infix)
        self._bind_ports(nodes, value, context)
        self._place(value)

    @staticmethod
    def stand_in(refs: list[Ref], context: Context) -> Value:
        """A value that is never made, since nothing that counts reads it."""
        shapes = [s for o, r in zip(context.occurrences, refs, strict=True) if (s := o.graph.shape(r)) is not None]
        return Value(shapes, variable="_", uses=10**9)

    def _apply(self, nodes: list[Node], forms: list[Form], inputs: list[Value], context: Context) -> tuple[str, str, bool]:
        """A layer's text on its inputs, plain and probed, and whether it needs parentheses inside a larger expression."""
        texts = [(v.variable or v.text, v.variable or v.probed) for v in inputs]
        infixes = [v.infix and v.variable is None for v in inputs]
        calls = [f.call for f in forms]
        if len(inputs) == 1:
            texts = [self._applied(forms, "before", nodes, inputs, texts[0], context, infixes[0])]
            infixes = [infixes[0] and forms[0].before is None]
        if any(c is None for c in calls):
            access = self._register(nodes, forms, inputs, context)
            result = (f"{access}({texts[0][0]})", f"{access}({texts[0][1]})")
            infix = False
        else:
            result = self._call(calls, nodes, inputs, texts, context, infixes)
            infix = calls[0] is not None and calls[0].infix
        result = self._applied(forms, "after", nodes, inputs, result, context, infix)
        last = forms[0].after
        if last is not None:
            infix = last.call is not None and last.call.infix
        return result[0], result[1], infix

    def settle(self, value: Value) -> None:
        """Give a value that is still an expression its line: under its own name if it is read again later."""
        if value.variable is None:
            self.materialise(value, value.name if value.keeps else self.branch, self._shape_comment(value))

    def _probe_name(self, node: Node, context: Context) -> str:
        relative = self.relative(node.path, context).partition("@")[0]
        if self._rolled is None:
            return literal(relative)
        return self._loop_name([self.relative_of(n, o) for n, o in self._peers(node, context)], context)

    def _peers(self, node: Node, context: Context) -> list[tuple[Node, Occurrence]]:
        """The nodes at the same place in every occurrence."""
        return list(zip(self._current, context.occurrences, strict=True))

    def relative(self, path: str, context: Context) -> str:
        """A path without the path of the class's instance."""
        prefix = self.boundaries[context.owners[0]].path
        if path == prefix:
            return ""
        if prefix and not path.startswith(prefix + "."):
            raise Unsupported(f"`{path}` is used inside `{prefix}`, but belongs outside of it", self.boundaries[0])
        return path[len(prefix) + 1 :] if prefix else path

    def _bind_ports(self, nodes: list[Node], value: Value, context: Context) -> None:
        first = nodes[0]
        assert first.shapes is not None
        if len(first.shapes) == 1:
            refs = [Ref(n.id) for n in nodes]
            value.uses = self.most_reads(refs, context)
            self._name(value, refs[0], context)
            self.bind(refs, value, context)
            return
        names = []
        for port in range(len(first.shapes)):
            refs = [Ref(n.id, port) for n in nodes]
            shapes = [n.shapes[port] for n in nodes if n.shapes is not None]
            part = Value(shapes, None)
            part.uses = self.most_reads(refs, context)
            spec = self._value_name(refs[0], context) or f"part{port + 1}"
            part.variable = self._free(part, spec) if part.uses > 0 else "_"
            if part.uses > 0:
                self.live[part.variable] = part
            names.append(part.variable)
            self.bind(refs, part, context)
        self.emit(f"{', '.join(names)} = {value.text}", f"{', '.join(names)} = {value.probed}")
        value.variable = names[0]

    def _value_name(self, ref: Ref, context: Context) -> str | None:
        """The variable that a value should have: the spec's name for it, if it is read later as well."""
        spec = context.occurrences[0].graph.value_names.get(ref)
        return self.local(spec) if spec is not None else None

    def _name(self, value: Value, ref: Ref, context: Context) -> None:
        value.name = self._value_name(ref, context)
        value.keeps = value.name is not None and self.file.crosses(context.occurrences[0].graph, ref)

    def reads(self, ref: Ref, context: Context) -> int:
        """How often this class reads a value."""
        return self.file.reads(context.occurrences[0].graph, self.boundaries[context.owners[0]]).get(ref, 0)

    def most_reads(self, refs: list[Ref], context: Context) -> int:
        """How often a value is read in the occurrence that reads it most."""
        file, owners = self.file, context.owners
        return max(
            file.reads(o.graph, self.boundaries[w]).get(r, 0) for o, w, r in zip(context.occurrences, owners, refs, strict=True)
        )

    def _place(self, value: Value) -> None:
        """Decide whether a value waits inside the next expression or gets a line."""
        if value.variable is None and (value.uses != 1 or len(value.text) > _NEST):
            self.settle(value)

    branch: str | None = None
    _current: Sequence[Node] = ()

    def _shape_comment(self, value: Value) -> str:
        if self.kind != "network" or len({tuple(s) for s in value.shapes}) != 1:
            return ""
        shape = value.shapes[0]
        if shape == self.shown:
            return ""
        self.shown = shape
        return str(shape)

    def _applied(
        self,
        forms: list[Form],
        step: str,
        nodes: list[Node],
        inputs: list[Value],
        text: tuple[str, str],
        context: Context,
        infix: bool,
    ) -> tuple[str, str]:
        """The text with the step before or after the layer around it."""
        steps = [getattr(f, step) for f in forms]
        if all(s is None for s in steps):
            return text
        if any(s is None or s.call is None for s in steps):
            raise Mismatch("the padding differs in kind")
        for s in steps:
            for helper in s.helpers:
                self.file.helpers[helper.name] = helper.source
        inner = self._applied(list(steps), "before", nodes, inputs, text, context, infix)
        result = self._call([s.call for s in steps], nodes, inputs, [inner], context, [infix])
        return self._applied(list(steps), "after", nodes, inputs, result, context, False)

    def _call(
        self,
        calls: list[Call | None],
        nodes: list[Node],
        inputs: list[Value],
        texts: list[tuple[str, str]],
        context: Context,
        infixes: list[bool],
    ) -> tuple[str, str]:
        """A function call of the forward pass."""
        merged, show = self._merge_calls([c for c in calls if c is not None], nodes, inputs, context, True)
        tight = "{0}" in merged.name and not re.search(r"\(\{0\}[,)]", merged.name)

        def texts_of(which: int) -> tuple[str, ...]:
            return tuple(f"({t[which]})" if i and tight else t[which] for t, i in zip(texts, infixes, strict=True))

        probed = tuple(t[1] for t in texts)
        return write(merged, texts_of(0), show), write(merged, probed if not tight else texts_of(1), show)

    def _merge_calls(
        self, calls: list[Call], nodes: list[Node], inputs: list[Value], context: Context, forward: bool
    ) -> tuple[Call, Callable[[Arg], str]]:
        """The calls of all occurrences as one, and how its arguments are printed."""
        if len(calls) != len(nodes) or len({(c.name, len(c.args)) for c in calls}) != 1:
            raise Mismatch("the calls differ")
        longest = max(calls, key=lambda c: len(c.kwargs))
        keys = [k for k, _ in longest.kwargs]
        for c in calls:
            keys += [k for k, _ in c.kwargs if k not in keys]
        texts: dict[int, str] = {}
        args: list[Arg] = []
        for i in range(len(calls[0].args)):
            args.append(self._argument([c.args[i] for c in calls], nodes, inputs, context, forward, texts))
        kwargs: list[tuple[str, Arg]] = []
        for key in keys:
            found = [dict(c.kwargs).get(key) for c in calls]
            present = next(a for a in found if a is not None)
            filled = [a if a is not None else self._default(present, n) for a, n in zip(found, nodes, strict=True)]
            kwargs.append((key, self._argument(filled, nodes, inputs, context, forward, texts)))
        show = lambda arg: texts[id(arg)]  # noqa: E731
        self._kept = (args, kwargs)
        return Call(calls[0].name, tuple(args), tuple(kwargs), calls[0].infix), show

    @staticmethod
    def _default(present: Arg, node: Node) -> Arg:
        """An argument that this occurrence leaves out because it is PyTorch's default."""
        if present.field is None or not hasattr(node.layer, present.field):
            raise Mismatch("an argument is not always there")
        value = getattr(node.layer, present.field)
        if not plain(value) or isinstance(value, str):
            raise Mismatch("an argument is not always there")
        return Arg(value, present.field)

    def _argument(
        self, args: list[Arg], nodes: list[Node], inputs: list[Value], context: Context, forward: bool, texts: dict[int, str]
    ) -> Arg:
        """One argument in all occurrences: its text goes to ``texts``."""
        arg = Arg(args[0].value, args[0].field)
        fields = {a.field for a in args}
        name = args[0].field if len(fields) == 1 else None
        expr: ast.Expr | None = None
        values: list[Any] = [a.value for a in args]
        hint = f"{nodes[0].op}_{name or 'value'}".replace(".", "_")
        if name == IN_CHANNELS:
            expr, hint = inputs[0].known(), "in_channels" if inputs[0].channels is not None else f"{nodes[0].op}_channels"
        elif name == IN_SIZE:
            expr, hint = self._numel(inputs[0]), f"{nodes[0].op}_features"
        elif name is not None and all(name in n.written for n in nodes):
            field_values = [getattr(n.layer, name) for n in nodes]
            if all(isinstance(v, Raw) or equal(v, f) for v, f in zip(values, field_values, strict=True)):
                written = nodes[0].written[name].value
                expr = translate(written, [n.scope for n in nodes], context, self.resolve)
                values = [_bare(v) for v in field_values]
        if any(isinstance(v, Raw) for v in values):
            if len({v.text for v in values if isinstance(v, Raw)}) != 1 or not all(isinstance(v, Raw) for v in values):
                raise Mismatch("a computed argument differs")
            texts[id(arg)] = literal(values[0])
            return arg
        if not all(plain(v) or v is None for v in values):
            texts[id(arg)] = literal(values[0])
            if any(v != values[0] for v in values):
                raise Mismatch("an argument differs")
            return arg
        said = self.express(values, expr, context, hint)
        if said is not None:
            texts[id(arg)] = self.print(said, context, forward)
        elif name in (IN_CHANNELS, IN_SIZE) and isinstance(expr, ast.Binary) and not ex.has_names(expr):
            texts[id(arg)] = self.print(expr, context, forward)
        else:
            texts[id(arg)] = literal(args[0].value)
        return arg

    def _numel(self, value: Value) -> ast.Expr | None:
        """How many numbers a value holds: ``256 * 6 * 6``."""
        expr = value.known()
        if expr is None or len({s.spatial for s in value.shapes}) != 1:
            return None
        for size in value.shapes[0].spatial:
            if size != 1:
                expr = ast.Binary("*", expr, ex.number(size), expr.span)
        return expr

    def _channels(self, nodes: list[Node], inputs: list[Value], context: Context) -> ast.Expr | None:
        """The channels of a layer's result over the names of the class."""
        shapes = [n.shapes[0] for n in nodes if n.shapes is not None]
        counts = [s.channels for s in shapes]
        source = nodes[0].layer.channels_from
        expr: ast.Expr | None = None
        if source == "in":
            expr = inputs[0].known()
        elif source == "sum":
            for value in inputs:
                part = value.known()
                if part is None:
                    expr = None
                    break
                expr = part if expr is None else ex.add(expr, part)
        elif source is not None and all(source in n.written for n in nodes):
            expr = translate(nodes[0].written[source].value, [n.scope for n in nodes], context, self.resolve)
        elif source is None and shapes[0].rank == 0 and len(inputs) == 1:
            expr = self._numel(inputs[0])
        if expr is not None and self.holds(expr, counts, context):
            return expr
        return ex.number(counts[0]) if len(set(counts)) == 1 else None

    # ---------------------------------------------------------------------------------------------------------- registration

    def _register(self, nodes: list[Node], forms: list[Form], inputs: list[Value], context: Context) -> str:
        """Construct a layer's module; how ``forward`` reaches it."""
        if nodes[0].shared and self._is_outside(nodes[0], context):
            return self._borrow(list(nodes), context)
        relative = self.relative(nodes[0].path, context).partition("@")[0]
        if nodes[0].shares is not None and self._is_there(relative):
            return self._access(relative)
        if any(f.module is None for f in forms):
            raise Unsupported(f"`{nodes[0].op}` has no module in PyTorch", nodes[0].scope)
        calls = [f.module for f in forms if f.module is not None]
        merged, show = self._merge_calls(calls, nodes, inputs, context, False)
        text = write(merged, (), show)
        text = self._initialised(text, [f.inits for f in forms], merged.name)
        relatives = [self.relative_of(n, o).partition("@")[0] for n, o in zip(nodes, context.occurrences, strict=True)]
        return self.attach(relative, text, relatives, context)

    def _is_outside(self, item: Node | Scope, context: Context) -> bool:
        """Whether a shared module belongs to what is around this class."""
        prefix = self.boundaries[context.owners[0]].path
        return bool(prefix) and not item.path.startswith(prefix + ".")

    def _is_there(self, relative: str) -> bool:
        """Whether a shared module was constructed already."""
        return ".".join(split_path(relative)) in self.registered

    def _borrow(self, items: list[Node | Scope], context: Context) -> str:
        """A shared module from around: an argument of ``forward``."""
        if self._rolled:
            raise Mismatch("a shared module in a loop is written out")
        wanted = self.local(split_path(items[0].path.partition("@")[0])[-1])
        paths = {items[k].path.partition("@")[0]: owner for k, owner in enumerate(context.owners)}
        for name, uses in self.borrowed.items():
            known = [uses.get(o) for o in context.owners]
            if all(k is not None and k.path.partition("@")[0] == i.path.partition("@")[0] for k, i in zip(known, items, strict=True)):
                return name
        name = self.unique(wanted)
        self.borrowed[name] = dict(zip(context.owners, items, strict=True))
        return name if paths else wanted

    def lend(self, items: list[Node | Scope], inner: Context, context: Context) -> str:
        """A shared module that something inside borrows: constructed here, or borrowed in turn."""
        if self._is_outside(items[0], context):
            return self._borrow(items, context)
        relative = self.relative(items[0].path, context).partition("@")[0]
        if self._is_there(relative):
            return self._access(relative)
        if self._rolled:
            raise Mismatch("a shared module in a loop is written out")
        nodes = [i for i in items if isinstance(i, Node)]
        if nodes:
            forms = self.forms(nodes, context)
            arriving = [o.graph.shape(n.inputs[0]) for n, o in zip(nodes, context.occurrences, strict=True)]
            inlet = Value([a for a in arriving if a is not None])
            for helper in forms[0].helpers:
                self.file.helpers[helper.name] = helper.source
            return self._register(nodes, forms, [inlet], context)
        scopes = [i for i in items if isinstance(i, Scope)]
        there = self._at(scopes, inner)
        shapes = [s for o in there.occurrences if (s := o.graph.shape(o.scope.inputs[0])) is not None]
        return self._build(there, context, Value(shapes)).access

    def _initialised(self, text: str, inits: list[tuple[InitCall, ...]], module: str) -> str:
        if any(i != inits[0] for i in inits):
            raise Mismatch("the initialisers differ")
        return self.file.initialised(text, inits[0], module)

    def relative_of(self, node: Node | Scope, occurrence: Occurrence) -> str:
        """The path of a node or scope inside its instance of the class."""
        prefix = self.boundaries[occurrence.owner].path
        return node.path[len(prefix) + 1 :] if prefix else node.path

    def attach(self, relative: str, text: str, relatives: list[str], context: Context) -> str:
        """Make a module an attribute, in a loop by a computed name; how ``forward`` reaches it."""
        if self._rolled is not None:
            name = self._loop_name(relatives, context)
            if name not in self._rolled["made"]:
                self._rolled["made"].add(name)
                self.init_line(f"self.add_module({name}, {text})")
            self.loop_names[relative] = name
            return f"self.get_submodule({name})"
        if any(r != relative for r in relatives):
            raise Mismatch("the instances name a layer differently")
        parts = split_path(relative)
        if "." in relative:  # beside a named layer: it owns no parameters, so its key is free to choose
            parts = [self._unregistered("_".join(parts))]
        if len(parts) == 1:
            if parts[0] not in self.registered:
                self.registered.add(parts[0])
                self.init_line(f"self.{parts[0]} = {text}")
            return f"self.{parts[0]}"
        if len(parts) > 2 or not parts[1].isdigit():
            return self._odd_index(parts, text)
        family = self.families.get(parts[0])
        if self.init_depth:
            raise Mismatch("an indexed name inside of a condition")
        if family is None:
            family = self.families[parts[0]] = Family(parts[0], len(self.init))
            self.init_line("")
        family.rows[int(parts[1])] = text
        self.registered.add(".".join(parts))
        return f"self.{parts[0]}[{parts[1]}]"

    def _unregistered(self, name: str) -> str:
        """An attribute that no layer has."""
        while name in self.registered or name in self.attributes:
            name += "_"
        return name

    def _odd_index(self, parts: list[str], text: str) -> str:
        """A module with several indices, or a negative one: its keys are joined in one dictionary of modules."""
        at = f"self.{parts[0]}"
        for k, part in enumerate(parts[1:-1], 1):
            key = ".".join(parts[: k + 1])
            if key not in self.registered:
                if k == 1 and parts[0] not in self.registered:
                    self.registered.add(parts[0])
                    self.init_line(f"self.{parts[0]} = nn.Module()")
                self.registered.add(key)
                self.init_line(f"{at}.add_module({literal(part)}, nn.Module())")
            at = f"{at}.get_submodule({literal(part)})"
        if len(parts) == 2 and parts[0] not in self.registered:
            self.registered.add(parts[0])
            self.init_line(f"self.{parts[0]} = nn.Module()")
        if ".".join(parts) not in self.registered:
            self.registered.add(".".join(parts))
            self.init_line(f"{at}.add_module({literal(parts[-1])}, {text})")
        return f"{at}.get_submodule({literal(parts[-1])})"

    def _access(self, relative: str) -> str:
        parts = split_path(relative)
        if len(parts) == 1:
            return f"self.{parts[0]}"
        if len(parts) == 2 and parts[1].isdigit():
            return f"self.{parts[0]}[{parts[1]}]"
        return "".join([f"self.{parts[0]}", *(f".get_submodule({literal(p)})" for p in parts[1:])])

    def init_line(self, text: str) -> None:
        """A line of the constructor."""
        self.init.append(Line(self.init_depth, text, text))

    # --------------------------------------------------------------------------------------------------------------- instances

    def instance(self, inner: Context, context: Context) -> None:
        """Write a block instance, a named body or a head."""
        scopes = [o.scope for o in inner.occurrences]
        scope = scopes[0]
        if any(len(s.inputs) != len(scope.inputs) for s in scopes):
            raise Mismatch("the wiring differs")
        if scope.kind == "head":
            self.head(inner, context)
            return
        if scope.kind == "body" and not self.file.needs_module(inner.occurrences[0].graph, scope):
            self.items(inner)
            return
        inlet = self.value_of([s.inputs[0] for s in scopes], context) if scope.inputs else None
        if all(s.result is not None and s.result.node in self.file.dead(o.graph) for s, o in zip(scopes, inner.occurrences, strict=True)):
            self._build(inner, context, inlet)
            return
        unchanged = [s.result is not None and s.result in s.inputs for s in scopes]
        if any(unchanged):
            if not all(unchanged):
                raise Mismatch("some instances give back their input")
            if any(self.file.needs_module(o.graph, o.scope) for o in inner.occurrences):
                self._build(inner, context, inlet)
            return
        built = self._build(inner, context, inlet)
        access = built.access
        if inlet is not None and not self.chain:
            self._statement_break(inlet, scope)
        extra = [self.value_of(refs, context) for refs in built.captures]
        if self.chain:
            value = Value(self._shapes(inner), built.channels, "x")
            self._bind_result(inner, value, context)
            return
        texts = [self.use(v) for v in ([inlet] if inlet is not None and built.takes_input else []) + extra]
        texts += [(name, name) for name in built.borrowed]
        text = f"{access}({', '.join(t[0] for t in texts)})"
        probed = f"{access}({', '.join(t[1] for t in texts)})"
        if scope.kind == "merge":
            joins = [o.graph.nodes[o.scope.items[-1]] for o in inner.occurrences if isinstance(o.scope.items[-1], int)]
            if len(joins) == len(scopes):
                self._current = joins
                probed = f"_probe(self, {self._probe_name(joins[0], context)}, {probed})"
        value = Value(self._shapes(inner), built.channels, None, text, probed)
        self._bind_result(inner, value, context)
        if value.uses > 1 or len(text) > _NEST or (value.uses and self.kind == "network"):
            self.settle(value)

    def _statement_break(self, inlet: Value, scope: Scope) -> None:
        statement = (id(scope.parent), scope.span.start)
        if self.last_statement is not None:
            self.settle(inlet)
        self.last_statement = statement

    def _shapes(self, inner: Context) -> list[Shape]:
        found = []
        for o in inner.occurrences:
            shape = o.graph.shape(o.scope.result) if o.scope.result is not None else None
            if shape is None:
                raise Mismatch("an instance has no result")
            found.append(shape)
        return found

    def _bind_result(self, inner: Context, value: Value, context: Context) -> None:
        refs = [o.scope.result for o in inner.occurrences]
        kept = [r for r in refs if r is not None]
        value.uses = self.most_reads(kept, context)
        self._name(value, kept[0], context)
        self.bind(kept, value, context)

    def _build(self, inner: Context, context: Context, inlet: Value | None) -> Built:
        """The module of an instance: constructed, or for a further use of a shared one found."""
        scope = inner.occurrences[0].scope
        if scope.shared and self._is_outside(scope, inner):
            writer = self.file.class_for(inner.occurrences)
            access = self._borrow([o.scope for o in inner.occurrences], inner)
            return Built(access, self._result_channels(writer, {}, inner), [], self._lent(writer, inner, context), writer.takes_input)
        relative = self.relative(scope.path, inner).partition("@")[0]
        if scope.kind != "block" and (row := self.inline_chain(inner, context, inlet)) is not None:
            text, channels = row
            relatives = [self.relative_of(o.scope, o).partition("@")[0] for o in inner.occurrences]
            return Built(self.attach(relative, text, relatives, context), channels, [])
        writer = self.file.class_for(inner.occurrences)
        if scope.shares is not None and self._is_there(relative):
            access = self._access(relative)
            return Built(access, self._result_channels(writer, {}, inner), [], self._lent(writer, inner, context), writer.takes_input)
        arguments, chosen = self.arguments(writer, inner, context, inlet)
        text = f"{writer.name}({', '.join(arguments)})"
        relatives = [self.relative_of(o.scope, o).partition("@")[0] for o in inner.occurrences]
        access = self.attach(relative, text, relatives, context)
        channels = self._result_channels(writer, chosen, inner)
        captures = [[refs[writer.index[id(o.scope)]] for o in inner.occurrences] for refs in writer.capture_refs]
        return Built(access, channels, captures, self._lent(writer, inner, context), writer.takes_input)

    def _lent(self, writer: ClassWriter, inner: Context, context: Context) -> list[str]:
        """What the ``forward`` of an instance borrows from here."""
        found: list[str] = []
        for uses in writer.borrowed.values():
            items = [uses.get(writer.index[id(o.scope)]) for o in inner.occurrences]
            if any(i is None for i in items):
                raise Mismatch("a shared module is not used in every instance")
            found.append(self.lend([i for i in items if i is not None], inner, context))
        return found

    def _result_channels(self, writer: ClassWriter, chosen: dict[str, ast.Expr], inner: Context) -> ast.Expr | None:
        counts = [s.channels for s in self._shapes(inner)]
        made = writer.result.known() if writer.result is not None else None
        if made is not None:
            said = ex.substitute(made, chosen)
            if said is not None and self.holds(said, counts, inner):
                return said
        return ex.number(counts[0]) if len(set(counts)) == 1 else None

    def arguments(
        self, writer: ClassWriter, inner: Context, context: Context, inlet: Value | None
    ) -> tuple[list[str], dict[str, ast.Expr]]:
        """The constructor arguments of an instance as text, and as expressions by name."""
        texts: list[str] = []
        chosen: dict[str, ast.Expr] = {}
        scopes = [o.scope for o in inner.occurrences]
        keyword = False
        for param in writer.signature():
            values = [param.values[writer.index[id(s)]] for s in scopes]
            expr = self._given(param, scopes, context, inlet)
            hint = param.spec or param.hint or param.name
            said = self.express(values, expr, context, hint)
            if said is None:
                chosen[param.name] = ex.constant(values[0])
                if param.has_default and equal(values[0], param.default):
                    keyword = True
                    continue
                text = literal(values[0])
            else:
                chosen[param.name] = said
                text = self.print(said, context)
            if param.has_default:
                keyword = True
            texts.append(f"{param.name}={text}" if keyword else text)
        return texts, chosen

    def _given(self, param: Parameter, scopes: list[Scope], context: Context, inlet: Value | None) -> ast.Expr | None:
        """What the spec writes for an argument, over the names of this class."""
        if param.name == "in_channels" and param.spec is None:
            return inlet.known() if inlet is not None else None
        if param.spec is None:
            return None
        outer = [s.parent for s in scopes]
        around = [s for s in outer if s is not None]
        if scopes[0].kind == "block":
            if not all(param.spec in s.arguments for s in scopes):
                return None
            return translate(scopes[0].arguments[param.spec], around, context, self.resolve)
        return self.resolve(param.spec, around, context)

    def inline_chain(self, inner: Context, context: Context, inlet: Value | None) -> tuple[str, ast.Expr | None] | None:
        """A short named body as ``nn.Sequential``; None when it needs a class."""
        occurrence = inner.occurrences[0]
        if not self.file.is_chain(occurrence.graph, occurrence.scope) or self._rolled:
            return None
        flats = [self.file.flat_chain(o.scope) for o in inner.occurrences]
        flat = flats[0]
        if flat is None or self.file.instances_of(occurrence.scope) > 1 or any(f is None or len(f) != len(flat) for f in flats):
            return None
        rows: list[str] = []
        names: list[str] = []
        value = inlet
        for column in zip(*[f for f in flats if f is not None], strict=True):
            if value is None:
                return None
            if isinstance(column[0], int):
                if column[0] in self.file.stripped:
                    continue
                nodes = [o.graph.nodes[i] for o, i in zip(inner.occurrences, column, strict=True) if isinstance(i, int)]
                rows.append(self._row(nodes, value, inner))
                value = Value([n.shapes[0] for n in nodes if n.shapes], self._channels(nodes, [value], inner))
                path = nodes[0].path
            else:
                there = self._at([i for i in column if isinstance(i, Scope)], inner)
                text, value = self._instance_row(there, inner, value)
                rows.append(text)
                path = there.occurrences[0].scope.path
            names.append(attribute(path[len(occurrence.scope.path) + 1 :]))
        if value is None:
            return None
        if not all(n.isidentifier() for n in names):
            return None
        self.file.needs.add("OrderedDict")
        pairs = ", ".join(f"{n}={t}" for n, t in zip(names, rows, strict=True))
        return f"nn.Sequential(OrderedDict({pairs}))", value.known()

    def _row(self, nodes: list[Node], inlet: Value, context: Context) -> str:
        """The constructor of a layer's module, as an entry of a container."""
        forms = self.forms(nodes, context)
        for helper in forms[0].helpers:
            self.file.helpers[helper.name] = helper.source
        calls = [f.module for f in forms if f.module is not None]
        merged, show = self._merge_calls(calls, nodes, [inlet], context, False)
        return self._initialised(write(merged, (), show), [f.inits for f in forms], merged.name)

    def _instance_row(self, there: Context, context: Context, inlet: Value) -> tuple[str, Value]:
        """The constructor of an instance, as an entry of a container, and its result."""
        scope = there.occurrences[0].scope
        if scope.kind == "body" and (row := self.inline_chain(there, context, inlet)) is not None:
            return row[0], Value(self._shapes(there), row[1])
        writer = self.file.class_for(there.occurrences)
        if writer.captured or writer.borrowed:
            raise Unsupported(f"`{scope.path}` reads a value from outside of it", scope)
        arguments, chosen = self.arguments(writer, there, context, inlet)
        text = f"{writer.name}({', '.join(arguments)})"
        return text, Value(self._shapes(there), self._result_channels(writer, chosen, there))

    # -------------------------------------------------------------------------------------------------------------------- heads

    def head(self, inner: Context, context: Context) -> None:
        """Write an auxiliary head: it runs in training mode only."""
        scope = inner.occurrences[0].scope
        name = variable(attribute(split_path(scope.path)[-1]))
        inlet = self.value_of([o.scope.inputs[0] for o in inner.occurrences], context)
        self.settle(inlet)
        outside = list(dict.fromkeys(self.values.values()))
        for value in outside:
            if value.variable is None and value.uses > 0:  # what waits must not get its line inside of the condition
                self.settle(value)
        self.emit("if self.training:")
        self.depth += 1
        outer, self.branch = self.branch, None
        if self.file.needs_module(inner.occurrences[0].graph, scope):
            built = self._build(inner, context, inlet)
            parts = [self.use(v) for v in [*([inlet] if built.takes_input else []), *(self.value_of(refs, context) for refs in built.captures)]]
            parts += [(b, b) for b in built.borrowed]
            text = f"{built.access}({', '.join(p[0] for p in parts)})"
            probed = f"{built.access}({', '.join(p[1] for p in parts)})"
        else:
            kept, self.skip = self.skip, self.skip | self.file.stripped
            self.items(inner)
            self.skip = kept
            result = self.file.head_result(inner.occurrences[0].graph, scope)
            text, probed = self.use(self.value_of([result] * len(context.occurrences), context))
        ended = Value([], None, uses=1)
        name = ended.variable = self._free(ended, name)
        self.live[name] = ended
        self.emit(f"{name} = {text}", f"{name} = {probed}")
        self.branch = outer
        self.depth -= 1
        self.taken.add(name)
        self.heads.append((scope, name))
        self.last_statement = None

    # ------------------------------------------------------------------------------------------------------------------- merges

    def merge(self, inner: Context) -> None:
        """Write the branches of a merge, then the layer that joins them."""
        scopes = [o.scope for o in inner.occurrences]
        if len({len(s.items) for s in scopes}) != 1:
            raise Mismatch("a merge has different branches")
        items = scopes[0].items
        branches = [k for k, i in enumerate(items) if isinstance(i, Scope) and i.kind == "branch"]
        joins = [k for k, i in enumerate(items) if isinstance(i, int)]
        for value in self._inlets(inner):
            self.settle(value)
        outer_branch = self.branch
        two = len(branches) == 2 and bool(joins) and inner.occurrences[0].graph.nodes[items[joins[0]]].op != "concat"  # type: ignore[index]
        for number, k in enumerate(branches):
            column: list[Scope] = []
            for s in scopes:
                item = s.items[k]
                if not isinstance(item, Scope):
                    raise Mismatch("a merge has different branches")
                column.append(item)
            there = self._at(column, inner)
            default = ("y", "shortcut")[number] if two else f"branch{number + 1}"
            self.branch = self._branch_name(default)
            self.last_statement = None
            self.items(there)
            self._end_branch(there, column, two)
        self.branch = outer_branch
        self.last_statement = None
        for k in joins:
            nodes = [o.graph.nodes[i] for o, s in zip(inner.occurrences, scopes, strict=True) if isinstance(i := s.items[k], int)]
            if len(nodes) != len(scopes):
                raise Mismatch("a merge has different branches")
            self.op(nodes, inner)

    def _branch_name(self, name: str) -> str:
        holder = self.live.get(name)
        n = 2
        base = name
        while holder is not None and holder.uses > 0:
            name = f"{base}{n}"
            n += 1
            holder = self.live.get(name)
        return name

    def _inlets(self, inner: Context) -> list[Value]:
        scopes = [o.scope for o in inner.occurrences]
        if not scopes[0].inputs:
            return []
        return [self.value_of([s.inputs[0] for s in scopes], inner)]

    def _end_branch(self, there: Context, column: list[Scope], inline: bool) -> None:
        """A branch's value waits in a variable, unless it is short."""
        if any(s.result is None for s in column):
            return
        value = self.values.get((id(there.occurrences[0].graph), column[0].result))  # type: ignore[arg-type]
        if value is None or value.variable is not None:
            return
        if value.uses > 1 or len(value.text) > 2 * _SHORT or (not inline and "(" in value.text):
            self.materialise(value, self.branch)

    # --------------------------------------------------------------------------------------------------------------- conditions

    def condition(self, inner: Context) -> None:
        """Write an ``if``: nothing of it remains where every instance takes the same side."""
        scopes = [o.scope for o in inner.occurrences]
        sides = {s.taken for s in scopes}
        if len(sides) == 1:
            self.items(inner)
            return
        statement = scopes[0].origin
        truths = [s.taken == 0 for s in scopes]
        outer = [s.parent for s in scopes if s.parent is not None]
        expr = translate(statement.condition, outer, inner, self.resolve)
        said = self.express(truths, expr, inner, f"with_{self._first_name(scopes)}")
        assert said is not None
        groups = {side: [k for k, s in enumerate(scopes) if (s.taken == 0) is side] for side in (True, False)}
        branching = scopes[0].parent is not None and scopes[0].parent.kind == "branch"
        if branching and any(s.result is None for s in scopes):
            raise Mismatch("a branch is not always there")
        flag = self._flag(said, inner, scopes)
        parts: dict[bool, tuple[list[Line], list[Line], Value | None]] = {}
        inlet = self._inlets(inner)
        for value in inlet:
            self.settle(value)
        before_live = dict(self.live)
        before = [(v, v.uses) for v in dict.fromkeys(self.values.values())]
        counted: list[tuple[Value, int]] = []
        for side, members in groups.items():
            parts[side] = self._side(inner, members)
            self.live = dict(before_live)
            if 0 in members:
                counted = [(v, v.uses) for v, _ in before]
            for value, uses in before:
                value.uses = uses
        for value, uses in counted:  # the reads are those of the first occurrence
            value.uses = uses
        self._write_sides(flag, parts)
        value = Value(self._if_shapes(inner), None, "x") if self.chain else self._join_sides(flag, parts, inner)
        value.channels = self._side_channels(parts, inner)
        for o in inner.occurrences:
            if o.scope.result is not None:
                self.values[(id(o.graph), o.scope.result)] = value
        self.last_statement = None

    def _side_channels(self, parts: dict[bool, tuple[list[Line], list[Line], Value | None]], inner: Context) -> ast.Expr | None:
        counts = [s.channels for s in self._if_shapes(inner)]
        for _, _, value in parts.values():
            made = value.known() if value is not None else None
            if made is not None and self.holds(made, counts, inner):
                return made
        return ex.number(counts[0]) if len(set(counts)) == 1 else None

    def _if_shapes(self, inner: Context) -> list[Shape]:
        found = []
        for o in inner.occurrences:
            shape = o.graph.shape(o.scope.result) if o.scope.result is not None else None
            if shape is None:
                raise Mismatch("a condition has no result")
            found.append(shape)
        return found

    def _side(self, inner: Context, members: list[int]) -> tuple[list[Line], list[Line], Value | None]:
        """One side of a condition, written apart: constructor lines, forward lines, result."""
        chosen = [inner.occurrences[k] for k in members]
        variables = {n: [v[k] for k in members] for n, v in inner.variables.items()}
        there = Context(chosen, variables, inner.loops)
        kept_init, kept_lines = self.init, self.lines
        kept_names, kept_flags = set(self.registered), dict(self.flags)
        self.init, self.lines = [], []
        self.init_depth += 1
        self.depth += 1
        self.last_statement = None
        try:
            self.items(there)
            result = chosen[0].scope.result
            value = self.values.get((id(chosen[0].graph), result)) if result is not None else None
            return self.init, self.lines, value
        finally:
            self.init, self.lines = kept_init, kept_lines
            self.registered, self.flags = kept_names, kept_flags  # the other side may have a layer of the same name
            self.init_depth -= 1
            self.depth -= 1

    def _first_name(self, scopes: list[Scope]) -> str:
        for scope in scopes:
            for item in scope.items:
                path = self.instances[0].graph.nodes[item].path if isinstance(item, int) else item.path
                for o in self.instances:
                    if isinstance(item, int):
                        path = o.graph.nodes[item].path
                        break
                return variable(path.rpartition(".")[2])
        return "branch"

    def _flag(self, said: ast.Expr, inner: Context, scopes: list[Scope]) -> str:
        """The condition as text of the constructor; ``forward`` reads it as an attribute."""
        text = self.print(said, inner)
        if self.chain:
            return text
        if inner.variables and ex.names_in(said) & set(inner.variables):
            raise Mismatch("a condition depends on the turn of a loop")
        if isinstance(said, ast.Name):
            return self.stored_name(said.id)
        if text in self.flags:
            return self.flags[text]
        taken = next(s for s in scopes if s.items)
        owner = next(o for o in inner.occurrences if o.scope is taken)
        item = taken.items[0]
        while isinstance(item, Scope) and item.kind in ("turn", "loop", "if", "merge", "branch") and item.items:
            item = item.items[0]
        path = owner.graph.nodes[item].path if isinstance(item, int) else item.path
        name = "has_" + variable(path.rpartition(".")[2])
        name = self._unregistered(name)
        self.registered.add(name)
        self.init_line(f"self.{name} = {text}")
        self.flags[text] = f"self.{name}"
        return f"self.{name}"

    def _write_sides(self, flag: str, parts: dict[bool, tuple[list[Line], list[Line], Value | None]]) -> None:
        then, other = parts[True][0], parts[False][0]
        if then:
            self.init_line(f"if {flag}:")
            self.init += then
            if other:
                self.init_line("else:")
                self.init += other
        elif other:
            self.init_line(f"if not {flag}:" if re.fullmatch(r"[\w.]+", flag) else f"if not ({flag}):")
            self.init += other

    def _join_sides(self, flag: str, parts: dict[bool, tuple[list[Line], list[Line], Value | None]], inner: Context) -> Value:
        then, other = parts[True], parts[False]
        if then[2] is None or other[2] is None:
            raise Mismatch("a side of a condition has no value")
        value = Value(self._if_shapes(inner))
        result = inner.occurrences[0].scope.result
        assert result is not None
        value.uses = max(self.reads(o.scope.result, self._only(inner, k)) for k, o in enumerate(inner.occurrences) if o.scope.result)
        a, b = then[2], other[2]
        if not then[1] and not other[1]:
            at, ap = self.use(a)
            bt, bp = self.use(b)
            text = f"{at} if {flag} else {bt}"
            if len(text) + 8 * self.depth + 24 <= WIDTH:
                value.text, value.probed, value.infix = text, f"{ap} if {flag} else {bp}", True
                self.materialise(value, self.branch)
                return value
            a.uses += 1
            b.uses += 1
        value.variable = self._free(value, self.branch)
        self.live[value.variable] = value
        self.emit(f"if {flag}:")
        self._finish_side(then[1], a, value.variable)
        else_at = len(self.lines)
        self.emit("else:")
        self._finish_side(other[1], b, value.variable)
        if len(self.lines) == else_at + 1:
            self.lines.pop()
        return value

    @staticmethod
    def _only(inner: Context, k: int) -> Context:
        return Context([inner.occurrences[k]], {n: [v[k]] for n, v in inner.variables.items()}, inner.loops)

    def _finish_side(self, lines: list[Line], value: Value, target: str) -> None:
        self.lines += lines
        self.depth += 1
        text, probed = self.use(value)
        if text != target:
            self.emit(f"{target} = {text}", f"{target} = {probed}")
        elif not lines:
            self.emit("pass")
        self.depth -= 1

    # -------------------------------------------------------------------------------------------------------------------- loops

    _rolled: dict[str, Any] | None = None

    def loop(self, inner: Context) -> None:
        """Write a loop: rolled where its turns are alike, else turn by turn."""
        scopes = [o.scope for o in inner.occurrences]
        counts = [len(s.items) for s in scopes]
        if max(counts) == 0:
            return
        same = len(set(counts)) == 1
        if self._family(inner, counts):
            return
        if not same or counts[0] >= _ROLL:
            state = self._snapshot()
            try:
                self._roll(inner, counts)
                return
            except Mismatch:
                if not same:
                    raise
                self._restore(state)
        for turn in range(counts[0]):
            column = [s.items[turn] for s in scopes if isinstance(s.items[turn], Scope)]
            self.items(self._at(column, inner))  # type: ignore[arg-type]

    def _snapshot(self) -> Any:
        values = dict(self.values.items())
        uses = [(v, v.uses, v.variable) for v in dict.fromkeys(self.values.values())]
        return (
            len(self.init),
            len(self.lines),
            values,
            uses,
            dict(self.live),
            set(self.registered),
            dict(self.params),
            set(self.used),
            set(self.stored),
            dict(self.flags),
            dict(self.lets),
            self.last_statement,
            self.shown,
            dict(self.families),
            self.depth,
            self.init_depth,
            dict(self.loop_names),
            set(self.taken),
            dict(self.pythonic),
            {name: dict(uses) for name, uses in self.borrowed.items()},
            None if self._rolled is None else {**self._rolled, "made": set(self._rolled["made"])},
        )

    def _restore(self, s: Any) -> None:
        del self.init[s[0] :]
        del self.lines[s[1] :]
        self.values = s[2]
        for value, uses, name in s[3]:
            value.uses, value.variable = uses, name
        (self.live, self.registered, self.params, self.used, self.stored, self.flags, self.lets) = s[4:11]
        self.last_statement, self.shown, self.families, self.depth, self.init_depth, self.loop_names, self.taken = s[11:18]
        self.pythonic, self.borrowed, self._rolled = s[18:21]

    def _family(self, inner: Context, counts: list[int]) -> bool:
        """A loop whose turns each make one member of an indexed name, one after the other: one ``nn.Sequential``."""
        if len(inner.occurrences) != 1 and len(set(counts)) != 1:
            return False
        name = self.file.chained_family(inner.occurrences[0])
        if name is None or self._rolled or self.chain:
            return False
        scopes = [o.scope for o in inner.occurrences]
        entry = self.value_of([s.inputs[0] for s in scopes], inner)
        self.settle(entry)
        rows: list[str] = []
        value: Value = entry
        for turn in range(counts[0]):
            turns = [s.items[turn] for s in scopes]
            members = [t.items[0] for t in turns if isinstance(t, Scope)]
            there = self._at([t for t in turns if isinstance(t, Scope)], inner)
            if isinstance(members[0], int):
                nodes = [o.graph.nodes[m] for o, m in zip(inner.occurrences, members, strict=True) if isinstance(m, int)]
                rows.append(self._row(nodes, value, there))
                value = Value([n.shapes[0] for n in nodes if n.shapes], self._channels(nodes, [value], there))
            else:
                text, value = self._instance_row(self._at([m for m in members if isinstance(m, Scope)], there), there, value)
                rows.append(text)
        if len(set(rows)) == 1 and len(rows) > _ROLL:
            self.init_line(f"self.{name} = nn.Sequential(*({rows[0]} for _ in range({len(rows)})))")
        else:
            self.init_line(f"self.{name} = nn.Sequential({', '.join(rows)})")
        self.registered.add(name)
        text, probed = self.use(entry)
        result = Value(value.shapes, value.channels, None, f"self.{name}({text})", f"self.{name}({probed})")
        refs = [s.result for s in scopes if s.result is not None]
        result.uses = self.most_reads(refs, inner)
        self.bind(refs, result, inner)
        self._name(result, refs[0], inner)
        self.settle(result)
        return True

    def _roll(self, inner: Context, counts: list[int]) -> None:
        """A loop in the constructor and, outside of ``nn.Sequential``, one in ``forward``."""
        if self._rolled is not None:
            raise Mismatch("loops in loops are written out")
        statement: ast.For = inner.occurrences[0].scope.origin
        turns: list[Occurrence] = []
        parents: list[int] = []
        for k, o in enumerate(inner.occurrences):
            for item in o.scope.items:
                assert isinstance(item, Scope)
                turns.append(o.at(item))
                parents.append(k)
        self._independent(inner)
        variables = {n: [v[p] for p in parents] for n, v in inner.variables.items()}
        there = Context(turns, variables, dict(inner.loops))
        index = self._loop_variable(statement, there, turns)
        entry_refs = [o.scope.inputs[0] for o in inner.occurrences]
        entry = self.value_of(entry_refs, inner)
        self.settle(entry)
        carried, start = self._carried(entry, inner, there)
        value = Value([s for t in turns if (s := t.graph.shape(t.scope.inputs[0])) is not None], carried, "x" if self.chain else None)
        value.uses = self._turn_reads(turns[0])
        if not self.chain:
            entry.uses -= value.uses
            value.variable = self._free(entry if entry.uses <= 0 else value, entry.variable if entry.uses <= 0 else self.branch)
            if value.variable != entry.variable:
                self.emit(f"{value.variable} = {entry.variable}")
        for t in turns:
            self.values[(id(t.graph), t.scope.inputs[0])] = value
        if not self.chain:
            assert value.variable is not None
            self.live[value.variable] = value
        body_init, body_lines, channels, rolled = self._roll_body(there, statement, index, value, start)
        self._loop_header(statement, inner, there, counts, rolled, body_init, body_lines)
        final = self._after_loop(inner, turns, channels, start, there)
        if not self.chain:
            final.variable = value.variable
            assert final.variable is not None
            self.live[final.variable] = final
        self.bind(entry_refs, entry, inner)
        refs = [o.scope.result for o in inner.occurrences if o.scope.result is not None]
        final.uses = self.most_reads(refs, inner)
        self.bind(refs, final, inner)
        self.last_statement = None

    def _roll_body(
        self, there: Context, statement: ast.For, index: str, value: Value, start: str | None
    ) -> tuple[list[Line], list[Line], ast.Expr | None, dict[str, Any]]:
        """A turn, written once for all of them: constructor lines, forward lines, the channels of its result, and what was noted."""
        kept_init, kept_lines = self.init, self.lines
        self.init, self.lines = [], []
        rolled = self._rolled = {"index": index, "statement": statement, "start": None, "made": set()}
        self.init_depth += 1
        self.depth += 1
        self.last_statement = None
        try:
            self.items(there)
            result = self._turn_result(there, value)
            channels = result.known()
            if start is not None:
                if channels is None or not self.holds(channels, [s.channels for s in result.shapes], there):
                    raise Mismatch("the channels of a loop are not said")
                self.init_line(f"{start} = {self.print(channels, there)}")
            if not self.chain:
                text, probed = self.use(result)
                if text != value.variable:
                    self.emit(f"{value.variable} = {text}", f"{value.variable} = {probed}")
            return self.init, self.lines, channels, rolled
        finally:
            self.init, self.lines = kept_init, kept_lines
            self.init_depth -= 1
            self.depth -= 1
            self._rolled = None

    def _independent(self, inner: Context) -> None:
        """Refuse to roll a loop whose turns read each other's values, or whose values are read after it, in any way but one by one."""
        for o in inner.occurrences:
            turns = [t for t in o.scope.items if isinstance(t, Scope)]
            inlets = {t.inputs[0] for t in turns if t.inputs}
            made: set[int] = set()
            results = set(self.file.output_refs(o.graph))
            for turn in turns:
                ids = set(self.file.nodes_of(turn))
                allowed = {turn.inputs[0]} if turn.inputs else set()
                for i in ids:
                    if any((r in inlets and r not in allowed) or (r.node in made and r not in allowed) for r in o.graph.nodes[i].inputs):
                        raise Mismatch("the turns of a loop read each other's values")
                made |= ids
            for i in made:
                for reader in o.graph.readers[i]:
                    if reader not in made and any(r.node == i and r != o.scope.result for r in o.graph.nodes[reader].inputs):
                        raise Mismatch("a value of a loop is read after it")
            if any(r.node in made and r != o.scope.result for r in results):
                raise Mismatch("a value of a loop is a result")

    def _turn_reads(self, turn: Occurrence) -> int:
        return self.file.reads_within(turn.graph, turn.scope, turn.scope.inputs[0])

    def _loop_variable(self, statement: ast.For, there: Context, turns: list[Occurrence]) -> str:
        """Bind the loop's own names; the variable that counts the turns."""
        names: dict[str, str] = {}
        targets = [n for t in statement.targets for n in t]
        for spec in targets:
            python = self.python_name(spec, f"loop {id(statement)} {spec}")
            values = [t.scope.bindings[spec] for t in turns]
            if not all(plain(v) for v in values):
                raise Mismatch("a loop over blocks is written out")
            names[spec] = python
            there.variables[python] = values
        there.loops[id(statement)] = names
        if len(statement.targets) == 2:
            return names[statement.targets[0][0]]
        spoken = {argument(n) for t in turns for s in t.scope.chain() for n in s.bindings}
        index = "i"
        while index in there.variables or index in self.pythonic.values() or index in spoken:
            index = chr(ord(index) + 1)
        return index

    def _carried(self, entry: Value, inner: Context, there: Context) -> tuple[ast.Expr | None, str | None]:
        """The channels at the start of a turn: the same expression in every turn, or a variable that the loop carries."""
        counts = [s.channels for t in there.occurrences if (s := t.graph.shape(t.scope.inputs[0])) is not None]
        known = entry.known()
        if known is not None and self.holds(known, counts, there):
            return known, None
        if known is None:
            raise Mismatch("the channels before a loop are not said")
        name = "channels"
        while name in there.variables or name in self.pythonic.values():
            name += "_"
        self.pythonic[f"carried {id(entry)} {len(self.pythonic)}"] = name
        there.variables[name] = list(counts)
        self.init_line(f"{name} = {self.print(known, inner)}")
        return ex.name(name), name

    def _turn_result(self, there: Context, entry: Value) -> Value:
        found: Value | None = None
        for t in there.occurrences:
            result = t.scope.result
            value = self.values.get((id(t.graph), result)) if result is not None else None
            if value is None or (found is not None and value is not found):
                raise Mismatch("the turns of a loop end differently")
            found = value
        assert found is not None
        if found is entry:
            raise Mismatch("a loop that does nothing")
        return found

    def _after_loop(self, inner: Context, turns: list[Occurrence], channels: ast.Expr | None, start: str | None, there: Context) -> Value:
        shapes = [s for o in inner.occurrences if o.scope.result is not None and (s := o.graph.shape(o.scope.result)) is not None]
        counts = [s.channels for s in shapes]
        made: ast.Expr | None = None
        if len(set(counts)) == 1 and (channels is None or not ex.has_names(channels) or start is not None):
            made = ex.number(counts[0])
        elif start is not None:
            inner.variables[start] = counts
            made = ex.name(start)
        elif channels is not None and self.holds(channels, counts, inner):
            made = channels
        elif len(set(counts)) == 1:
            made = ex.number(counts[0])
        return Value(shapes, made, "x" if self.chain else None)

    def _loop_name(self, relatives: list[str], context: Context) -> str:
        """The name of a layer as text of the turn: ``f"conv{i}"``."""
        assert self._rolled is not None
        parsed = [re.fullmatch(r"(\D*?)(\d+)", r) for r in relatives]
        if any(p is None for p in parsed):
            raise Mismatch("a named layer in a loop is written out")
        bases = {p.group(1) for p in parsed if p is not None}
        if len(bases) != 1:
            raise Mismatch("the layers of a loop have different names")
        numbers = [int(p.group(2)) for p in parsed if p is not None]
        turn = [o.scope.index if o.scope.kind == "turn" else _turn(o.scope) for o in context.occurrences]
        steps = [(n, t) for n, t in zip(numbers, turn, strict=True)]
        zero = [n for n, t in steps if t == 0] or [numbers[0]]
        offset = zero[0]
        later = [(n - offset) // t for n, t in steps if t]
        step = later[0] if later else 1
        if any(n != offset + step * t for n, t in steps):
            raise Mismatch("the layers of a loop are not numbered evenly")
        base = bases.pop()
        start = self._rolled["start"]
        fixed = len(self._rolled["statement"].targets) == 2
        if start is None:
            start = self._rolled["start"] = 0 if fixed or step != 1 else offset
        index = self._rolled["index"]
        self._rolled["used"] = True
        shift = offset - step * start
        inside = index if step == 1 else f"{step} * {index}"
        if shift:
            inside += f" + {shift}" if shift > 0 else f" - {-shift}"
        return f'f"{base}{{{inside}}}"'

    loop_names: dict[str, str]

    def _loop_header(
        self,
        statement: ast.For,
        inner: Context,
        there: Context,
        counts: list[int],
        rolled: dict[str, Any],
        body_init: list[Line],
        body_lines: list[Line],
    ) -> None:
        first = rolled["start"] or 0
        index = rolled["index"]
        own = set(there.loops[id(statement)].values())
        mentioned = {n for n in own if any(re.search(rf"\b{re.escape(n)}\b", line.text) for line in [*body_init, *body_lines])}
        counting = bool(rolled.get("used"))
        for forward, body in ((False, body_init), (True, body_lines)):
            if not body or (forward and self.chain):
                continue
            header = self._header_text(statement, inner, counts, first, index, mentioned, counting, forward, there.loops[id(statement)])
            if forward:
                self.emit(header)
                self.lines += body
            else:
                self.init_line(header)
                self.init += body

    def _header_text(
        self,
        statement: ast.For,
        inner: Context,
        counts: list[int],
        first: int,
        index: str,
        mentioned: set[str],
        counting: bool,
        forward: bool,
        there_names: dict[str, str],
    ) -> str:
        scopes = [o.scope.parent for o in inner.occurrences if o.scope.parent is not None]
        if statement.repeat or not mentioned or (len(statement.targets) == 2 and mentioned == {index}):
            count = self._count(statement, inner, counts, scopes)
            stop = ex.add(count, ex.number(first))
            text = self.print(stop, inner, forward) if ex.has_names(stop) else literal(counts[0] + first)
            used = counting or bool(mentioned)
            begin = f"{first}, " if first else ""
            return f"for {index if used else '_'} in range({begin}{text}):"
        values = [[self._turn_value(statement, s) for s in o.scope.items if isinstance(s, Scope)] for o in inner.occurrences]
        expr = translate(statement.iterable, scopes, inner, self.resolve)
        said = self.express(values, expr, inner, "rows")
        text = literal(tuple(values[0])) if said is None else self.print(said, inner, forward)
        if said is None and len(values[0]) > 1 and all(type(v) is int for v in values[0]):
            text = "(" + ", ".join(map(str, values[0])) + ")"
        targets = statement.targets[-1]
        python = [there_names[t] for t in targets]
        shown = python[0] if len(python) == 1 else f"({', '.join(python)})"
        if counting or index in mentioned:
            begin = f", {first}" if first else ""
            return f"for {index}, {shown} in enumerate({text}{begin}):"
        return f"for {shown.strip('()')} in {text}:"

    @staticmethod
    def _turn_value(statement: ast.For, scope: Scope) -> Any:
        names = statement.targets[-1]
        if len(names) == 1:
            return scope.bindings[names[0]]
        return tuple(scope.bindings[n] for n in names)

    def _count(self, statement: ast.For, inner: Context, counts: list[int], scopes: list[Scope]) -> ast.Expr:
        expr: ast.Expr | None = None
        if statement.repeat:
            expr = translate(statement.iterable, scopes, inner, self.resolve)
        said = self.express(counts, expr, inner, "count")
        return said if said is not None else ex.number(counts[0])

    # ------------------------------------------------------------------------------------------------------------------ the class

    heads: list[tuple[Scope, str]]

    def write(self) -> None:
        """Write the whole class from its instances."""
        self.heads = []
        self.loop_names = {}
        context = Context(list(self.instances))
        rep = self.instances[0]
        self.chain = self.kind in ("block", "body") and self.file.is_chain(rep.graph, rep.scope)
        if self.chain and not all(self.file.is_chain(o.graph, o.scope) for o in self.instances):
            self.chain = False
        if self.kind != "network" and rep.scope.inputs:
            self._inlet(context)
        if rep.scope.kind == "merge":
            self.merge(context)
        else:
            self.items(context)
        refs = [self.file.head_result(o.graph, o.scope) if o.scope.kind == "head" else o.scope.result for o in self.instances]
        if self.kind != "network" and all(r is not None for r in refs):
            self.result = self.value_of([r for r in refs if r is not None], context)

    def _inlet(self, context: Context) -> None:
        refs = [o.scope.inputs[0] for o in self.instances]
        shapes = [s for o, r in zip(self.instances, refs, strict=True) if (s := o.graph.shape(r)) is not None]
        if len({s.rank for s in shapes}) != 1:
            raise Mismatch("the instances have inputs of different rank")
        self.params["in_channels"] = Parameter("in_channels", [s.channels for s in shapes])
        value = Value(shapes, ex.name("in_channels"), "x")
        value.uses = self.most_reads(refs, context)
        self.live["x"] = value
        self.bind(refs, value, context)

    def signature(self) -> list[Parameter]:
        """The constructor arguments in order: the input's channels, the block's parameters, then the rest; defaults last."""
        for name, (expr, _) in reversed(self.lets.items()):
            if name in self.used:
                self.used |= ex.names_in(expr)
        chosen = [p for p in self.params.values() if p.name in self.used or p.name in self.stored]
        order = {name: k for k, name in enumerate(self._declared())}
        first = [p for p in chosen if p.name == "in_channels" and p.spec is None]
        own = sorted((p for p in chosen if p.spec is not None), key=lambda p: order.get(p.spec or "", 10**6))
        rest = [p for p in chosen if p.spec is None and p not in first]
        plain_params: list[Parameter] = []
        with_default: list[Parameter] = []
        for p in own:
            self._find_default(p)
            (with_default if p.has_default else plain_params).append(p)
        return [*first, *plain_params, *rest, *with_default]

    def _declared(self) -> list[str]:
        scope = self.boundaries[0]
        if scope.kind == "block" and scope.block is not None:
            return [p.name for p in scope.block.params]
        if scope.kind == "network":
            return [p.name for p in scope.origin.params]
        return []

    def _find_default(self, param: Parameter) -> None:
        scope = self.boundaries[0]
        if param.has_default or scope.kind != "block" or scope.block is None:
            return
        for declared in scope.block.params:
            if declared.name == param.spec and isinstance(declared.default, ast.Number | ast.Boolean | ast.String):
                param.default, param.has_default = declared.default.value, True

    def constructor(self) -> list[Line]:
        """The lines of ``__init__`` behind ``super().__init__()``, indexed names filled in."""
        lines: list[Line] = []
        families = {f.at: f for f in self.families.values()}
        context = Context(list(self.instances))
        for name, (expr, _) in self.lets.items():
            if name in self.used:
                text = f"{name} = {self.print(expr, context)}"
                lines.append(Line(0, text, text))
        stored = [n for n in [*(p.name for p in self.signature()), *self.lets] if n in self.stored]
        lines += [Line(0, f"{self.stored_name(n)} = {n}", f"{self.stored_name(n)} = {n}") for n in stored]
        for k, line in enumerate(self.init):
            family = families.get(k)
            if family is None:
                lines.append(line)
                continue
            keys = sorted(family.rows)
            if keys == list(range(len(keys))):
                text = f"self.{family.name} = nn.ModuleList([{', '.join(family.rows[i] for i in keys)}])"
            else:
                pairs = ", ".join(f'"{i}": {family.rows[i]}' for i in keys)
                text = f"self.{family.name} = nn.ModuleDict({{{pairs}}})"
            lines.append(Line(line.depth, text, text))
        return lines

    def fix_indices(self, text: str) -> str:
        """Members of an indexed name that is no list are reached by key."""
        for family in self.families.values():
            keys = sorted(family.rows)
            if keys != list(range(len(keys))):
                text = re.sub(rf"\bself\.{family.name}\[(\d+)\]", rf'self.{family.name}["\1"]', text)
        return text


@dataclass(frozen=True, slots=True)
class Built:
    """A constructed instance: how to reach it, its result's channels, and the values from around that its ``forward`` takes."""

    access: str
    channels: ast.Expr | None
    captures: list[list[Ref]]
    borrowed: list[str] = field(default_factory=list)
    takes_input: bool = True


def _turn(scope: Scope | None) -> int:
    while scope is not None and scope.kind != "turn":
        scope = scope.parent
    return scope.index if scope is not None else 0


def _bare(value: Any) -> Any:
    """A field's value as a plain one: a size of equal numbers stays a tuple, an initialiser is left alone."""
    return tuple(value) if isinstance(value, tuple) else value


__all__ = ["Built", "ClassWriter", "Inexpressible", "Line", "class_name", "lay_out"]
