"""Calls of PyTorch: those of all instances as one, with a literal where they agree and an expression where they differ."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable
from typing import Any

from cnnc.backends.torch import expressions as ex
from cnnc.backends.torch.values import Context, Mismatch, Value, equal, plain, translate
from cnnc.backends.torch.variables import Variables
from cnnc.graph import Node
from cnnc.layers.form import IN_CHANNELS, IN_SIZE, Arg, Call, Form, Raw, literal, write
from cnnc.syntax import ast

#: What PyTorch takes for an argument that is left out, where the layer's field does not say it (``pad=same`` may need none).
_DEFAULTS: dict[str, Any] = {"padding": 0, "output_padding": 0, "dilation": 1, "groups": 1, "ceil_mode": False}


class Calls(Variables):
    """Merges the calls of all instances."""

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
        tight = "{0}" in merged.name and merged.name != "{0}" and not re.search(r"\(\{0\}[,)]", merged.name)

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
            filled = [a if a is not None else self._default(present, n, key) for a, n in zip(found, nodes, strict=True)]
            kwargs.append((key, self._argument(filled, nodes, inputs, context, forward, texts, key)))
        show = lambda arg: texts[id(arg)]  # noqa: E731
        return Call(calls[0].name, tuple(args), tuple(kwargs), calls[0].infix), show

    @staticmethod
    def _default(present: Arg, node: Node, key: str) -> Arg:
        """An argument that this occurrence leaves out because it is PyTorch's default."""
        if key in _DEFAULTS:
            return Arg(_DEFAULTS[key], present.field)
        if present.field is None or not hasattr(node.layer, present.field):
            raise Mismatch("an argument is not always there")
        value = getattr(node.layer, present.field)
        if not plain(value) or isinstance(value, str):
            raise Mismatch("an argument is not always there")
        return Arg(value, present.field)

    def _argument(
        self,
        args: list[Arg],
        nodes: list[Node],
        inputs: list[Value],
        context: Context,
        forward: bool,
        texts: dict[int, str],
        key: str | None = None,
    ) -> Arg:
        """One argument in all occurrences: its text goes to ``texts``."""
        arg = Arg(args[0].value, args[0].field)
        fields = {a.field for a in args}
        name = args[0].field if len(fields) == 1 else None
        expr: ast.Expr | None = None
        values: list[Any] = [a.value for a in args]
        hint = key or f"{nodes[0].op}_{name or 'value'}".replace(".", "_")
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
            if all(isinstance(v, Raw) and v.text == getattr(values[0], "text", None) for v in values):
                texts[id(arg)] = literal(values[0])
                return arg
            values, expr = [_numbers(v) for v in values], None
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
        elif source is None and len(inputs) == 1:
            kept = inputs[0].known()
            same = kept is not None and self.holds(kept, counts, context)
            expr = kept if same and shapes[0].rank else self._numel(inputs[0])
        if expr is not None and self.holds(expr, counts, context):
            return expr
        return ex.number(counts[0]) if len(set(counts)) == 1 else None

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


def _bare(value: Any) -> Any:
    """A field's value as a plain one: a size of equal numbers stays a tuple, an initialiser is left alone."""
    return tuple(value) if isinstance(value, tuple) else value


def _numbers(value: Any) -> Any:
    """The numbers that a computed argument is, as a list where it is several; Mismatch for anything else."""
    if not isinstance(value, Raw):
        return value
    try:
        made = literal_eval(value.text)
    except (ValueError, SyntaxError):
        raise Mismatch("a computed argument differs") from None
    return list(made) if isinstance(made, tuple) else made
