"""The network's class and the text of the whole file."""

from __future__ import annotations

import re
from typing import Any

from cnnc._version import __version__
from cnnc.backends.torch.classes import ClassWriter
from cnnc.backends.torch.expressions import DIVISIBLE
from cnnc.backends.torch.file import GENERATED_MARK, File
from cnnc.backends.torch.layout import WIDTH, docstring, lay_out
from cnnc.backends.torch.names import GLOBALS, class_name, variable
from cnnc.backends.torch.values import Context, Line, Occurrence, Value, plain
from cnnc.graph import Graph, Ref, Scope
from cnnc.layers.form import literal
from cnnc.source import Span

#: Functions of PyTorch whose result a type checker knows to be a tensor.
_TYPED = ("F.relu(", "torch.cat(", "F.softmax(", "torch.flatten(", "F.log_softmax(")


def stripped_nodes(graph: Graph) -> frozenset[int]:
    """The final softmax of the network and of its heads: ``forward`` applies it, ``logits`` does not."""
    if len(graph.outputs) != 1:
        return frozenset()
    final = _softmax(graph, graph.outputs[0].ref, graph.root)
    if final is None:
        return frozenset()
    heads = [_softmax(graph, h.result, h) for h in graph.heads if h.result is not None]
    return frozenset([final, *(h for h in heads if h is not None)])


def _softmax(graph: Graph, ref: Ref, home: Scope) -> int | None:
    node = graph.nodes[ref.node]
    if node.op != "softmax" or node.scope is not home or node.shared or graph.readers[node.id]:
        return None
    before = graph.nodes[node.inputs[0].node]
    return None if before.is_input or (home.kind == "head" and node.inputs[0] in home.inputs) else node.id


def write_file(file: File, probe: bool) -> str:
    """The text of the emitted file; with ``probe`` every layer's value goes through ``_probe``."""
    graph = file.graphs[0]
    name = class_name(graph.name)
    while name in GLOBALS:
        name += "_"
    file.names.add(name)
    writer = ClassWriter(file, name, "network", [Occurrence(g, g.root, k) for k, g in enumerate(file.graphs)], file.stripped)
    context = Context(list(writer.instances))
    names = _inputs(writer, context)
    writer.write()
    body = _network(file, writer, context, names, probe)
    blocks = [_class(c, probe) for c in file.classes]
    helpers = [source.strip("\n").splitlines() for source in file.helpers.values()]
    if any("divisible(" in line for part in [*blocks, body] for line in part):
        helpers.insert(0, DIVISIBLE.strip("\n").splitlines())
    text = "\n\n\n".join("\n".join(part) for part in [*helpers, *blocks, body])
    header = [*_head_docstring(file), "", "from __future__ import annotations", "", *_imports(file, text), "", f'__all__ = ["{name}"]']
    return "\n".join(header) + "\n\n\n" + text + "\n"


def _imports(file: File, text: str) -> list[str]:
    lines: list[str] = []
    if re.search(r"\bmath\.", text):
        lines.append("import math")
    if "OrderedDict(" in text:
        lines.append("from collections import OrderedDict")
    typed = [n for n in ("Callable", "Sequence") if re.search(rf"\b{n}\[", text)]
    if typed:
        lines.append(f"from collections.abc import {', '.join(typed)}")
    if "partial(" in text:
        lines.append("from functools import partial")
    if lines:
        lines.append("")
    if re.search(r"\btorch\.", text):
        lines.append("import torch")
    if re.search(r"\bF\.", text):
        lines.append("import torch.nn.functional as F")
    return [*lines, "from torch import Tensor, nn"]


def _comment_above(span: Span) -> list[str]:
    """The comment directly above a definition, or the file's first one, as paragraphs."""
    source = span.source
    lines: list[str] = []
    at = span.line - 1
    while at >= 1 and source.line(at).lstrip().startswith("#"):
        lines.insert(0, source.line(at).lstrip().lstrip("#").strip())
        at -= 1
    return [" ".join(lines)] if lines else []


def _file_comment(span: Span) -> list[str]:
    """The first comment of a file."""
    source = span.source
    lines: list[str] = []
    for number in range(1, min(len(source.line_starts), 60) + 1):
        line = source.line(number).strip()
        if line.startswith("#"):
            lines.append(line.lstrip("#").strip())
        elif lines or (line and not line.startswith("cnn ")):
            break
    return [" ".join(lines)] if lines else []


def _spec_name(graph: Graph) -> str:
    name = re.split(r"[\\/]", graph.definition.span.source.name)[-1]
    return re.sub(r"[^\w.<>+-]+", "_", name) or "spec"


def _head_docstring(file: File) -> list[str]:
    graph, spec = file.graphs[0], _spec_name(file.graphs[0])
    about = _file_comment(graph.definition.span)
    command = f"cnnc compile {spec} --network {graph.name} --target torch"
    mark = f"{GENERATED_MARK} {__version__} from {spec}; to change the network, edit that and run `{command}`."
    return docstring([f"{graph.name} in PyTorch.", *about, mark], 0)


def _inputs(writer: ClassWriter, context: Context) -> list[str]:
    """Bind the network's inputs to arguments of ``forward``."""
    graph = writer.instances[0].graph
    inputs = graph.inputs
    names: list[str] = []
    for k, node in enumerate(inputs):
        name = "x" if len(inputs) == 1 else variable(node.name or node.path)
        while name in names:
            name += "_"
        names.append(name)
        assert node.shapes is not None
        value = Value([s[0] for g in writer.file.graphs if (s := g.inputs[k].shapes) is not None], None, name)
        refs = [Ref(o.graph.inputs[k].id) for o in context.occurrences]
        value.uses = writer.most_reads(refs, context)
        writer.live[name] = value
        writer.bind(refs, value, context)
    return names


def _indented(lines: list[Line], base: int, probe: bool, fix: Any) -> list[str]:
    """Lines of code as text, wrapped and with their comments."""
    found: list[str] = []
    for line in lines:
        indent = base + 4 * line.depth
        text = fix(line.probed if probe else line.text)
        if probe:
            found.append(" " * indent + text)
            continue
        made = lay_out(text, indent)
        if line.comment:
            if len(made) == 1 and len(made[0]) + len(line.comment) + 4 <= WIDTH:
                made[0] += f"  # {line.comment}"
            else:
                made.insert(0, " " * indent + f"# {line.comment}")
        found += made
    return found


def _annotation(values: list[Any]) -> str:
    """The type of a constructor argument, from its values."""
    kinds = list(dict.fromkeys(_type(v) for v in values if v is not None))
    if "float" in kinds and "int" in kinds:
        kinds.remove("int")
    return " | ".join(kinds)


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, list):
        inner = list(dict.fromkeys(_type(v) for v in value)) or ["int"]
        return f"Sequence[{' | '.join(inner)}]"
    if isinstance(value, tuple):
        return "int" if len(set(value)) == 1 else f"tuple[{', '.join(['int'] * len(value))}]"
    return type(value).__name__


def _signature(writer: ClassWriter) -> str:
    parts = ["self"]
    for param in writer.signature():
        text = f"{param.name}: {_annotation(param.values)}"
        parts.append(f"{text} = {literal(param.default)}" if param.has_default else text)
    return f"def __init__({', '.join(parts)})"


def _class(writer: ClassWriter, probe: bool) -> list[str]:
    """The text of a block's or a body's class."""
    scope = writer.boundaries[0]
    base = "nn.Sequential" if writer.chain else "nn.Module"
    lines = [f"class {writer.name}({base}):"]
    if scope.block is not None:
        params = ", ".join(p.span.text for p in scope.block.params)
        about = _comment_above(scope.block.span)
        if not about or about == _file_comment(scope.block.span):
            about = [f"Block `{scope.block.name}({params})`."]
    else:
        part = re.sub(r"\[\d+\]", "[i]", scope.path)
        about = [f"The part `{part}` of the network."]
    lines += docstring(about, 4)
    constructor = writer.constructor()
    if constructor:
        lines += ["", *lay_out(_signature(writer), 4, " -> None:"), "        super().__init__()"]
        lines += _indented(constructor, 8, probe, writer.fix_indices)
    if writer.chain:
        return lines
    assert writer.result is not None
    result, probed = writer.use(writer.result)
    if result == "_":  # nothing reads its value: it has parameters, but nothing to run
        return lines
    given = ["self", *(["x: Tensor"] if writer.takes_input else []), *(f"{v.variable}: Tensor" for v in writer.captured)]
    given += [f"{name}: nn.Module" for name in writer.borrowed]
    lines += ["", *lay_out(f"def forward({', '.join(given)})", 4, " -> Tensor:")]
    body = _returned(list(writer.lines), result, probed, writer.takes_input)
    return lines + _indented(body, 8, probe, writer.fix_indices)


def _returned(lines: list[Line], text: str, probed: str, takes_x: bool, comment: str = "") -> list[Line]:
    """The lines with the return of a value; its type must be known to be a tensor, as that of an argument ``x`` is."""
    last = lines[-1] if lines else None
    target = "x" if takes_x else "result: Tensor"
    result = target.partition(":")[0]
    if last is not None and last.depth == 0 and last.text.startswith(f"{text} = "):
        start = len(text) + 3
        made, shown = last.text[start:], last.probed[start:]
        if made.startswith(_TYPED):
            return [*lines[:-1], Line(0, f"return {made}", f"return {shown}", last.comment)]
        given = Line(0, f"{target} = {made}", f"{target} = {shown}", last.comment)
        return [*lines[:-1], given, Line(0, f"return {result}", f"return {result}")]
    if (text == "x" and takes_x) or text.startswith(_TYPED):
        return [*lines, Line(0, f"return {text}", f"return {probed}")]
    return [*lines, Line(0, f"{target} = {text}", f"{target} = {probed}", comment), Line(0, f"return {result}", f"return {result}")]


def _network(file: File, writer: ClassWriter, context: Context, inputs: list[str], probe: bool) -> list[str]:
    graph = file.graphs[0]
    lines = [f"class {writer.name}(nn.Module):", *docstring(_about(file, writer, inputs), 4)]
    for param in writer.signature():
        value = graph.parameters.get(param.spec or "")
        if plain(value):
            param.default, param.has_default = value, True
    constructor = [*writer.constructor(), *file.uniform_lines()]
    lines += ["", *lay_out(_signature(writer), 4, " -> None:"), "        super().__init__()"]
    lines += _indented(constructor, 8, probe, writer.fix_indices)
    given = ", ".join(f"{n}: Tensor" for n in inputs)
    heads = [name for _, name in writer.heads]
    columns = zip(*(file.output_refs(o.graph) for o in context.occurrences), strict=True)
    values = [writer.value_of(list(column), context) for column in columns]
    texts = [writer.use(v) for v in values]
    kind = "Tensor" if len(texts) == 1 else f"tuple[{', '.join(['Tensor'] * len(texts))}]"
    every = [f"tuple[{', '.join(['Tensor'] * (len(texts) + len(heads)))}]"] if heads else []
    returns = " | ".join([kind, *every])
    split = bool(file.stripped)
    body = _network_body(writer, values, texts, heads, inputs == ["x"])
    name = "logits" if split else "forward"
    lines += ["", *lay_out(f"def {name}(self, {given})", 4, f" -> {returns}:")]
    doc = "The scores before the softmax." if split else ""
    if split:
        lines += docstring([doc], 8)
    elif heads:
        lines += docstring([_head_words(writer, len(texts))], 8)
    lines += _indented(body, 8, probe, writer.fix_indices)
    if split:
        lines += _softmax_forward(file, writer, graph, inputs, given, returns, heads, probe)
    return lines


def _network_body(writer: ClassWriter, values: list[Value], texts: list[tuple[str, str]], heads: list[str], takes_x: bool) -> list[Line]:
    """The lines of the network's ``forward`` with what it returns: the results, while training the heads' values too."""
    body = list(writer.lines)
    comments = [writer.shape_comment(v) for v in values]
    if not heads:
        if len(texts) == 1:
            return _returned(body, *texts[0], takes_x, comments[0])
        return [*body, Line(0, f"return {', '.join(t[0] for t in texts)}", f"return {', '.join(t[1] for t in texts)}")]
    names: list[str] = []
    for k, (text, probed) in enumerate(texts):
        if text.isidentifier() and (len(texts) > 1 or (takes_x and text == "x")):
            names.append(text)
            continue
        target = "x" if takes_x and len(texts) == 1 else "result: Tensor" if len(texts) == 1 else f"result{k + 1}"
        body.append(Line(0, f"{target} = {text}", f"{target} = {probed}", comments[k]))
        names.append(target.partition(":")[0])
    both = ", ".join([*names, *heads])
    body += [Line(0, "if self.training:", "if self.training:"), Line(1, f"return {both}", f"return {both}")]
    return [*body, Line(0, f"return {', '.join(names)}", f"return {', '.join(names)}")]


def _head_words(writer: ClassWriter, outputs: int) -> str:
    weights = [f"`{name}`" + (f" (weight {literal(scope.weight)})" if scope.weight is not None else "") for scope, name in writer.heads]
    listed = " and ".join([", ".join(weights[:-1]), weights[-1]] if len(weights) > 1 else weights)
    return f"Give the result; in training mode a tuple of it and of the heads {listed}."


def _softmax_forward(
    file: File, writer: ClassWriter, graph: Graph, inputs: list[str], given: str, returns: str, heads: list[str], probe: bool
) -> list[str]:
    """``forward`` as the softmax of ``logits``."""
    final = graph.outputs[0].ref.node
    lines = ["", *lay_out(f"def forward(self, {given})", 4, f" -> {returns}:")]
    words = "The probabilities: the softmax of the logits."
    if heads:
        words = _head_words(writer, 1)
    lines += docstring([words], 8)

    def softmax(node: int, text: str) -> str:
        made = f"F.softmax({text}, 1)" if file.node_form(graph, graph.nodes[node]).call is None else _call_text(file, graph, node, text)
        return f'_probe(self, "{graph.nodes[node].path}", {made})' if probe else made

    call = f"self.logits({', '.join(inputs)})"
    if not heads:
        return [*lines, *_indented([Line(0, f"return {softmax(final, call)}", f"return {softmax(final, call)}")], 8, probe, str)]
    main = inputs[0] if inputs else "x"
    results = [softmax(final, main)]
    for scope, name in writer.heads:
        ends = scope.result is not None and scope.result.node in file.stripped
        results.append(softmax(scope.result.node, name) if ends and scope.result is not None else name)
    body = [
        Line(0, f"outputs = {call}", f"outputs = {call}"),
        Line(0, "if isinstance(outputs, tuple):", "if isinstance(outputs, tuple):"),
        Line(1, f"{', '.join([main, *heads])} = outputs", f"{', '.join([main, *heads])} = outputs"),
        Line(1, f"return ({', '.join(results)})", f"return ({', '.join(results)})"),
        Line(0, f"return {softmax(final, 'outputs')}", f"return {softmax(final, 'outputs')}"),
    ]
    one_line = f"return {', '.join(results)}"
    if 12 + len(one_line) <= WIDTH:
        body[3] = Line(1, one_line, one_line)
    return lines + _indented(body, 8, probe, str)


def _call_text(file: File, graph: Graph, node: int, text: str) -> str:
    from cnnc.layers.form import write

    call = file.node_form(graph, graph.nodes[node]).call
    assert call is not None
    return write(call, (text,), lambda arg: literal(arg.value))


def _about(file: File, writer: ClassWriter, inputs: list[str]) -> list[str]:
    graph, checked = file.graphs[0], file.checked
    totals = checked.totals
    given = ", ".join(f"{node.name} {node.shapes[0]}" for node in graph.inputs if node.shapes)
    outs = ", ".join(f"{o.name + ' ' if o.name else ''}{graph.shape(o.ref)}" for o in graph.outputs)
    counts = f"{totals.params:,} parameters" + (f" ({totals.params + totals.aux_params:,} with the heads)" if totals.aux_params else "")
    about = _comment_above(graph.definition.span)
    if not about or about == _file_comment(graph.definition.span):
        about = [f"{graph.name}: {counts}, {totals.macs:,} multiply-accumulates an image."]
        return [*about, f"From {given} to {outs}, without the batch."]
    return [*about, f"{counts}, {totals.macs:,} multiply-accumulates an image. From {given} to {outs}, without the batch."]
