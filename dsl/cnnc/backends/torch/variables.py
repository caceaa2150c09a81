"""Values of a forward pass: which variable holds one, or which expression waits to be written."""

from __future__ import annotations

import itertools
import re

from cnnc.backends.torch.symbols import Symbols
from cnnc.backends.torch.values import Context, Mismatch, Unsupported, Value
from cnnc.graph import Ref, Scope

#: Names in Python text that are no attributes: among them the variables.
_VARIABLE = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
#: An expression of a forward pass grows to about this many characters before it gets a line of its own.
NEST = 62
#: An expression of at most this many characters is never worth a line of its own.
SHORT = 12


class Variables(Symbols):
    """Keeps the values of a forward pass."""

    def value_of(self, refs: list[Ref], context: Context) -> Value:
        """The value that each occurrence means by its reference; it must be the same one."""
        found = [self.values.get((o.owner, r)) for o, r in zip(context.occurrences, refs, strict=True)]
        first = found[0]
        if first is not None and all(v is first for v in found):
            return first
        if all(r.node in self.file.dead(o.graph) for o, r in zip(context.occurrences, refs, strict=True)):
            return self.stand_in(refs, context)
        return self._capture(refs, found, context)

    def _capture(self, refs: list[Ref], found: list[Value | None], context: Context) -> Value:
        """A value from around a named body: an argument of its ``forward``, in some instances perhaps what flows in as well."""
        outside = [v is None or v is self.inlet or v in self.captured for v in found]
        if self.kind != "body" and not any(v is not None for v in found):
            raise Unsupported("a value from outside is used in a place that PyTorch's modules cannot reach", context.occurrences[0].scope)
        kept = self._per_instance(list(refs), context)
        if self.kind != "body" or kept is None or not all(outside):
            raise Mismatch("the wiring differs")
        for value, known in zip(self.captured, self.capture_refs, strict=True):
            if all(known[o] == r for o, r in zip(context.owners, refs, strict=True)):
                return value
        shapes = [s for o, r in zip(context.occurrences, refs, strict=True) if (s := o.graph.shape(r)) is not None]
        spec = context.occurrences[0].graph.value_names.get(refs[0], "other")
        value = Value(shapes, None, self.unique(self.local(spec)))
        value.uses = 10**9
        self.captured.append(value)
        self.capture_refs.append(kept)
        if not any(v is not None for v in found):
            self.bind(refs, value, context)
        return value

    @staticmethod
    def stand_in(refs: list[Ref], context: Context) -> Value:
        """A value that is never made, since nothing that counts reads it."""
        shapes = [s for o, r in zip(context.occurrences, refs, strict=True) if (s := o.graph.shape(r)) is not None]
        return Value(shapes, variable="_", uses=10**9)

    def bind(self, refs: list[Ref], value: Value, context: Context) -> None:
        """Remember what computes a value."""
        for occurrence, ref in zip(context.occurrences, refs, strict=True):
            self.values[(occurrence.owner, ref)] = value
        if value.variable is None:
            self.pending[id(value)] = value

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

    def settle(self, value: Value) -> None:
        """Give a value that is still an expression its line: under its own name if it is read again later."""
        if value.variable is None:
            self.materialise(value, value.name if value.keeps else self.branch, self.shape_comment(value))

    def _free(self, value: Value, prefer: str | None) -> str:
        """A variable that nothing needs any more: neither as it is nor in an expression that still waits for its line."""
        waiting = self._waiting(value)

        def free(name: str) -> bool:
            holder = self.live.get(name)
            return name not in waiting and name not in self.fixed and (holder is None or holder is value or holder.uses <= 0)

        names = itertools.chain([prefer] if prefer else [], ("x", "y", "z", "u", "v", "w"), (f"y{n}" for n in itertools.count(2)))
        return next(name for name in names if free(name))

    def _waiting(self, value: Value) -> set[str]:
        """The variables in expressions that are not in any line yet, apart from that of ``value``."""
        found: set[str] = set()
        self.pending = {k: v for k, v in self.pending.items() if v.variable is None and v.uses > 0}
        for other in self.pending.values():
            if other is not value:
                found.update(_VARIABLE.findall(other.text))
        return found

    @property
    def fixed(self) -> set[str]:
        """Names that no line may assign: arguments of forward beside the first."""
        return {v.variable for v in self.captured if v.variable}

    def _value_name(self, ref: Ref, context: Context) -> str | None:
        """The variable that a value should have: the spec's name for it, if it is read later as well."""
        spec = context.occurrences[0].graph.value_names.get(ref)
        return self.local(spec) if spec is not None else None

    def _name(self, value: Value, ref: Ref, context: Context) -> None:
        value.name = self._value_name(ref, context)
        value.keeps = value.name is not None and self.file.crosses(context.occurrences[0].graph, ref)

    def _place(self, value: Value) -> None:
        """Decide whether a value waits inside the next expression or gets a line."""
        if value.variable is None and (value.uses != 1 or len(value.text) > NEST):
            self.settle(value)

    def shape_comment(self, value: Value) -> str:
        if self.kind != "network" or len({tuple(s) for s in value.shapes}) != 1:
            return ""
        shape = value.shapes[0]
        if shape == self.shown:
            return ""
        self.shown = shape
        return str(shape)

    def _inlets(self, inner: Context) -> list[Value]:
        scopes = [o.scope for o in inner.occurrences]
        if not scopes[0].inputs:
            return []
        return [self.value_of([s.inputs[0] for s in scopes], inner)]

    def _statement_break(self, inlet: Value, scope: Scope) -> None:
        statement = (id(scope.parent), scope.span.start)
        if self.last_statement is not None:
            self.settle(inlet)
        self.last_statement = statement
