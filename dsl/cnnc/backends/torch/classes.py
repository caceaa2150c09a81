"""One class of the emitted file: its constructor and its forward pass, written from all its instances at once.

The instances of a block (or of a named body) are aligned item by item. Where they agree, a literal is written; where they differ, the
spec's own expression over the block's parameters, checked against every instance; where that cannot say it, a further constructor
argument. What cannot be aligned is a :class:`Mismatch`, and the file then has two classes.
"""

from __future__ import annotations

from typing import Any

from cnnc.backends.torch import expressions as ex
from cnnc.backends.torch.layout import WIDTH
from cnnc.backends.torch.loops import Loops
from cnnc.backends.torch.values import Context, Mismatch, Parameter, Value
from cnnc.backends.torch.variables import SHORT
from cnnc.graph import Node, Ref, Scope
from cnnc.layers.form import Form


class ClassWriter(Loops):
    """Writes one class from all its instances."""

    def write(self) -> None:
        """Write the whole class from its instances."""
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
        partly = any(r is None for refs in self.capture_refs for r in refs)
        if partly or any(len(uses) < len(self.instances) for uses in self.borrowed.values()):
            raise Mismatch("only some instances read something from around")
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
        self.inlet = value
        self.bind(refs, value, context)

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

    def op(self, nodes: list[Node], context: Context) -> None:
        """Write one layer."""
        first = nodes[0]
        if first.is_input:
            return
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
                if not (value.infix and value.uses == 1 and len(value.text) <= 2 * SHORT):
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
        pending = [v for v in inputs if v.variable is None and len(v.text) > SHORT]
        if pending and len(text) + 4 * self.depth + 28 > WIDTH:
            for value in pending:
                self.settle(value)
            text, probed, infix = self._apply(nodes, forms, inputs, context)
        for value in inputs:
            self.use(value)
        if first.path != self.boundaries[context.owners[0]].path:  # the join of a named merge is probed where the merge is used
            probed = f"_probe({self.probe_owner(nodes, context)}, {probed})"
        value = Value(shapes, channels, None, text, probed, infix)
        self._bind_ports(nodes, value, context)
        self._place(value)

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
            infix = calls[0] is not None and (calls[0].infix or (calls[0].name == "{0}" and infixes[0]))
        result = self._applied(forms, "after", nodes, inputs, result, context, infix)
        last = forms[0].after
        if last is not None:
            infix = last.call is not None and last.call.infix
        return result[0], result[1], infix

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
        names = ("shortcut", "y") if two and self._passes(items[branches[0]], inner) else ("y", "shortcut")
        for number, k in enumerate(branches):
            column: list[Scope] = []
            for s in scopes:
                item = s.items[k]
                if not isinstance(item, Scope):
                    raise Mismatch("a merge has different branches")
                column.append(item)
            there = self._at(column, inner)
            default = names[number] if two else f"branch{number + 1}"
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

    @staticmethod
    def _passes(branch: int | Scope, inner: Context) -> bool:
        """Whether a branch gives on what it gets."""
        nodes = inner.occurrences[0].graph.nodes
        return isinstance(branch, Scope) and all(isinstance(i, int) and nodes[i].op == "identity" for i in branch.items)

    def _branch_name(self, name: str) -> str:
        holder = self.live.get(name)
        n = 2
        base = name
        while holder is not None and holder.uses > 0:
            name = f"{base}{n}"
            n += 1
            holder = self.live.get(name)
        return name

    def _end_branch(self, there: Context, column: list[Scope], inline: bool) -> None:
        """A branch's value waits in a variable, unless it is short."""
        if any(s.result is None for s in column):
            return
        value = self.values.get((there.occurrences[0].owner, column[0].result))  # type: ignore[arg-type]
        if value is None or value.variable is not None:
            return
        if value.uses > 1 or len(value.text) > 2 * SHORT or (not inline and "(" in value.text):
            self.materialise(value, self.branch)
