"""The checker: what is stated and does not hold, what is lost or never used, counts, depth and receptive fields."""

from __future__ import annotations

import time
from typing import Any

import pytest

import cnnc
from cnnc.check import Checked
from cnnc.check.facts import Field
from cnnc.compiler import Options, analyse
from cnnc.diagnostics.model import Severity
from cnnc.reading import read_import
from cnnc.source import Source
from test_language import checked, network, refused, run, told


def warned(body: str, **more: Any) -> list[str]:
    """The problems of a network with this body, as `W301 1:5`, none of which is an error."""
    found = run(network(body, **more))
    assert isinstance(found, Checked) and not found.errors
    return [f"{p.code} {p.at.span.line - 3}:{p.at.span.column}" for p in found.problems]


def receptive(found: Checked, path: str) -> list[tuple[int, int | None]]:
    """Size and effective stride of the receptive field of a layer, axis by axis."""
    (node,) = [n for n in found.graph.nodes if n.path == path]
    field: Field = found.facts[node.id].field
    assert isinstance(field, tuple)
    return [(e.size, None if e.jump is None else int(e.jump)) for e in field]


# ------------------------------------------------------------------------------------------------------------------------ expect


@pytest.mark.parametrize(
    "fact",
    [
        "params == 292",
        "292 == params",
        "params != 0.3K",
        "params < 1K",
        "params <= 292",
        "params > 0.2K",
        "params >= 292",
        "params == 4 * (8 * 9 + 1)",
        "macs == 14 * 14 * 4 * 72",
        "layers == 2",
        "depth == 1",
        "buffers == 0",
        "ops > 0",
        "memory < 1M",
        "receptive_field == 3",
        "y.params == 292",
        "y.macs == 56_448",
        "y.shape == 4x14x14",
        "y.shape != 4x14x15",
        "y.channels == 4",
        "y.height == y.width",
        "y.receptive_field == 3",
        "y.layers == 1",
        "image.channels == 8",
        "min(params, macs) == params",
    ],
)
def test_facts_that_hold(fact: str) -> None:
    assert refused(f"y = conv(4, 3x3)\nrelu\nexpect {fact}") == []


@pytest.mark.parametrize(
    ("fact", "code", "words"),
    [
        ("params == 300", "E403", "`params` is 292, 8 fewer than 300"),
        ("params == 290", "E403", "`params` is 292, 2 more than 290"),
        ("300 == params", "E403", "`params` is 292, 8 fewer than 300"),
        ("params > 1K", "E403", "`params` is 292, so `params > 1K` does not hold"),
        ("y.params == macs", "E403", "`y.params` is 292 and `macs` is 56_448, so `y.params == macs` does not hold"),
        ("y.shape == 4x15x15", "E403", "`y.shape` is 4x14x14, not 4x15x15"),
        ("1 == 2", "E403", "`1 == 2` is false"),
        ("parms == 3", "E204", "`parms` is no fact and no name"),
        ("z.params == 3", "E204", "`z` is no fact and no name"),
        ("params", "E401", "`expect` compares a fact with a number"),
        ("params == 292 and macs == 1", "E401", "`expect` compares a fact with a number"),
        ("params == true", "E401", "but this is true"),
        ("y == 3", "E401", "but this is a value of the network (`y`)"),
        ("y.shape < 4x15x15", "E401", "cannot be compared with `<`"),
        ("y.memory == 3", "E401", "`memory` is a fact of the whole network"),
        ("y.depth == 3", "E206", "has no depth"),
        ("params == 1 / 0", "E214", "division by zero"),
    ],
)
def test_facts_that_do_not_hold(fact: str, code: str, words: str) -> None:
    found = run(network(f"y = conv(4, 3x3)\nrelu\nexpect {fact}"))
    assert isinstance(found, Checked)
    (problem,) = found.problems
    assert problem.code == code and words in problem.headline, problem.headline
    assert problem.at.span.line == 6


def test_the_number_that_was_found_is_offered() -> None:
    found = run(network("y: 4x4x4 = conv(4, 3x3)\nexpect params == 300"))
    assert isinstance(found, Checked)
    assert [(p.fixes[0].edits[0].span.text, p.fixes[0].edits[0].text) for p in found.problems] == [("4x4x4", "4x14x14"), ("300", "292")]


def test_facts_of_parts() -> None:
    block = "block Two(n) { y = conv(n, 1x1); conv(8, 1x1); expect params == 17 * n + 8; expect layers == 2; expect y.params == 9 * n }"
    assert refused("Two(2)\nTwo(4)", before=block) == []
    # The fact of a block that does not hold is told once, with the use of it that shows it.
    found = run(network("Two(2)\nTwo(4)\nTwo(5)", before=block.replace("17 * n + 8", "42")))
    assert isinstance(found, Checked)
    assert [(p.headline, p.also[0].span.line) for p in found.problems] == [("`params` is 76, 34 more than 42", 5)]
    body = "for i in 0..2 {\n stage[i] = { conv(2, 1x1); conv(2, 1x1) }\n y = conv(2, 1x1)\n expect y.params == 6\n}"
    assert refused(body + "\nexpect stage[0].params == 24\nexpect stage[1].params == 12\nexpect stage[1].layers == 2") == []
    assert refused("if true {\n conv(2, 1x1)\n expect params == 18\n}") == []
    assert refused("part = { conv(2, 1x1); expect params == 18 }\nconv(2, 1x1)\nexpect params == 24") == []
    assert refused("part = { relu; expect depth == 0 }") == ["E401 1:23"]
    assert refused("fc = flatten -> linear(2) -> relu\nexpect fc.layers == 3\nexpect fc.params == 4_098") == []


def test_a_fact_and_a_name_of_the_spec() -> None:
    parameter = "network Net(depth = 2) { input x: 3x4x4; repeat depth { conv(3, 1x1) }; expect {} }"
    assert told(parameter.replace("{}", "params == 12 * depth")) == []
    assert [p.split()[0] for p in told(parameter.replace("{}", "depth == 2"))] == ["E401"]


def test_heads_are_counted_apart() -> None:
    found = checked(
        network("conv(4, 1x1)\nhead aux { conv(2, 1x1) -> relu; expect params == 10 }\nrelu\nexpect params == 36\nexpect aux.macs == 2_048")
    )
    assert (found.totals.params, found.totals.aux_params, found.totals.aux_macs, found.totals.layers) == (36, 10, 2048, 2)


def test_shared_weights_are_counted_once() -> None:
    found = checked(network("module f = conv(8, 1x1)\nf -> f -> f\nexpect params == 72\nexpect macs == 3 * 8 * 8 * 256\nexpect depth == 3"))
    assert found.totals.params == 72


# ---------------------------------------------------------------------------------------------------------------------- warnings


def test_values_that_are_never_used() -> None:
    assert warned("y = relu\nimage -> tanh") == ["W201 1:5"]
    assert warned("relu -> tanh -> sigmoid\nimage -> conv(3, 1x1)") == ["W201 1:17"]
    assert warned("One\nimage -> relu", before="block One { conv(4, 1x1) -> relu }") == ["W201 1:1"]
    assert warned("y = { conv(4, 1x1); relu }\nimage -> relu") == ["W201 1:5"]
    assert warned("output y = relu\nconv(3, 1x1)") == ["W201 2:1"]
    assert warned("y = conv(4, 1x1)\nhead aux { relu }\nimage -> relu") == []
    assert warned("a, b = split([4, 4])\nb -> relu") == []
    assert warned("image -> relu", inputs="input image: 3x4x4\ninput other: 3x4x4") == ["W202 1:1"]
    # With an error elsewhere, what is unused may only be so because of it.
    assert refused("y = relu\nimage -> tanh\nlinear(3)") == ["E305 3:1"]


def test_input_that_is_never_read() -> None:
    assert warned("conv(4, 3x3, stride=2)") == ["W301 1:1"]
    assert warned("conv(4, 3x3, stride=2, round=floor)") == []
    assert warned("maxpool(3x3, stride=2, round=ceil)") == []
    assert warned("default conv(round=floor)\nconv(4, 3x3, stride=2)") == []
    assert warned("conv(4, 3x3, stride=2, pad=1)") == []  # only padding is left over
    assert warned("conv(4, 1x1, stride=3)") == []  # plain subsampling
    assert refused("conv(4, 3x3, stride=2, round=exact)") == ["E301 1:24"]


def test_every_place_is_told_even_for_equal_layers() -> None:
    body = "concat {\n maxpool(3x3, stride=2)\n maxpool(3x3, stride=2)\n}"
    assert warned(body) == ["W301 2:2", "W301 3:2"]


def test_strict_makes_warnings_errors() -> None:
    found = run(network("conv(4, 3x3, stride=2)"), strict=True)
    assert isinstance(found, Checked)
    assert [p.severity for p in found.errors] == [Severity.ERROR] and found.errors[0].code == "W301"


def test_problems_come_in_the_order_of_the_file() -> None:
    body = "y: 3x3 = relu\nconv(4, 99x99)\nexpect params == 3\nimage -> linear(2)\nimage -> conv(wide, 1x1)"
    assert refused(body) == ["E402 1:4", "E301 2:9", "E305 4:10", "E204 5:15"]


# --------------------------------------------------------------------------------------------------------- receptive fields, depth


def test_receptive_fields_of_known_networks() -> None:
    alexnet = cnnc.load("alexnet", "AlexNet").checked
    assert receptive(alexnet, "pool5") == [(195, 32), (195, 32)]
    assert receptive(alexnet, "conv1") == [(11, 4), (11, 4)]
    assert cnnc.load("resnet", "ResNet18").checked.receptive_field == 435
    assert cnnc.load("googlenet").checked.receptive_field == 907
    vgg = cnnc.load("vgg", "VGG16").checked
    assert receptive(vgg, "stage[4].maxpool1") == [(212, 32), (212, 32)]


def test_receptive_fields_through_branches() -> None:
    found = checked(network("a = conv(4, 3x3, pad=1)\nconcat { conv(4, 5x5, pad=2); conv(4, 1x7, pad=0x3) }"))
    assert receptive(found, "concat1") == [(7, 1), (9, 1)]
    found = checked(network("add { { conv(8, 3x3, stride=2, pad=1); resize(scale=2, mode=nearest) }; identity }"))
    assert receptive(found, "add1")[0][1] == 1
    found = checked(network("flatten -> linear(3)\nexpect receptive_field == 1"))
    assert found.receptive_field == 1


@pytest.mark.parametrize(
    ("spec", "name", "depth"),
    [("alexnet", "AlexNet", 8), ("googlenet", None, 22), ("resnet", "ResNet18", 18), ("resnet", "ResNet50", 50), ("vgg", "VGG16", 16)],
)
def test_depth(spec: str, name: str | None, depth: int) -> None:
    assert cnnc.load(spec, name).checked.depth == depth


# ------------------------------------------------------------------------------------------------------------------------- limits


def body_of(text: str) -> str:
    return f"network Net {{\ninput x: 3x8x8\n{text}\n}}"


#: Texts that are too much of something, and the code that says so.
TOO_MUCH = {
    "brackets": (body_of("conv(" + "(" * 10_000), "E601"),
    "braces": (body_of("{" * 10_000), "E601"),
    "bodies": (body_of("{ " * 90 + "relu" + " }" * 90), "E603"),
    "powers": (body_of("let a = " + "**".join("1" * 5000)), "E601"),
    "properties": (body_of("let a = x" + ".shape" * 5000), "E601"),
    "else ifs": (body_of("if false { relu } " + "else if false { relu } " * 3000), "E601"),
    "facts": (body_of("expect params == " + "**".join("1" * 5000)), "E601"),
    "constants of a file": ("let a = x" + ".shape" * 5000 + "\n" + body_of("relu"), "E601"),
    "repeat": (body_of("repeat 1_000_000_000 { relu }"), "E605"),
    "statements": (body_of("repeat 30_000 { repeat 30_000 { } }"), "E605"),
    "strings": (body_of('let s0 = "a"\n' + "\n".join(f"let s{i + 1} = s{i} + s{i}" for i in range(60))), "E604"),
    "lists": (body_of("let s0 = [1]\n" + "\n".join(f"let s{i + 1} = s{i} + s{i}" for i in range(60))), "E604"),
    "lists in lists": (body_of("let s0 = [1]\n" + "\n".join(f"let s{i + 1} = [s{i}, s{i}]" for i in range(60))), "E604"),
    "deep lists": (body_of("let a = " + "[" * 90 + "]" * 90), "E604"),
    "lists in all": (body_of("repeat 100_000 { let a = [0] * 100_000 }"), "E604"),
    "digits": (body_of("conv(" + "9" * 100_000 + ", 3x3)"), "E602"),
    "powers of numbers": (body_of("let a = 9 ** 9 ** 9"), "E602"),
    "shapes": (body_of("conv(1_000_000, 1x1) -> resize(1000000)"), "E602"),
    "variants": ("network N0 { input x: 3x4x4; relu }\n" + "\n".join(f"network N{i + 1} = N{i}" for i in range(40)), "E603"),
    "blocks": ("block B0 { relu }\n" + "\n".join(f"block B{i + 1} {{ B{i} }}" for i in range(99)) + "\n" + body_of("B99"), "E603"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_limits(what: str) -> None:
    text, code = TOO_MUCH[what]
    started = time.perf_counter()
    assert [p.split()[0] for p in told(text)] == [code]
    assert time.perf_counter() - started < 60


@pytest.mark.parametrize(
    "text",
    [
        body_of("conv(" + "(" * 90 + "3" + ")" * 90 + ", 3x3)"),
        body_of("let a = " + " + ".join("1" * 5000) + "\nconv(a, 1x1)"),
        body_of("let a = " + "not " * 5000 + "true"),
        body_of("let a = " + "-" * 5000 + "1"),
        body_of("let a = " + "1 if false else " * 5000 + "2"),
        body_of("let a = true" + " and true" * 5000),
        body_of("{ " * 60 + "relu" + " }" * 60),
        body_of("relu" + " -> relu" * 5000),
        body_of("# " + "long" * 50_000 + "\nrelu"),
        body_of("let a = [" + "1, " * 50_000 + "]"),
    ],
)
def test_what_is_long_but_not_too_much(text: str) -> None:
    assert told(text) == []


def test_many_syntax_errors_are_cut_off() -> None:
    found = analyse(Source("t", body_of("conv(,)\n" * 100)), Options(), read_import)
    assert isinstance(found, tuple) and len(found) == 20
