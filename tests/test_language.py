"""Every sentence of `docs/language.md`, sections 1 and 2, as a spec: what it means, and what its misuse is told.

The specs run through the real pipeline. A network is written down here as its layers in execution order, each `path op shape`, with
`~path` behind a layer that shares another's weights.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cnnc.check import Checked
from cnnc.compiler import Options, analyse, networks
from cnnc.diagnostics.model import Diagnostic
from cnnc.elaborate.values import LetValue
from cnnc.reading import read_file, read_import
from cnnc.resources import specs_dir
from cnnc.shapes import Shape
from cnnc.source import Source


def run(text: str, **options: Any) -> Checked | tuple[Diagnostic, ...]:
    return analyse(Source("test.cnn", text), Options(**options), read_import)


def problems(found: Checked | tuple[Diagnostic, ...]) -> list[str]:
    """`E301 4:3` for each problem."""
    listed = found.problems if isinstance(found, Checked) else found
    return [f"{p.code} {p.at.span.line}:{p.at.span.column}" for p in listed]


def told(text: str, **options: Any) -> list[str]:
    """The problems of a text."""
    return problems(run(text, **options))


def checked(text: str, **options: Any) -> Checked:
    """The network of a text that has no problems but warnings."""
    found = run(text, **options)
    assert isinstance(found, Checked), found
    assert not found.errors, found.errors
    return found


def layers(found: Checked) -> list[str]:
    nodes = found.graph.nodes
    return [
        f"{n.path} {n.op} {n.shapes[0] if n.shapes else '?'}" + (f" ~{nodes[n.shares].path}" if n.shares is not None else "")
        for n in found.graph.layers
    ]


def network(body: str, *, before: str = "", inputs: str = "input image: 8x16x16") -> str:
    """A file with one network; the first statement of ``body`` stands on line 4."""
    return f"{before}\nnetwork Net {{\n{inputs}\n{body}\n}}\n"


def built(body: str, **more: Any) -> list[str]:
    """The layers of a network with this body."""
    return layers(checked(network(body, **more)))


def paths(body: str, **more: Any) -> list[str]:
    return [line.split()[0] for line in built(body, **more)]


def refused(body: str, **more: Any) -> list[str]:
    """The problems of a network with this body, lines counted from its first."""
    return [f"{p.split()[0]} {int(p.split()[1].split(':')[0]) - 3}:{p.split(':')[1]}" for p in told(network(body, **more))]


def value(expression: str) -> Any:
    """The value of an expression among the names of a network with an input `image` of 8x16x16."""
    found = checked(network(f"let result = {expression}\nrelu"))
    bound = found.graph.root.bindings["result"]
    assert isinstance(bound, LetValue)
    return bound.value


# ------------------------------------------------------------------------------------------------------- 1. files and statements


def test_editions() -> None:
    body = "network Net { input image: 3x4x4; relu }"
    assert layers(checked(body)) == layers(checked(f"cnn 1\n{body}")) == layers(checked(f"# first\n\ncnn 1 # edition\n{body}"))
    (problem,) = run(f"cnn 7\n{body}")  # type: ignore[misc]
    assert problem.code == "E104" and "edition 7" in problem.headline and "edition 1" in problem.headline
    assert told(f"cnn 0\n{body}") == ["E104 1:1"]
    assert told(f"cnn 1 {body}") == ["E101 1:7"]
    assert told(f"{body}\ncnn 1") == ["E101 2:1"]


@pytest.mark.parametrize("text", ["", "\n\n", "  # nothing\n", "cnn 1", "cnn 1\n# nothing", ";\n;"])
def test_files_without_a_network(text: str) -> None:
    assert told(text) == ["E510 1:1"]


@pytest.mark.parametrize(
    "body",
    [
        "relu\ntanh",
        "relu; tanh",
        "relu;;\n;tanh;",
        "\n\nrelu\n\n\n# comment\ntanh # comment\n# comment",
        "relu # ; -> } {\ntanh",
        "relu -> tanh",
        "relu ->\n tanh",
        "relu\n -> tanh",
        "relu # one\n # two\n\n -> # three\n # four\n tanh",
    ],
)
def test_statement_ends_and_comments(body: str) -> None:
    assert built(body) == ["relu1 relu 8x16x16", "tanh1 tanh 8x16x16"]


def test_newlines_in_brackets_and_after_operators() -> None:
    assert built("conv(\n 4, # maps\n 3x3,\n pad=1,\n)\n") == ["conv1 conv 4x16x16"]
    assert value("[\n 1,\n 2 +\n 3,\n]") == [1, 5]
    assert built("if true { relu }\n\n# else\nelse { tanh }") == ["relu1 relu 8x16x16"]
    assert told("network Net(\n a = 1,\n b = 2,\n) {\n input image: 3x4x4\n relu\n}") == []


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_line_ends_of_other_systems(tmp_path: Path, ends: str) -> None:
    spec = tmp_path / "net.cnn"
    spec.write_bytes(b"\xef\xbb\xbf" + network("relu\ntanh").replace("\n", ends).encode())
    source = read_file(spec)
    assert isinstance(source, Source)
    found = analyse(source, Options(), read_import)
    assert isinstance(found, Checked) and len(found.graph.layers) == 2


def test_several_syntax_errors_are_told_at_once_and_the_rest_is_checked() -> None:
    assert refused("relu tanh\nconv(4,, 3x3)\nlet a = \nlet b = 2\n$\nimage -> linear(b)") == [
        "E101 1:6",
        "E101 2:8",
        "E101 3:8",
        "E101 5:1",
        "E305 6:10",
    ]
    # What the broken statement would have bound is not missed.
    assert refused("y = conv(4,, 3x3)\ny -> tanh\nlet k = 1 1\nimage -> conv(k, 3x3)") == ["E101 1:12", "E101 3:11"]


def test_missing_brackets() -> None:
    assert refused("conv(4, 3x3\nrelu\nimage -> linear(3)") == ["E102 1:5", "E305 3:10"]
    assert told("network A {\ninput x: 3x4x4\nrelu\n\nnetwork B {\ninput x: 3x4x4\nlinear(3)\n}") == ["E102 1:11", "E305 7:1"]
    assert told("network A {\ninput x: 3x4x4\nlinear(3)\n") == ["E305 3:1", "E102 3:10"]
    assert told("network A {\ninput x: 3x4x4\nrelu\n}}\nnetwork B {\ninput x: 3x4x4\nlinear(3)\n}") == ["E101 4:2", "E305 7:1"]


# --------------------------------------------------------------------------------------------------------------- 1. shapes as types


def test_annotations() -> None:
    assert built("y: 4x14x14 = conv(4, 3x3)\nv: 4 = global_avgpool -> flatten") == [
        "y conv 4x14x14",
        "v global_avgpool 4x1x1",
        "v.flatten1 flatten 4",
    ]
    assert built("let w = 2\ny: (2*w)x14x14 = conv(4, 3x3)\noutput z: 4x(10 + 4)x(14) = relu") == ["y conv 4x14x14", "z relu 4x14x14"]
    assert refused("y: 4x16x16 = conv(4, 3x3)") == ["E402 1:4"]
    assert refused("output y: 3 = conv(4, 3x3)") == ["E402 1:11"]
    assert refused("y: size = conv(4, 3x3)") == ["E204 1:4"]
    assert refused("y: 4x0x3 = conv(4, 3x3)\nz: 3.5 = y") == ["E216 1:4", "E216 2:4"]


@pytest.mark.parametrize(
    ("inputs", "layer", "shape"),
    [
        ("input x: 4096", "linear(10)", "10"),
        ("input x: 32x128", "conv(8, 5)", "8x124"),
        ("input x: 3x20x20", "conv(8, 5)", "8x16x16"),
        ("input x: 1x16x64x64", "conv(8, 3x3x3)", "8x14x62x62"),
    ],
)
def test_ranks(inputs: str, layer: str, shape: str) -> None:
    assert built(layer, inputs=inputs)[0].split()[2] == shape


# --------------------------------------------------------------------------------------------------------------------- expressions


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1_000 + 2K + 3M + 1.5G + 1T", 1_000 + 2_000 + 3_000_000 + 1_500_000_000 + 10**12),
        ("4.1G", 4_100_000_000),
        ("1e-4", 1e-4),
        ("2.5e3", 2500.0),
        ("7 / 2", 3.5),
        ("8 / 2", 4),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("7 % 3", 1),
        ("-2 ** 2", -4),
        ("2 ** 3 ** 2", 512),
        ("2 ** -1", 0.5),
        ("1 - 2 - 3", -4),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("--2", 2),
        ("+3", 3),
        ("1 < 2 and 2 <= 2 and 3 > 2 and 3 >= 3 and 1 == 1.0 and 1 != 2", True),
        ("not 1 == 2", True),
        ("not not true", True),
        ("true or 1 / 0 == 1", True),
        ("false and 1 / 0 == 1", False),
        ("true == 1", False),
        ("1 if 2 > 1 else 1 / 0", 1),
        ("1 if false else 2 if false else 3", 3),
        ('"a" + "b"', "ab"),
        ("[1, 2] + [3]", [1, 2, 3]),
        ("[0] * 3", [0, 0, 0]),
        ("(1, 2)", [1, 2]),
        ("[(1, 2), (3, 4)][1][0]", 3),
        ("[1, 2, 3][-1]", 3),
        ("1x7", Shape((1, 7))),
        ("(2 * 4)x(1 + 2)", Shape((8, 3))),
        ("3x(4)x5", Shape((3, 4, 5))),
        ("1x7[1]", 7),
        ("1x7 == [1, 7]", True),
        ("min(3, 1, 2)", 1),
        ("max([3, 1, 2])", 3),
        ("abs(-3)", 3),
        ("round(2.6)", 3),
        ("round(3.14159, 2)", 3.14),
        ("floor(2.7)", 2),
        ("ceil(2.1)", 3),
        ("sum([1, 2, 3])", 6),
        ("sum([])", 0),
        ("len([1, 2])", 2),
        ("len(3x4x5)", 3),
        ("range(3)", [0, 1, 2]),
        ("range(1, 4)", [1, 2, 3]),
        ("range(4, 0, -2)", [4, 2]),
        ("divisible(30, 8)", 32),
        ("divisible(12, 8)", 16),
        ("divisible(10.9, 8)", 16),
        ("divisible(3)", 8),
        ("image.channels + image.height * image.width", 8 + 256),
        ("image.shape", Shape((8, 16, 16))),
        ("image.shape[0]", 8),
        ("image.rank", 3 - 1),
        ("flow.channels", 8),
    ],
)
def test_expressions(expression: str, expected: Any) -> None:
    found = value(expression)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("1 < 2 < 3", "E101"),
        ("5x", "E101"),
        ("1.", "E101"),
        (".5", "E101"),
        ("3X3", "E101"),
        ("[,]", "E101"),
        ("()", "E101"),
        ("1 if true", "E101"),
        ("'a'", "E101"),
        ("1 && 2", "E101"),
        ('"a', "E103"),
        ("nothing", "E204"),
        ("True", "E204"),
        ("in.channels", "E204"),
        ("image.depth", "E206"),
        ("image.breadth", "E206"),
        ("(1).channels", "E206"),
        ("nothing(3)", "E207"),
        ("abs(1, 2)", "E208"),
        ("min(a=1)", "E208"),
        ("min([])", "E208"),
        ("range(1.5)", "E208"),
        ("divisible(3, 0)", "E208"),
        ("1 + true", "E211"),
        ('1 + "a"', "E211"),
        ("-true", "E211"),
        ("1 < image", "E211"),
        ("image == image", "E211"),
        ("3[0]", "E211"),
        ("[1][0.5]", "E212"),
        ("(3 / 2)x3", "E212"),
        ("not 1", "E213"),
        ("1 and true", "E213"),
        ("1 if 1 else 2", "E213"),
        ("1 / 0", "E214"),
        ("1 // 0", "E214"),
        ("1 % 0", "E214"),
        ("range(0, 3, 0)", "E214"),
        ("[1][1]", "E215"),
        ("2 ** 63", "E602"),
        ("9223372036854775808", "E602"),
        ("1e400", "E602"),
        ("1e308 * 10", "E602"),
        ("0 ** -1", "E602"),
        ("(-8) ** 0.5", "E602"),
        ("range(1_000_000)", "E604"),
        ("[0] * 1_000_000", "E604"),
    ],
)
def test_expressions_that_have_no_value(expression: str, code: str) -> None:
    assert [p.split()[0] for p in refused(f"let result = {expression}\nrelu")] == [code]


def test_a_float_where_a_whole_number_is_needed_is_told_at_that_place() -> None:
    assert refused("conv(9 / 2, 3x3)") == ["E212 1:6"]
    assert built("conv(8 / 2, 3x3)") == ["conv1 conv 4x14x14"]
    assert refused("repeat 3 / 2 { relu }") == ["E212 1:8"]


def test_let() -> None:
    assert built("let a = w + 1\nlet b = a * 2\nconv(b, 1x1)", before="let w = 3") == ["conv1 conv 8x16x16"]
    assert told("let a = b\nlet b = 3\nnetwork Net { input x: 3x4x4; conv(a, 1x1) }") == ["E204 1:9"]
    # Definitions of a file may stand in any order for the bodies that use them.
    assert told("network Net { input x: 3x4x4; Stem(w) }\nblock Stem(n) { conv(n, 1x1) }\nlet w = 3") == []


# ------------------------------------------------------------------------------------------------------------------------- 2. flow


def test_flow() -> None:
    assert built("conv(4, 3x3) -> relu\nmaxpool(2x2)") == ["conv1 conv 4x14x14", "relu1 relu 4x14x14", "maxpool1 maxpool 4x7x7"]
    found = checked(network("a = conv(4, 3x3)\nb = image -> conv(2, 3x3)\na\nconv(3, 1x1)\nconcat { flow; b }"))
    assert layers(found)[-1] == "concat1 concat 5x14x14"
    assert built("y = image\ny -> relu") == ["relu1 relu 8x16x16"]


def test_split() -> None:
    assert built("a, b = split([6, 2])\nrelu\nconcat { b; flow }") == [
        "split1 split 6x16x16",
        "relu1 relu 6x16x16",
        "concat1 concat 8x16x16",
    ]
    found = checked(network("a, b = split([6, 2])\nb -> relu"))
    assert found.graph.shape(found.graph.names["b"]) == (2, 16, 16)
    assert built("part[0], part[1] = split([4, 4])\npart[1] -> relu")[-1] == "relu1 relu 4x16x16"
    assert refused("a, b = split([4, 2, 2])") == ["E217 1:1"]
    assert refused("a, b = relu") == ["E217 1:1"]
    assert refused("a, a = split([4, 4])") == ["E203 1:4"]


def test_inputs() -> None:
    two = "input left: 4x8x8\ninput right: 4x8x8"
    assert built("left -> relu\nconcat { flow; right }", inputs=two) == ["relu1 relu 4x8x8", "concat1 concat 8x8x8"]
    assert refused("relu\nleft -> relu\nconcat { flow; right }", inputs=two) == ["E210 2:1"]
    assert told(network("relu", inputs="")) == ["E505 2:9"]
    assert refused("relu", inputs="input x: 3x0x3") == ["E216 0:10"]
    assert [p.split()[0] for p in refused("for i in 0..2 { input other: 3x4x4 }\nimage -> relu")] == ["E203"]
    assert refused("{ input other: 3x4x4 }") == ["E504 1:3"]


def test_outputs() -> None:
    def outputs(body: str) -> list[tuple[str | None, str]]:
        graph = checked(network(body)).graph
        return [(o.name, graph.nodes[o.ref.node].path) for o in graph.outputs]

    assert outputs("relu") == [(None, "relu1")]
    assert outputs("output y = relu") == [("y", "y")]
    assert outputs("output y = relu\noutput z = tanh") == [("y", "y"), ("z", "z")]
    assert outputs("a = relu\nb = tanh\noutput a\noutput b") == [("a", "a"), ("b", "b")]
    assert outputs("relu\noutput y") == [("y", "relu1")]
    assert outputs("if true { output y = relu } else { output y = tanh }") == [("y", "y")]
    assert refused("output y = relu\noutput y = tanh") == ["E203 2:8"]
    assert refused("output relu") == ["E203 1:8"]
    assert refused("let n = 3\noutput n") == ["E203 2:8"]
    assert refused("{ output y = relu }") == ["E504 1:3"]
    assert told("network Net {\ninput a: 3x4x4\ninput b: 3x4x4\n}") == ["E509 1:9"]


def test_heads() -> None:
    found = checked(
        network("head aux(weight=0.3) { conv(2, 1x1) -> flatten -> linear(3) }\nrelu\nexpect params == 0\nexpect aux.params == 1_557")
    )
    assert layers(found)[-1] == "relu1 relu 8x16x16"
    assert found.totals.params == 0 and found.totals.aux_params == 18 + 2 * 256 * 3 + 3
    assert found.totals.layers == 1 and [h.weight for h in found.graph.heads] == [0.3]
    assert [h.weight for h in checked(network("head a(0.5) { relu }\nhead b { in -> relu }")).graph.heads] == [0.5, None]
    assert paths("for i in 0..2 { conv(3, 1x1); head aux { relu } }") == ["conv1", "aux[0].relu1", "conv2", "aux[1].relu1"]
    assert refused("head aux(weight=-1) { relu }") == ["E209 1:10"]
    assert refused("head aux(0.3, 0.4) { relu }") == ["E208 1:15"]
    assert refused("head aux { }") == ["E507 1:1"]
    assert refused("head aux { relu }\naux -> tanh") == ["E202 2:1"]
    assert refused("head aux { relu }\noutput aux") == ["E202 2:8"]
    assert refused("{ head aux { relu } }") == ["E504 1:3"]
    assert refused("head aux { head more { relu } }") == ["E504 1:12"]


def test_modules() -> None:
    block = "block Pair(n) { conv(n, 1x1) -> conv(8, 1x1) }"
    assert built("module f = conv(8, 1x1)\nf -> relu -> f") == ["f conv 8x16x16", "relu1 relu 8x16x16", "f@2 conv 8x16x16 ~f"]
    found = checked(network("module f = Pair(4)\nadd { f; f -> relu }\nf", before=block))
    assert found.totals.params == 36 + 40
    assert layers(found)[-1] == "f@3.conv2 conv 8x16x16 ~f.conv2"
    assert built("for i in 0..2 { module f = conv(8, 1x1); f -> f }")[2] == "f[1] conv 8x16x16"
    assert built("module f = conv(8, 1x1)\ny = f\nz = f")[1] == "f@2 conv 8x16x16 ~f"
    assert [p.split()[0] for p in refused("module f = conv(4, 1x1)\nf -> f")] == ["E312"]
    shape_dependent = "block Odd { if in.height > 10 { maxpool(2x2) -> conv(8, 1x1) } else { conv(8, 1x1) } }"
    assert [p.split()[0] for p in refused("module f = Odd\nf -> f", before=shape_dependent)] == ["E312"]
    assert refused("module f = image") == ["E202 1:12"]
    assert refused("module f = concat") == ["E202 1:12"]
    assert refused("module f = Pair\nf", before=block) == ["E208 1:1"]
    assert refused("module f = relu\nf(3)") == ["E202 2:1"]


def test_a_module_is_what_it_was_where_it_was_declared() -> None:
    assert checked(network("module f = conv(8, 1x1)\nf\ndefault conv(bias=false)\nf")).totals.params == 72


def test_defaults() -> None:
    def params(body: str, **more: Any) -> list[int]:
        found = checked(network(body, **more))
        return [found.facts[n.id].params for n in found.graph.layers if n.op == "conv"]

    assert params("conv(8, 1x1)\ndefault conv(bias=false)\nconv(8, 1x1)\n{ conv(8, 1x1) }") == [72, 64, 64]
    assert params("default conv(bias=false)\nOne", before="block One { conv(8, 1x1) }") == [72]
    assert params("{ default conv(bias=false); conv(8, 1x1) }\nconv(8, 1x1)") == [64, 72]
    assert params("default conv(bias=false)\ndefault conv(pad=same)\ndefault conv(bias=true)\nconv(8, 3x3)") == [584]
    assert params("default conv(bias=false)\nconv(8, 1x1, bias=true)") == [72]
    assert built("default conv(pad=same)\nconv(4, 3x3)\nrepeat 2 { conv(4, 3x3) }\nadd { conv(4, 3x3); flow }")[-1] == "add1 add 4x16x16"
    assert built("default conv(out=4, size=1x1)\nconv")[-1] == "conv1 conv 4x16x16"
    assert refused("default conv(8)") == ["E208 1:14"]
    assert refused("default conv(wide=8)") == ["E208 1:14"]
    assert refused("default convv(bias=false)") == ["E201 1:9"]
    assert refused("default One(n=3)", before="block One(n) { conv(n, 1x1) }") == ["E201 1:9"]
    # A wrong default is one mistake, however many layers take it.
    assert refused("default conv(bias=3)\nconv(8, 1x1)\nimage -> conv(8, 1x1)") == ["E209 1:14"]


# ----------------------------------------------------------------------------------------------------------------------- 2. merges


def test_merges() -> None:
    assert built("concat { relu; conv(4, 1x1); image }")[-1] == "concat1 concat 20x16x16"
    assert built("add { identity; conv(8, 1x1); relu -> tanh }")[-1] == "add1 add 8x16x16"
    assert built("mul { identity; global_avgpool -> sigmoid }")[-1] == "mul1 mul 8x16x16"
    assert built("add { global_avgpool; identity }")[-1] == "add1 add 8x16x16"
    assert built("add { image; image }") == ["add1 add 8x16x16"]
    assert built("concat { { relu; conv(4, 1x1) }\n tanh }")[-1] == "concat1 concat 12x16x16"
    assert built("concat { concat { relu; tanh }; sigmoid }")[-1] == "concat2 concat 24x16x16"
    assert built("concat { a = relu; b = a -> tanh }\nconv(2, 1x1)")[1] == "b tanh 8x16x16"
    assert built("concat { let n = 2; conv(n, 1x1); default conv(bias=false); conv(n, 1x1) }")[-1] == "concat1 concat 4x16x16"
    assert refused("concat { relu; global_avgpool }") == ["E310 1:1"]
    assert refused("add { relu; conv(4, 1x1) }") == ["E311 1:1"]
    assert refused("add { relu; maxpool(2x2) }") == ["E311 1:1"]
    assert refused("add") == ["E202 1:1"]
    assert refused("add(2) { relu; tanh }") == ["E208 1:5"]
    assert refused("relu { tanh }") == ["E202 1:6"]


def test_conditions_and_loops_in_merges() -> None:
    assert built("add { if false { relu }; tanh }") == ["tanh1 tanh 8x16x16"]
    assert built("add { if true { relu }; tanh }")[-1] == "add1 add 8x16x16"
    assert built("add { if false { relu } else { sigmoid }; tanh }")[0] == "sigmoid1 sigmoid 8x16x16"
    assert built("concat { for n in [1, 2, 3] { conv(n, 1x1) } }")[-1] == "concat1 concat 6x16x16"
    assert built("concat { repeat 3 { conv(2, 1x1) } }")[-1] == "concat1 concat 6x16x16"
    assert built("concat { relu }") == ["relu1 relu 8x16x16"]
    assert refused("concat { }") == ["E507 1:1"]
    assert refused("concat { if false { relu } }") == ["E507 1:1"]
    assert refused("concat { for n in [] { relu } }") == ["E507 1:1"]


# ---------------------------------------------------------------------------------------------------------- 2. repetition, choice


def test_loops() -> None:
    assert len(built("repeat 3 { relu }")) == 3
    assert told(network("repeat 0 { relu }")) == []
    assert [line.split()[2] for line in built("for n in [4, 2] { conv(n, 1x1) }")] == ["4x16x16", "2x16x16"]
    assert [line.split()[2] for line in built("for i, n in [4, 2] { conv(n + i, 1x1) }")] == ["4x16x16", "3x16x16"]
    assert [line.split()[2] for line in built("for i, (a, b) in [(1, 2), (3, 4)] { conv(a * b + i, 1x1) }")] == ["2x16x16", "13x16x16"]
    assert [line.split()[2] for line in built("for (a, b) in [(1, 2)] { conv(a + b, 1x1) }")] == ["3x16x16"]
    assert [line.split()[2][0] for line in built("for n in 1..4 { conv(n, 1x1) }")] == ["1", "2", "3"]
    assert [line.split()[2][0] for line in built("for n in 4..0 by -1 { conv(n, 1x1) }")] == ["4", "3", "2", "1"]
    assert [line.split()[2][0] for line in built("for n in 1..8 by 3 { conv(n, 1x1) }")] == ["1", "4", "7"]
    assert built("for n in 4..0 { conv(n, 1x1) }\nrelu") == ["relu1 relu 8x16x16"]
    assert [line.split()[1] for line in built("for op in [relu, tanh] { op }")] == ["relu", "tanh"]
    assert refused("repeat -1 { relu }") == ["E218 1:8"]
    assert refused("repeat true { relu }") == ["E212 1:8"]
    assert refused("for i in 3 { relu }") == ["E211 1:10"]
    assert refused("for i in 0..4 by 0 { relu }") == ["E214 1:18"]
    assert refused("for i, j, k in [1] { relu }") == ["E217 1:11"]
    assert refused("for (a, b) in [(1, 2), (3, 4, 5)] { relu }") == ["E217 1:24"]
    assert refused("for a, a in [1] { relu }") == ["E203 1:8"]


def test_conditions() -> None:
    assert built("if image.channels == 8 { relu } else { tanh }") == ["relu1 relu 8x16x16"]
    assert built("if false { relu } else if true { tanh } else { sigmoid }") == ["tanh1 tanh 8x16x16"]
    assert built("if false { relu }\nsigmoid") == ["sigmoid1 sigmoid 8x16x16"]
    assert refused("if image.channels { relu }") == ["E213 1:4"]
    # The side that is not taken is never looked at: it may not fit.
    assert built("if true { relu } else { linear(nothing) }") == ["relu1 relu 8x16x16"]


# -------------------------------------------------------------------------------------------------------------------- 2. names


def test_scopes_of_names() -> None:
    assert refused("{ y = relu }\ny") == ["E201 2:1"]
    assert refused("if true { y = relu }\ny") == ["E201 2:1"]
    assert refused("for i in 0..2 { y = relu }\ny") == ["E201 2:1"]
    assert refused("part = { y = relu }\ny") == ["E201 2:1"]
    assert refused("concat { y = relu; tanh }\ny") == ["E201 2:1"]
    assert refused("repeat 2 { let n = 2 }\nconv(n, 1x1)") == ["E204 2:6"]
    assert built("for i in 0..2 { let n = i + 1; conv(n, 1x1) }\nlet n = 5\nconv(n, 1x1)")[-1] == "conv3 conv 5x16x16"
    assert refused("Stem", before="block Stem { image -> relu }") == ["E201 -2:14"]


def test_indexed_names() -> None:
    assert built("for i in 0..2 { skip[i] = conv(i + 1, 1x1) }\nskip[0] -> relu")[-1] == "relu1 relu 1x16x16"
    assert built("for i in 0..2 { for j in 0..2 { x[i][j] = conv(1 + i + j, 1x1) } }\nx[0][1] -> relu")[-1] == "relu1 relu 2x16x16"
    assert built("if true { y[0] = relu } else { y[0] = tanh }\ny[0] -> tanh")[-1] == "tanh1 tanh 8x16x16"
    assert refused("y[0] = relu\ny[0] = tanh") == ["E203 2:1"]
    assert refused("y = relu\ny[0] = tanh") == ["E203 2:1"]
    assert refused("y[0] = relu\ny = tanh") == ["E203 2:1"]
    assert refused("y[0] = relu\ny") == ["E205 2:1"]
    assert refused("y[0] = relu\ny[1]") == ["E205 2:1"]
    assert refused("y[0][1] = relu\ny[0]") == ["E205 2:1"]
    assert refused("y[1.5] = relu") == ["E212 1:3"]
    assert refused("y[-1] = relu") == ["E215 1:3"]
    # Those of a block, a head or a body with a name stay inside.
    assert refused("part = { y[0] = relu }\ny[0]") == ["E201 2:1"]
    assert built("One -> One", before="block One { y[0] = relu; y[0] -> tanh }")[-1] == "one2.tanh1 tanh 8x16x16"


def test_properties_of_values() -> None:
    block = "block Half(r = 2) { conv(in.channels // r, in.height - 15) }"
    assert built("Half", before=block) == ["half1.conv1 conv 4x16x16"]
    assert built("y = conv(4, 3x3)\nconv(y.channels + flow.width, 1x1)") == ["y conv 4x14x14", "conv1 conv 18x14x14"]
    assert refused("conv(in.channels, 1x1)") == ["E204 1:6"]
    assert refused("flatten\nconv(flow.height, 1x1)") == ["E206 2:6"]
    assert built("flatten -> linear(flow.features // 2)")[-1] == "linear1 linear 1024"


@pytest.mark.parametrize(
    "statement",
    [
        "{} = relu",
        "let {} = 3",
        "module {} = relu",
        "for {} in 0..2 {{ relu }}",
        "head {} {{ relu }}",
        "output {} = relu",
        "a, {} = split([4, 4])",
    ],
)
@pytest.mark.parametrize("name", ["conv", "image", "Stem", "y", "w", "for", "flow"])
def test_names_that_are_taken(statement: str, name: str) -> None:
    statement = statement.format(name)
    told_here = [p.split()[0] for p in refused(f"y = relu\n{statement}", before="let w = 3; block Stem { relu }")]
    assert told_here == (["E101"] if statement == "for = relu" else ["E203"])


def test_parameters_are_names_too() -> None:
    assert told("block B(relu) { tanh }\nnetwork Net { input x: 3x4x4; B(3) }") == ["E203 1:9"]
    assert told("block B(a, a) { tanh }\nnetwork Net { input x: 3x4x4; tanh }") == ["E203 1:12"]
    assert told("let w = 3\nnetwork Net(w = 4) { input x: 3x4x4; tanh }") == ["E203 2:13"]


def test_layer_paths() -> None:
    assert paths("conv(4, 1x1)\nrelu\nconv(4, 1x1) -> relu") == ["conv1", "relu1", "conv2", "relu2"]
    assert paths("repeat 2 { conv(4, 1x1) }\n{ conv(4, 1x1) }\nadd { conv(4, 1x1); flow }\nif true { conv(4, 1x1) }") == [
        "conv1", "conv2", "conv3", "conv4", "add1", "conv5",
    ]  # fmt: skip
    assert paths("for i in 0..2 { stage[i] = { Two; Two } }", before="block Two { conv(8, 1x1) -> relu }")[4:] == [
        "stage[1].two1.conv1", "stage[1].two1.relu1", "stage[1].two2.conv1", "stage[1].two2.relu1",
    ]  # fmt: skip
    assert paths("SqueezeExcite(4)", before="from std.attention import SqueezeExcite")[0] == "squeeze_excite1.identity1"
    assert paths("for i in 0..2 { y = relu }") == ["y[0]", "y[1]"]
    assert paths("relu6\nrelu6") == ["relu6_1", "relu6_2"]


def test_the_layer_that_has_a_pipelines_name() -> None:
    assert paths("fc6 = flatten -> linear(4) -> relu") == ["fc6.flatten1", "fc6", "fc6.relu1"]
    assert paths("y = relu") == ["y"]
    assert paths("y = relu -> tanh") == ["y", "y.tanh1"]
    assert paths("y = relu -> maxpool(2x2)") == ["y.relu1", "y"]
    assert paths("y = conv(4, 1x1) -> batchnorm") == ["y.conv1", "y.batchnorm1"]
    assert paths("y = One", before="block One { conv(8, 1x1) }") == ["y.conv1"]
    assert paths("y = image -> One", before="block One { conv(8, 1x1) }") == ["y.conv1"]
    assert paths("y = relu -> One", before="block One { conv(8, 1x1) }") == ["y.relu1", "y.one1.conv1"]
    assert paths("y = concat { relu; tanh }") == ["y.relu1", "y.tanh1", "y"]
    assert paths("y = { relu; conv(4, 1x1) }") == ["y.relu1", "y.conv1"]
    assert paths("output y = flatten -> linear(3) -> softmax") == ["y.flatten1", "y", "y.softmax1"]


def test_a_written_name_is_never_moved_by_an_unnamed_layer() -> None:
    assert paths("conv(4, 1x1)\nconv1 = conv(4, 1x1)\nconv(4, 1x1)") == ["conv2", "conv1", "conv3"]


def test_paths_stay_when_a_condition_changes() -> None:
    body = "if {} {{ conv(8, 1x1) }}\nconv(8, 1x1)\nif {} {{ conv(8, 1x1) }} else {{ identity }}\nconv(8, 1x1)"
    assert paths(body.format("true", "true")) == ["conv1", "conv2", "conv3", "conv4"]
    assert paths(body.format("false", "false")) == ["conv2", "identity1", "conv4"]


@pytest.mark.parametrize("spec", ["alexnet", "vgg", "googlenet", "resnet"])
def test_a_line_without_weights_moves_no_path(spec: str) -> None:
    """Wherever an unrelated line goes in, the layers with weights keep their names, which are those of their state."""

    def weighted(text: str) -> list[str]:
        found = analyse(Source("t.cnn", text, specs_dir() / "t.cnn"), Options(), read_import)
        assert isinstance(found, Checked) and not found.errors
        return [n.path for n in found.graph.layers if found.facts[n.id].params]

    lines = (specs_dir() / f"{spec}.cnn").read_text(encoding="utf-8").splitlines(keepends=True)
    places = [k for k, line in enumerate(lines) if re.match(r"  \w+(: \w+)? = ", line)]
    assert places
    before = weighted("".join(lines))
    assert len(set(before)) == len(before)
    for at in places[:8]:
        assert weighted("".join([*lines[:at], "  identity -> relu\n", *lines[at:]])) == before


# -------------------------------------------------------------------------------------------------------------------- 2. blocks


def test_blocks_and_their_parameters() -> None:
    block = "block B(n, m = n * 2, op = relu) { conv(n, 1x1) -> op -> conv(m, 1x1) }"
    assert built("B(3)", before=block) == ["b1.conv1 conv 3x16x16", "b1.relu1 relu 3x16x16", "b1.conv2 conv 6x16x16"]
    assert built("B(3, op=tanh, m=1)", before=block)[1:] == ["b1.tanh1 tanh 3x16x16", "b1.conv2 conv 1x16x16"]
    assert refused("B", before=block) == ["E208 1:1"]
    assert refused("B(1, 2, relu, 4)", before=block) == ["E208 1:15"]
    assert refused("B(1, k=2)", before=block) == ["E208 1:6"]
    assert refused("B(1, n=2)", before=block) == ["E208 1:6"]
    assert refused("B(image)", before=block) == ["E209 1:3"]
    assert told("block B(a = b, b = 3) { conv(a, 1x1) }\nnetwork Net { input x: 3x4x4; B }") == ["E204 1:13"]


def test_blocks_and_ops_as_arguments() -> None:
    blocks = "block A(n) { conv(n, 1x1) }; block Twice(unit, n) { unit(n) -> unit(n) }"
    assert paths("Twice(A, 4)", before=blocks) == ["twice1.a1.conv1", "twice1.a2.conv1"]
    assert told("block A { relu }\nblock B { A }\nnetwork Net(u = B) { input x: 3x4x4; u }") == []
    assert refused("Twice(relu, 3)", before=blocks) == ["E208 -2:58"]


def test_blocks_do_not_recurse() -> None:
    assert told("block A { B }\nblock B { A }\nnetwork Net { input x: 3x4x4; A }") == ["E508 2:11"]
    assert told("block A(u) { u(u) }\nnetwork Net { input x: 3x4x4; A(A) }") == ["E508 1:14"]


def test_one_mistake_in_a_block_is_told_once() -> None:
    assert refused("repeat 9 { image -> Bad }", before="block Bad { conv(4, 99x99) }") == ["E301 -2:21"]
    assert refused("repeat 9 { image -> Bad }", before="block Bad { conv(wide, 3x3) }") == ["E204 -2:18"]


def test_a_failed_layer_hides_and_invents_nothing() -> None:
    assert refused("y: 3x3x3 = conv(4, 99x99)\nadd { y; relu }\nlinear(3)\nexpect params == 1\nimage -> linear(4)") == [
        "E301 1:20",
        "E305 5:10",
    ]


# ----------------------------------------------------------------------------------------------------- 2. variants and parameters


FAMILY = """
block A(n) { conv(n, 1x1) }
block B(n) { conv(n, 3x3) }
network Net(unit = A, n = 3, m = n * 2, bias = true) { input x: 3x8x8; unit(n); conv(m, 1x1, bias=bias) }
network Wide = Net(n=5)
network WideB = Wide(B)
"""


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("Net", ["3x8x8", "6x8x8"]),
        ("Wide", ["5x8x8", "10x8x8"]),
        ("WideB", ["5x6x6", "10x6x6"]),
        (None, ["5x6x6", "10x6x6"]),
    ],
)
def test_variants(name: str | None, shapes: list[str]) -> None:
    assert [line.split()[2] for line in layers(checked(FAMILY, network=name))] == shapes


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({"texts": {"n": "4"}}, ["4x8x8", "8x8x8"]),
        ({"texts": {"n": "2 * 4", "m": "1"}}, ["8x8x8", "1x8x8"]),
        ({"texts": {"unit": "B"}}, ["3x6x6", "6x6x6"]),
        ({"parameters": {"n": 4}}, ["4x8x8", "8x8x8"]),
        ({"inputs": {None: Shape((3, 4, 4))}}, ["3x4x4", "6x4x4"]),
        ({"inputs": {"x": Shape((3, 4, 4))}}, ["3x4x4", "6x4x4"]),
    ],
)
def test_options(options: dict[str, Any], shapes: list[str]) -> None:
    assert [line.split()[2] for line in layers(checked(FAMILY, network="Net", **options))] == shapes


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"network": "Nett"}, ["E511 1:1"]),
        ({"texts": {"wide": "4"}}, ["E208 4:9"]),
        ({"texts": {"n": "[1"}}, ["E102 1:3"]),
        ({"texts": {"n": "1 2"}}, ["E101 1:3"]),
        ({"texts": {"n": "four"}}, ["E204 1:1"]),
        ({"texts": {"bias": "3"}}, ["E209 4:94"]),
        ({"parameters": {"n": object()}}, ["E209 4:9"]),
        ({"inputs": {"y": Shape((3, 4, 4))}}, ["E506 4:9"]),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], expected: list[str]) -> None:
    assert told(FAMILY, **{"network": "Net", **options}) == expected


def test_lists_given_from_python() -> None:
    text = "network Net(depths) { input x: 3x4x4; for d in depths { repeat d { relu } } }"
    assert len(checked(text, parameters={"depths": (1, 2)}).graph.layers) == 3
    assert told(text) == ["E512 1:13"]


def test_variants_that_do_not_hold() -> None:
    assert told("network A = B") == ["E511 1:13"]
    assert told("network A = A") == ["E508 1:13"]
    assert told("network A = B\nnetwork B = A") == ["E508 2:13"]
    base = "network N(w) { input x: 3x4x4; conv(w, 1x1) }\n"
    assert told(base + "network A = N") == ["E208 2:1"]
    assert told(base + "network A = N(1, 2)") == ["E208 2:18"]
    assert told(base + "network A = N(v=2)") == ["E208 2:15"]
    assert networks(Source("t", base + "network A = N(1)")) == ["N", "A"]


# -------------------------------------------------------------------------------------------------------------------- 2. imports


def project(folder: Path, /, **files: str) -> Any:
    """A project with some files; gives a function that compiles one of them."""
    (folder / "pyproject.toml").touch()
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".cnn")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def compile(name: str, **options: Any) -> Checked | tuple[Diagnostic, ...]:
        source = read_file(folder / f"{name}.cnn", f"{name}.cnn")
        assert isinstance(source, Source)
        return analyse(source, Options(**options), read_import)

    return compile


NET = "network Net { input x: 3x8x8; A }"


def test_imports(tmp_path: Path) -> None:
    compile = project(
        tmp_path,
        blocks="let w = 5\nblock A { conv(w, 1x1) }\nnetwork M(n = 3) { input x: 3x4x4; conv(n, 1x1) }",
        plain=f'from "blocks.cnn" import A\n{NET}',
        renamed='from "blocks.cnn" import A as Q, w as five\nnetwork Net { input x: 3x8x8; Q; conv(five, 1x1) }',
        variant='from "blocks.cnn" import M\nnetwork Net = M(7)',
        sub__inner=f'from "../blocks.cnn" import A\n{NET}',
        std="from std.residual import BasicBlock\nnetwork Net { input x: 3x8x8; BasicBlock(3) }",
        bundled='from "nothing.cnn" import Z\nfrom std.residul import Y\nfrom "blocks.cnn" import AA\n' + NET,
    )
    for name in ("plain", "sub/inner", "std"):
        assert problems(compile(name)) == [], name
    assert [n.path for n in compile("renamed").graph.layers] == ["a1.conv1", "conv1"]
    assert layers(compile("variant")) == ["conv1 conv 7x4x4"]
    assert layers(compile("plain", network="Net")) == ["a1.conv1 conv 5x8x8"]
    # Each import that fails is one mistake; what it would have bound is not missed. `A` is, here.
    assert problems(compile("bundled")) == ["E501 1:6", "E501 2:6", "E503 3:26", "E201 4:31"]


def test_imports_stay_in_the_project(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "other.cnn").write_text("block A { relu }")
    inside = tmp_path / "project"
    inside.mkdir()
    (inside / "link.cnn").symlink_to(outside / "other.cnn")
    compile = project(
        inside,
        up=f'from "../outside/other.cnn" import A\n{NET}',
        absolute=f'from "{outside}/other.cnn" import A\n{NET}',
        linked=f'from "link.cnn" import A\n{NET}',
        folder=f'from "." import A\n{NET}',
    )
    for name in ("up", "absolute", "linked", "folder"):
        assert problems(compile(name)) == ["E501 1:6"], name


def test_imports_in_a_circle(tmp_path: Path) -> None:
    compile = project(
        tmp_path,
        own='from "own.cnn" import A\nblock B { relu }\nnetwork Net { input x: 3x8x8; A }',
        one='from "two.cnn" import B\nblock A { B }\nnetwork Net { input x: 3x8x8; A }',
        two='from "one.cnn" import A\nblock B { relu }',
        diamond='from "left.cnn" import L\nfrom "right.cnn" import R\nnetwork Net { input x: 3x8x8; L; R }',
        left='from "base.cnn" import Z\nblock L { Z }',
        right='from "base.cnn" import Z\nblock R { Z }',
        base="block Z { relu }",
    )
    assert problems(compile("own")) == ["E502 1:6"]
    found = compile("one")
    assert [(p.code, p.at.span.source.name) for p in found.problems] == [("E502", "two.cnn")]
    assert problems(compile("diamond")) == []


def test_errors_in_imported_files_are_told_there(tmp_path: Path) -> None:
    compile = project(
        tmp_path,
        blocks="block A {\n conv(3, 99x99) }\n",
        bad="block A { relu relu }\n",
        net=f'from "blocks.cnn" import A\n{NET}',
        other=f'from "bad.cnn" import A, B\n{NET}',
    )
    (problem,) = compile("net").problems
    assert (problem.at.span.source.name, problem.at.span.line) == ("blocks.cnn", 2)
    assert [label.span.source.name for label in problem.also] == ["net.cnn", "net.cnn"]
    assert problems(compile("other")) == ["E101 1:16"]


def test_text_that_stands_alone_imports_nothing() -> None:
    found = analyse(Source("<text>", f'from "blocks.cnn" import A\n{NET}'))
    assert problems(found) == ["E501 1:6"]


# ---------------------------------------------------------------------------------------------------------- 3., 4. reserved words


def test_placement_and_training_are_reserved() -> None:
    body = "towers on gpu[0], gpu[1] {\n conv1 = conv(4, 3x3)\n exchange\n}\nconv1 -> relu\non gpu[0] { y = relu }\ny -> tanh\nlinear(3)"
    assert refused(body) == ["E801 1:1", "E801 6:1"]
    train = """
train Net {
  loss      = cross_entropy
  optimizer = sgd(lr=0.01, momentum=0.9, weight_decay=5e-4)
  data      = folder("imagenet")
  augment   = [resize(256), random_crop(227), hflip, color_jitter(0.1)]
  regularize conv*, fc*: l2(5e-4)
  freeze    conv1..conv5
}
"""
    assert told("network Net { input x: 3x4x4; relu }" + train) == ["E801 2:1"]
    for name in ("towers", "on", "exchange", "train"):
        assert refused(f"let {name} = 3") == ["E203 1:5"]
