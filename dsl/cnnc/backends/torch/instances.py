"""Block instances, named bodies and heads: constructed in the one place, called in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnc.backends.torch import expressions as ex
from cnnc.backends.torch.modules import Modules
from cnnc.backends.torch.names import attribute, split_path
from cnnc.backends.torch.values import Built, Context, Mismatch, Parameter, Unsupported, Value, equal, translate
from cnnc.backends.torch.variables import NEST
from cnnc.graph import Node, Scope
from cnnc.layers.form import literal, write
from cnnc.shapes import Shape
from cnnc.syntax import ast

if TYPE_CHECKING:
    from cnnc.backends.torch.classes import ClassWriter


class Instances(Modules):
    """Writes what has a class or a container of its own."""

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
        texts = self._given_values(([inlet] if inlet is not None and built.takes_input else []) + extra)
        texts += [(name, name) for name in built.borrowed]
        text = f"{access}({', '.join(t[0] for t in texts)})"
        probed = f"{access}({', '.join(t[1] for t in texts)})"
        if scope.kind == "merge":
            joins = [o.graph.nodes[o.scope.items[-1]] for o in inner.occurrences if isinstance(o.scope.items[-1], int)]
            if len(joins) == len(scopes):
                probed = f"_probe(self, {self.probe_name(joins, context)}, {probed})"
        value = Value(self._shapes(inner), built.channels, None, text, probed)
        self._bind_result(inner, value, context)
        if value.uses > 1 or len(text) > NEST or (value.uses and self.kind == "network"):
            self.settle(value)

    def _given_values(self, values: list[Value]) -> list[tuple[str, str]]:
        """The arguments of an instance's ``forward``; a value that is passed twice counts as read once."""
        if any(v.variable == "_" for v in values):
            raise Mismatch("an instance reads a value that nothing computes")
        if len({id(v) for v in values}) < len(values):
            for value in values:
                self.settle(value)
        texts = {id(v): self.use(v) for v in dict.fromkeys(values)}
        return [texts[id(v)] for v in values]

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
            free = next((v for v in param.values if v is not None), None)  # for instances that never use it, as good as any
            values = [free if v is None else v for v in (param.values[writer.index[id(s)]] for s in scopes)]
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

    def head(self, inner: Context, context: Context) -> None:
        """Write an auxiliary head: it runs in training mode only."""
        scope = inner.occurrences[0].scope
        name = self.local(split_path(scope.path)[-1])
        name = f"{name}_" if name == "x" else name  # `x` will be the result
        inlet = self.value_of([o.scope.inputs[0] for o in inner.occurrences], context)
        self.settle(inlet)
        for value in list(self.pending.values()):
            if value.variable is None and value.uses > 0:  # what waits must not get its line inside of the condition
                self.settle(value)
        self.emit("if self.training:")
        self.depth += 1
        outer, self.branch = self.branch, None
        if self.file.needs_module(inner.occurrences[0].graph, scope):
            built = self._build(inner, context, inlet)
            given = [inlet] if built.takes_input else []
            parts = self._given_values([*given, *(self.value_of(refs, context) for refs in built.captures)])
            parts += [(b, b) for b in built.borrowed]
            text = f"{built.access}({', '.join(p[0] for p in parts)})"
            probed = f"{built.access}({', '.join(p[1] for p in parts)})"
        else:
            kept, self.skip = self.skip, self.skip | self.file.stripped
            self.items(inner)
            self.skip = kept
            results = [self.file.head_result(o.graph, o.scope) for o in inner.occurrences]
            text, probed = self.use(self.value_of(results, context))
        ended = Value([], None, uses=1)
        name = ended.variable = self._free(ended, name)
        self.live[name] = ended
        self.emit(f"{name} = {text}", f"{name} = {probed}")
        self.branch = outer
        self.depth -= 1
        self.taken.add(name)
        self.heads.append((scope, name))
        self.last_statement = None
