"""Loops of the spec: rolled where the turns are alike, one container for an indexed name, else written out."""

from __future__ import annotations

import re
from typing import Any

from cnnc.backends.torch import expressions as ex
from cnnc.backends.torch.conditions import Conditions
from cnnc.backends.torch.names import argument
from cnnc.backends.torch.values import Context, Line, Mismatch, Occurrence, Value, plain, translate
from cnnc.graph import Scope
from cnnc.layers.form import literal
from cnnc.syntax import ast

#: Repeats of at least this many turns become loops; fewer are written out.
ROLL = 3


class Loops(Conditions):
    """Writes loops."""

    def loop(self, inner: Context) -> None:
        """Write a loop: rolled where its turns are alike, else turn by turn."""
        scopes = [o.scope for o in inner.occurrences]
        counts = [len(s.items) for s in scopes]
        if max(counts) == 0:
            return
        same = len(set(counts)) == 1
        if self._family(inner, counts):
            return
        if not same or counts[0] >= ROLL:
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
        self.pending = {id(v): v for v, _, _ in s[3] if v.variable is None}
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
        if len(set(rows)) == 1 and len(rows) > ROLL:
            self.init_line(f"self.{name} = nn.Sequential(*({rows[0]} for _ in range({len(rows)})))")
        else:
            self.init_line(f"self.{name} = nn.Sequential({', '.join(rows)})")
        self.registered.add(name)
        refs = [s.result for s in scopes if s.result is not None]
        if all(r.node in self.file.dead(o.graph) for r, o in zip(refs, inner.occurrences, strict=True)):
            return True
        text, probed = self.use(entry)
        result = Value(value.shapes, value.channels, None, f"self.{name}({text})", f"self.{name}({probed})")
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
        if entry.variable == "_":
            raise Mismatch("nothing computes what flows into the loop")
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
            self.values[(t.owner, t.scope.inputs[0])] = value
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
        self._rolled = {"index": index, "statement": statement, "start": None, "made": set()}
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
            return self.init, self.lines, channels, self._rolled
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
            python = self.loop_variable(spec, statement)
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

    def loop_variable(self, spec: str, statement: ast.For) -> str:
        """A loop's variable; it may stand in ``forward`` too, so it hides none of the values there."""
        values = {self.local(name.partition("[")[0]) for o in self.instances for name in o.graph.value_names.values()}
        values |= {self.local(n.name) for o in self.instances for n in o.graph.inputs if n.name} | self.taken
        clash = spec in values or re.fullmatch(r"[u-z]|y\d+|shortcut\d*|branch\d+|result_*", spec)
        return self.python_name(f"{spec}_value" if clash else spec, f"loop {id(statement)} {spec}")

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
        self.carried.add(name)
        self.init_line(f"{name} = {self.print(known, inner)}")
        return ex.name(name), name

    def _turn_result(self, there: Context, entry: Value) -> Value:
        found: Value | None = None
        for t in there.occurrences:
            result = t.scope.result
            value = self.values.get((t.owner, result)) if result is not None else None
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
        counting = bool(rolled.get("used"))
        for forward, body in ((False, body_init), (True, body_lines)):
            if not body or (forward and self.chain):
                continue
            mentioned = {n for n in own if any(re.search(rf"(?<![\w.]){re.escape(n)}\b", line.text) for line in body)}
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
