"""Random well-formed programs of the whole language, from a seed.

A program is right by construction as far as that is cheap: widths are even, windows keep any map alive, and values that are joined
have the same tag, which stands for their height and width. What the checker still refuses is thrown away and drawn again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from cnnc.compiler import Checked, Options, analyse
from cnnc.source import Source

#: Names that mean something to Python, to PyTorch or to the emitted file; none of them is an op of the language.
_ODD = (
    "lambda class type forward half self x y z nn torch F Tensor super int range shortcut branch1 training state_dict OrderedDict math "
    "i j k add_module logits features in_channels num_classes lambda_ class_ print None_ async_ await float bool weight bias device cuda "
    "DropPath window_sum Sequential children double value values items keys append insert pop _modules _parameters _buffers count rows "
    "channels y2 outputs modules initialised has_conv2 with_conv1 T_destination __doc__ __init__ _ __ match case object id dtype result"
).split()
_PLAIN = "stem deep wide trunk tail left right upper lower fuse refine neck core mix gate proj spine tap join fold ring veil knot".split()
_BLOCKS = "Unit Cell Residual Dense_Layer DenseLayer Stem Stage stage2 Mixer Tensor Net Lambda Body nn F ChannelAffine Gate Trunk".split()
_PARAMS = "width stride ratio depth r wide classes lambda in_channels x self nn count i k kind flag".split()


@dataclass(frozen=True)
class Flow:
    """What is known of the value that flows: a map or a vector, and which height and width it has (values with one tag join)."""

    tag: int
    vector: bool = False


@dataclass
class Scope:
    """What can be seen at a place: values, numbers, modules, and the names that are taken."""

    taken: set[str]
    values: list[tuple[str, Flow]] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    modules: list[tuple[str, bool]] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    in_block: bool = False
    at_start: bool = False

    def inner(self) -> Scope:
        """A scope inside that adds nothing to this one."""
        return replace(
            self,
            values=list(self.values),
            numbers=list(self.numbers),
            flags=list(self.flags),
            modules=list(self.modules),
            at_start=False,
        )


@dataclass(frozen=True)
class Block:
    """A block that can be used: what its parameters are for, whether it takes vectors, and whether it keeps height and width."""

    name: str
    params: tuple[tuple[str, str, str | None], ...]
    vector: bool
    strided: bool


class Program:
    """One draw of a program; :func:`program` gives its text."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.rank = self.rng.choice([1, 2, 2, 2, 2, 3])
        self.tags = 0
        self.names = 0
        self.layers = 0
        self.blocks: list[Block] = []
        self.odd = self.rng.random() < 0.3
        self.budget = self.rng.choice([8, 16, 28, 40])
        self.globals: set[str] = set()

    # ------------------------------------------------------------------------------------------------------------- small things

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def tag(self) -> int:
        self.tags += 1
        return self.tags

    def name(self, scope: Scope) -> str:
        """A name that nothing in sight has."""
        pool = _ODD if self.odd and self.chance(0.7) else _PLAIN
        for _ in range(20):
            found = self.rng.choice(pool)
            if found not in scope.taken:
                scope.taken.add(found)
                return found
        self.names += 1
        found = f"{self.rng.choice(_PLAIN)}{self.names}"
        scope.taken.add(found)
        return found

    def size(self, n: int) -> str:
        return str(n) if self.rank == 1 or self.chance(0.5) else "x".join([str(n)] * self.rank)

    def width(self, scope: Scope) -> str:
        """An even number of channels as an expression."""
        if scope.numbers and self.chance(0.6):
            n = self.rng.choice(scope.numbers)
            return self.rng.choice([n, f"2*{n}", f"{n} * 2", f"min({n}, 6)", f"{n} + 2", f"4 if {n} > 4 else {n}", f"divisible({n}, 2)"])
        if scope.in_block and self.chance(0.25):
            return "2 * in.channels"
        if self.chance(0.15):
            return "flow.channels"
        return str(self.rng.choice([2, 4, 4, 6, 8]))

    # ---------------------------------------------------------------------------------------------------------------------- ops

    def conv(self, scope: Scope, out: str, *, keep: bool = True, stride: str | None = None) -> str:
        self.layers += 1
        if keep and stride is None:
            return self.rng.choice(
                [
                    f"conv({out}, {self.size(3)}, pad=1)",
                    f"conv({out}, {self.size(1)})",
                    f"conv({out}, 3, pad=same)",
                    f"conv({out}, {self.size(2)}, pad=same, bias=false)",
                    f"conv({out}, 3, pad=2, dilation=2)",
                    f"conv({out}, 1, bias={self.flag(scope)})",
                    f"conv({out}, 1, init=normal(std=0.1), bias_init=0.5)",
                    f"conv({out}, 3, pad=1, init=he_normal)",
                ]
            )
        stride = stride or "2"
        return self.rng.choice(
            [
                f"conv({out}, 3, stride={stride}, pad=1)",
                f"conv({out}, {self.size(3)}, stride={stride}, pad=same)",
                f"conv({out}, 1, stride={stride}, bias=false)",
            ]
        )

    def flag(self, scope: Scope) -> str:
        return self.rng.choice([*scope.flags, "true", "false"])

    def keeper(self, scope: Scope, flow: Flow) -> str:
        """An op that keeps height, width and parity of the channels."""
        self.layers += 1
        w = self.width(scope)
        if flow.vector:
            return self.rng.choice(
                [
                    f"linear({w})",
                    f"linear({w}, bias=false)",
                    "relu",
                    "tanh",
                    "batchnorm",
                    "layernorm",
                    "dropout(0.3)",
                    "prelu",
                    "rbf(4)",
                    "softmax",
                    "scaled_tanh",
                    f"linear({w}, init=normal(std=0.1))",
                    "scale",
                    "identity",
                ]
            )
        weighted = [self.conv(scope, w) for _ in range(2)]
        if self.chance(0.45):
            return self.rng.choice(weighted)
        return self.rng.choice(
            [
                "relu",
                "relu",
                "batchnorm",
                "batchnorm",
                "gelu",
                "leaky_relu(0.2)",
                "silu",
                "sigmoid",
                "prelu",
                "prelu(per_channel=true)",
                "scaled_tanh",
                "elu(0.5)",
                "hardswish",
                "softplus",
                "softmax",
                "groupnorm(2)",
                "layernorm",
                "lrn(3, alpha=0.1)",
                "lrn(3, mean=true)",
                "l2norm",
                "l2norm(scale=2)",
                "depthwise(3, pad=1)",
                "depthwise(3, 2, pad=same)",
                "conv(flow.channels, 3, pad=1, groups=2)",
                "conv(2, 1, connections=[[0], [0, 1]])" if self.rank == 2 else "relu6",
                "maxpool(3, stride=1, pad=1)",
                "avgpool(3, stride=1, pad=1)",
                "avgpool(3, stride=1, pad=same)",
                "maxpool(2, stride=1, pad=same)",
                "subsample(1)",
                "dropout(0.2)",
                "dropout_maps(0.2)",
                "drop_path(0.1)",
                "channel_shuffle(2)",
                "identity",
                "scale",
                "scale(0.1)",
                "pad(1) -> crop(amount=1)",
                "pad(channels=[1, 1])",
                "slice(0, 2)",
                "resize(scale=1)",
                "conv_transpose(flow.channels, 3, stride=1, pad=1)",
                "pad(1, mode=replicate) -> conv(4, 3)",
            ]
        )

    def shrinker(self, scope: Scope) -> str:
        """An op that changes height and width of a map."""
        self.layers += 1
        w = self.width(scope)
        return self.rng.choice(
            [
                self.conv(scope, w, keep=False),
                f"maxpool({self.size(3)}, stride=2, pad=1)",
                "maxpool(2, stride=2, round=ceil)",
                "maxpool(3, stride=2, pad=same)",
                "avgpool(2, stride=2, round=ceil)",
                "avgpool(3, stride=2, pad=same)",
                "lppool(3, stride=2, pad=1)",
                "subsample(2, pad=same)",
                "adaptive_avgpool(3)",
                "adaptive_maxpool(2)",
                f"conv_transpose({w}, 2, stride=2)",
                "resize(scale=2)",
                "pad([(0, 1)" + ", (1, 0)" * (self.rank - 1) + "])",
                "global_avgpool",
                "global_maxpool",
            ]
        )

    # --------------------------------------------------------------------------------------------------------------- statements

    def statements(
        self, scope: Scope, flow: Flow, count: int, depth: int, *, keep: bool = True, top: bool = False
    ) -> tuple[list[str], Flow]:
        """Some statements, and what flows at their end; with ``keep`` it has the tag that it started with."""
        lines: list[str] = []
        for _ in range(count):
            if self.layers > self.budget and lines:
                break
            made, flow = self.statement(scope, flow, depth, keep, top)
            scope.at_start = False
            lines += made
        return lines, flow

    def statement(self, scope: Scope, flow: Flow, depth: int, keep: bool, top: bool) -> tuple[list[str], Flow]:
        choices: list[tuple[int, Callable[[], tuple[list[str], Flow]]]] = [
            (4, lambda: self.pipeline(scope, flow)),
            (4, lambda: self.named(scope, flow, top)),
            (1, lambda: self.let(scope, flow)),
            (1, lambda: self.default(flow)),
            (1, lambda: self.module(scope, flow)),
            (1, lambda: self.used_module(scope, flow)),
            (2, lambda: self.reused(scope, flow)),
        ]
        if depth:
            choices += [
                (4, lambda: self.merge(scope, flow, depth)),
                (3, lambda: self.block(scope, flow, keep)),
                (2, lambda: self.condition(scope, flow, depth)),
                (2, lambda: self.repeat(scope, flow, depth)),
                (2, lambda: self.loop(scope, flow, depth, keep)),
                (2, lambda: self.body(scope, flow, depth)),
                (1, lambda: self.nested(scope, flow, depth)),
                (2, lambda: self.residual(scope, flow, depth)),
            ]
        if not flow.vector:
            choices.append((1, lambda: self.split(scope, flow)))
            choices.append((1, lambda: self.cropped(scope, flow)))
            if not keep:
                choices.append((3, lambda: self.smaller(scope, flow)))
        picked = self.rng.choices([c for _, c in choices], [w for w, _ in choices])[0]
        return picked()

    def pipeline(self, scope: Scope, flow: Flow) -> tuple[list[str], Flow]:
        stages = [self.keeper(scope, flow) for _ in range(self.rng.randint(1, 3))]
        if self.chance(0.2) and len(stages) > 1:
            return [" -> ".join(stages[:1]), "  -> " + " -> ".join(stages[1:])], flow
        return [" -> ".join(stages)], flow

    def named(self, scope: Scope, flow: Flow, top: bool) -> tuple[list[str], Flow]:
        (line, *more), _ = self.pipeline(scope, flow)
        name = self.name(scope)
        scope.values.append((name, flow))
        note = "@:" if top else ""
        return [f"{name}{note} = {line}", *more], flow

    def smaller(self, scope: Scope, flow: Flow) -> tuple[list[str], Flow]:
        after = Flow(self.tag())
        text = self.shrinker(scope)
        if self.chance(0.3):
            text += " -> relu"
        if self.chance(0.4):
            name = self.name(scope)
            scope.values.append((name, after))
            text = f"{name} = {text}"
        return [text], after

    def let(self, scope: Scope, flow: Flow) -> tuple[list[str], Flow]:
        name = self.name(scope)
        value = self.width(scope)
        scope.numbers.append(name)
        return [f"let {name} = {value}"], flow

    def default(self, flow: Flow) -> tuple[list[str], Flow]:
        options = ["default linear(bias=false)", "default linear(init=normal(std=0.1))"]
        if not flow.vector:
            options = ["default conv(bias=true)", "default conv(init=he_uniform)", "default batchnorm(eps=1e-3)", "default relu()"]
        return [self.rng.choice(options)], flow

    def module(self, scope: Scope, flow: Flow) -> tuple[list[str], Flow]:
        """A shared module that keeps the channels, so that it can be used on its own result."""
        name = self.name(scope)
        self.layers += 2
        fitting = [b for b in self.blocks if b.vector == flow.vector and not b.strided]
        if fitting and self.chance(0.4):
            block = self.rng.choice(fitting)
            made = f"module {name} = {block.name}{self.arguments(scope, block)}"
        elif flow.vector:
            made = f"module {name} = linear(4)"
        else:
            made = f"module {name} = " + self.rng.choice(["conv(4, 3, pad=1)", "conv(4, 2, pad=same)", "batchnorm", "prelu"])
        base = "linear(4)" if flow.vector else "conv(4, 1)"
        scope.modules.append((name, flow.vector))
        again = self.rng.choice(
            [f"{base} -> {name}", f"{base} -> {name} -> {base} -> {name}", f"{base} -> {name}\n{base} -> relu -> {name}"]
        )
        return [made, *again.split("\n")], flow

    def used_module(self, scope: Scope, flow: Flow) -> tuple[list[str], Flow]:
        fitting = [n for n, vector in scope.modules if vector == flow.vector]
        if not fitting:
            return self.pipeline(scope, flow)
        self.layers += 2
        base = "linear(4)" if flow.vector else "conv(4, 1)"
        line = f"{base} -> {self.rng.choice(fitting)}"
        if self.chance(0.3):
            name = self.name(scope)
            scope.values.append((name, flow))
            line = f"{name} = {line}"
        return [line], flow

    def reused(self, scope: Scope, flow: Flow) -> tuple[list[str], Flow]:
        """Something with a value that was named before."""
        fitting = [n for n, f in scope.values if f == flow]
        if not fitting:
            return self.pipeline(scope, flow)
        value = self.rng.choice(fitting)
        self.layers += 1
        project = f"linear({value}.channels)" if flow.vector else f"conv({value}.channels, 1)"
        return self.rng.choice(
            [
                [f"concat {{ {value}; identity }}"],
                [f"concat {{ identity; {value} -> relu }}"],
                [project, f"add {{ {value}; identity }}"],
                [f"add {{ {project}; {value} }}"],
                [f"mul {{ {project} -> sigmoid; {value} }}"],
                [f"{value} -> {self.keeper(scope, flow)}"],
                [value],
            ]
        ), flow

    def cropped(self, scope: Scope, flow: Flow) -> tuple[list[str], Flow]:
        fitting = [n for n, f in scope.values if f == flow]
        if not fitting:
            return self.pipeline(scope, flow)
        value = self.rng.choice(fitting)
        return self.rng.choice(
            [
                [f"pad(1) -> crop_like({value})"],
                [f"concat {{ pad(2) -> crop_like({value}); {value} }}"],
            ]
        ), flow

    def split(self, scope: Scope, flow: Flow) -> tuple[list[str], Flow]:
        a, b = self.name(scope), self.name(scope)
        lines = ["conv(8, 1)", f"{a}, {b} = split({self.rng.choice(['2', '[2, 6]', '[4, 4]'])})"]
        if self.chance(0.5):
            lines.append(self.keeper(scope, flow))
        if self.chance(0.6):
            lines.append(f"concat {{ {b} -> {self.keeper(scope, flow)}; {a} }}")
        else:
            lines.append(f"concat {{ {b}; identity }}")
        scope.values += [(a, flow), (b, flow)]
        self.layers += 3
        return lines, flow

    # ------------------------------------------------------------------------------------------------------------------- merges

    def branch(self, scope: Scope, flow: Flow, depth: int) -> list[str]:
        """One branch that keeps the tag, as the lines of one statement."""
        if self.chance(0.2):
            return ["identity"]
        if depth > 1 and self.chance(0.35):
            inner = scope.inner()
            lines, _ = self.statements(inner, flow, self.rng.randint(1, 3), depth - 1)
            return block_of("", lines)
        if depth > 1 and self.chance(0.2):
            lines, _ = self.merge(scope.inner(), flow, depth - 1)
            return lines
        fitting = [n for n, f in scope.values if f == flow]
        if fitting and self.chance(0.2):
            return [self.rng.choice(fitting)]
        return self.pipeline(scope, flow)[0]

    def merge(self, scope: Scope, flow: Flow, depth: int) -> tuple[list[str], Flow]:
        kind = self.rng.choice(["concat", "concat", "add", "mul"])
        head = kind
        kept = scope.inner()
        made_name: str | None = None
        if self.chance(0.3):
            made_name = self.name(scope)
            head = f"{made_name} = {kind}"
        before: list[str] = []
        body: list[str] = []
        if kind == "concat":
            for _ in range(self.rng.randint(1, 4)):
                body += self.concat_branch(kept, flow, depth)
            if not any(not line.startswith(("if", " ", "}")) for line in body):
                body.append("identity")
        else:
            project: Callable[[str], str] = (lambda w: f"linear({w})") if flow.vector else (lambda w: self.conv(kept, w))
            if self.chance(0.5):
                name = self.name(kept)
                before.append(f"let {name} = flow.channels")
                scope.taken.add(name)
                target = name
                ways = ["identity", "identity", "{p}", "{k} -> {p}", "if", "body"]
            else:
                target = self.rng.choice(kept.numbers or ["4"]) if self.chance(0.5) else "4"
                ways = ["{p}", "{k} -> {p}", "if", "body"]
            for _ in range(self.rng.randint(1, 3)):
                body += self.sum_branch(kept, flow, depth, self.rng.choice(ways), target, project)
            if not flow.vector and self.chance(0.3):
                body.append(f"global_avgpool -> conv({target}, 1) -> sigmoid")
            if all(line.startswith(("if", " ", "}")) for line in body):
                body.append(project(target))
            self.layers += 1
        if made_name is not None:
            scope.values.append((made_name, flow))
        return [*before, *block_of(head, body)], flow

    def concat_branch(self, scope: Scope, flow: Flow, depth: int) -> list[str]:
        roll = self.rng.random()
        inner = scope.inner()
        if roll < 0.12:
            name = self.name(inner)
            inner.numbers.append(name)
            return block_of(f"for {name} in [2, 4]", self.branch(inner, flow, 1))
        if roll < 0.3:
            lines = block_of(f"if {self.test(inner)}", self.branch(inner, flow, 1))
            if self.chance(0.5):
                lines[-1] += " else {"
                lines += ["  " + line for line in self.branch(inner, flow, 1)] + ["}"]
            return lines
        return self.branch(inner, flow, depth)

    def sum_branch(self, scope: Scope, flow: Flow, depth: int, how: str, target: str, project: Callable[[str], str]) -> list[str]:
        if how == "if":
            lines = block_of(f"if {self.test(scope)}", [project(target)])
            if self.chance(0.7):
                lines[-1] += " else {"
                lines += [f"  {project(target)} -> relu", "}"]
            return lines
        if how == "body":
            inner = scope.inner()
            lines, _ = self.statements(inner, flow, self.rng.randint(1, 2), max(depth - 2, 0))
            return block_of("", [*lines, project(target)])
        return [how.format(p=project(target), k=self.keeper(scope, flow))]

    def test(self, scope: Scope) -> str:
        """A condition that differs between instances, if it can."""
        options = [f"flow.channels > {self.rng.choice([3, 4, 5])}"]
        options += [f"{n} {self.rng.choice(['>', '==', '!=', '<='])} {self.rng.choice([2, 4])}" for n in scope.numbers[:3]]
        options += [f"not {f}" for f in scope.flags] + list(scope.flags)
        if scope.in_block:
            options += ["in.channels != 4", "in.channels > 4"]
            options += [f"{n} != in.channels" for n in scope.numbers[:2]]
        first = self.rng.choice(options)
        return f"{first} {self.rng.choice(['and', 'or'])} {self.rng.choice(options)}" if self.chance(0.2) else first

    def residual(self, scope: Scope, flow: Flow, depth: int) -> tuple[list[str], Flow]:
        """The block of He et al., with its condition."""
        w = self.rng.choice(scope.numbers or ["4"])
        self.layers += 3
        if flow.vector:
            return [f"add {{ linear({w}) -> relu -> linear({w}); if flow.channels != {w} {{ linear({w}) }} else {{ identity }} }}"], flow
        inner = scope.inner()
        lines, _ = self.statements(inner, flow, self.rng.randint(1, 2), max(depth - 2, 0))
        shortcut = block_of(f"if flow.channels != {w}", [f"conv({w}, 1) -> batchnorm"])
        shortcut[-1] += " else { identity }"
        return [*block_of("add", [*block_of("", [*lines, f"conv({w}, 3, pad=1) -> batchnorm"]), *shortcut]), "relu"], flow

    # ------------------------------------------------------------------------------------------------------------ blocks, loops

    def arguments(self, scope: Scope, block: Block, *, stride: str = "1") -> str:
        given: list[str] = []
        named = False
        for name, role, default in block.params:
            if default is not None and self.chance(0.4):
                named = True
                continue
            value = {
                "width": lambda: self.rng.choice([*scope.numbers, "2", "4", "6"]),
                "flag": lambda: self.flag(scope),
                "count": lambda: str(self.rng.randint(0, 4)),
                "stride": lambda: stride,
                "unit": lambda: self.rng.choice(["relu", "silu", "batchnorm", "gelu", *scope.units]),
                "unit_block": lambda: self.rng.choice(
                    [b.name for b in self.blocks if not b.params and b.vector == block.vector] or ["relu"]
                ),
                "widths": lambda: self.rng.choice(["[2, 4]", "[4]", "[4, 2, 6, 2]", "[4, 4, 4]"]),
            }[role]()
            named = named or self.chance(0.2)
            given.append(f"{name}={value}" if named else value)
        return f"({', '.join(given)})" if given or self.chance(0.7) else ""

    def block(self, scope: Scope, flow: Flow, keep: bool) -> tuple[list[str], Flow]:
        fitting = [b for b in self.blocks if b.vector == flow.vector and not (b.strided and keep)]
        if not fitting:
            return self.pipeline(scope, flow)
        block = self.rng.choice(fitting)
        self.layers += 3
        after = flow
        stride = "1"
        if block.strided and not keep:
            stride = "2"
            after = Flow(self.tag())
        call = block.name + self.arguments(scope, block, stride=stride)
        if block.strided and after is not flow:
            # the stride may be left to its default, so only values made later share this tag
            pass
        if self.chance(0.35):
            name = self.name(scope)
            scope.values.append((name, after))
            return [f"{name} = {call}"], after
        if self.chance(0.2):
            return [f"{call} -> {self.keeper(scope, after)}"], after
        return [call], after

    def condition(self, scope: Scope, flow: Flow, depth: int) -> tuple[list[str], Flow]:
        test = self.test(scope)
        then, _ = self.statements(scope.inner(), flow, self.rng.randint(1, 2), depth - 1)
        lines = block_of(f"if {test}", then)
        if self.chance(0.3):
            other, _ = self.statements(scope.inner(), flow, 1, depth - 1)
            lines[-1] += f" else if {self.test(scope)} {{"
            lines += ["  " + line for line in other] + ["}"]
        if self.chance(0.5):
            other, _ = self.statements(scope.inner(), flow, self.rng.randint(1, 2), depth - 1)
            lines[-1] += " else {"
            lines += ["  " + line for line in other] + ["}"]
        return lines, flow

    def repeat(self, scope: Scope, flow: Flow, depth: int) -> tuple[list[str], Flow]:
        count = self.rng.choice([*scope.numbers[:2], "2", "3", "4", "5", "0", "1"])
        before = self.layers
        inner, _ = self.statements(scope.inner(), flow, self.rng.randint(1, 2), depth - 1)
        self.layers += 3 * (self.layers - before)
        lines = block_of(f"repeat {count}", inner)
        if self.chance(0.5):
            lines.insert(0, "linear(4)" if flow.vector else "conv(4, 1)")
        return lines, flow

    def loop(self, scope: Scope, flow: Flow, depth: int, keep: bool) -> tuple[list[str], Flow]:
        inner = scope.inner()
        a = self.name(inner)
        scope.taken.add(a)
        head, body_number = self.rng.choice(
            [
                (f"for {a} in 1..4", f"2*{a}"),
                (f"for {a} in [2, 4, 6]", a),
                (f"for {a} in 4..0 by -1", f"2*{a}"),
                (f"for {a} in range(2, 8, 2)", a),
                (f"for {a} in [4, 4, 4, 4]", a),
            ]
        )
        index: str | None = a if " in [" not in head else None
        if self.chance(0.3):
            b = self.name(inner)
            scope.taken.add(b)
            if self.chance(0.5):
                head, body_number, index = f"for {a}, {b} in [2, 4, 2]", b, a
            else:
                c = self.name(inner)
                scope.taken.add(c)
                head, body_number, index = f"for {a}, ({b}, {c}) in [(2, 4), (4, 6), (6, 4)]", f"{b} + {c}", a
        inner.numbers.append(f"({body_number})" if not body_number.isidentifier() else body_number)
        before = self.layers
        if self.chance(0.5):
            inner.values = [v for v in inner.values if v[1] != flow]  # no skips: such a loop may be rolled
        body, _ = self.statements(inner, flow, self.rng.randint(1, 2), depth - 1)
        if index is not None and self.chance(0.6):
            family = self.name(scope)
            what = self.keeper(inner, flow)
            extra = [f"{family}[{index}] = {what}"]
            fitting = [b for b in self.blocks if b.vector == flow.vector and not b.strided]
            if fitting and self.chance(0.5):
                block = self.rng.choice(fitting)
                extra = [f"{family}[{index}] = {block.name}{self.arguments(inner, block)}"]
            elif self.chance(0.5):
                deeper, _ = self.statements(inner.inner(), flow, self.rng.randint(1, 3), 1)
                extra = block_of(f"{family}[{index}] =", deeper)
            body = extra if self.chance(0.4) else [*body, *extra]
            low, high = {"1..4": (1, 3), "4..0": (1, 4)}.get(head.split(" in ")[1].split(" ")[0], (0, 2))
            if "range" in head:
                low, high = 2, 2
            scope.values += [(f"{family}[{low}]", flow), (f"{family}[{high}]", flow)]
        self.layers += 2 * (self.layers - before)
        return block_of(head, body), flow

    def body(self, scope: Scope, flow: Flow, depth: int) -> tuple[list[str], Flow]:
        name = self.name(scope)
        inner = scope.inner()
        lines, _ = self.statements(inner, flow, self.rng.randint(1, 4), depth - 1)
        scope.values.append((name, flow))
        return block_of(f"{name} =", lines), flow

    def nested(self, scope: Scope, flow: Flow, depth: int) -> tuple[list[str], Flow]:
        lines, _ = self.statements(scope.inner(), flow, self.rng.randint(1, 2), depth - 1)
        return block_of("", lines), flow

    # ---------------------------------------------------------------------------------------------------------------- the whole

    def define_block(self) -> list[str]:
        """A block definition."""
        name = next((n for n in self.rng.sample(_BLOCKS, len(_BLOCKS)) if n not in self.globals), None)
        if name is None:
            return []
        self.globals.add(name)
        vector = self.chance(0.15)
        strided = not vector and self.chance(0.35)
        roles = [r for r in ("width", "width", "flag", "unit", "unit_block", "count", "widths") if self.chance(0.3)]
        if strided:
            roles.append("stride")
        self.rng.shuffle(roles)
        defaults = {"width": "4", "flag": "true", "stride": "2", "unit": "relu", "unit_block": "relu", "count": "2", "widths": "[4, 2]"}
        taken = set(self.globals)
        params: list[tuple[str, str, str | None]] = []
        optional = False
        for role in roles:
            param = next((n for n in self.rng.sample(_PARAMS, len(_PARAMS)) if n not in taken), None)
            if param is None:
                continue
            taken.add(param)
            optional = optional or self.chance(0.3)
            params.append((param, role, defaults[role] if optional else None))
        scope = Scope(taken=taken, in_block=True, at_start=True)
        scope.numbers = [n for n, role, _ in params if role == "width"]
        scope.flags = [n for n, role, _ in params if role == "flag"]
        units = [n for n, role, _ in params if role in ("unit", "unit_block")]
        flow = Flow(self.tag(), vector)
        lines: list[str] = []
        if strided:
            stride = next((n for n, role, _ in params if role == "stride"), "2")
            w = self.width(scope)
            if self.chance(0.6):
                first = self.conv(scope, w, stride=stride)
                shortcut = block_of(f"if {stride} != 1 or in.channels != {w.replace('flow', 'in')}", [f"conv({w}, 1, stride={stride})"])
                shortcut[-1] += " else { identity }"
                deep, _ = self.statements(scope.inner(), flow, 1, 1)
                lines += block_of("add", [*block_of("", [first, *deep, f"conv({w.replace('flow', 'in')}, 1)"]), *shortcut])
            else:
                lines.append(self.conv(scope, w, stride=stride))
            flow = Flow(self.tag())
        made, _ = self.statements(scope, flow, self.rng.randint(0 if lines else 1, 4), 2)
        lines += made
        for unit in units:
            lines.append(
                unit if self.chance(0.5) else f"add {{ {unit}; identity }}" if self.chance(0.3) else f"{self.keeper(scope, flow)} -> {unit}"
            )
        for role, text in (("count", "repeat {n} {{ {k} }}"), ("widths", "for v9 in {n} {{ {c} }}")):
            for n in [n for n, r, _ in params if r == role]:
                k = self.keeper(scope, flow)
                c = "linear(v9) -> relu" if vector else self.rng.choice(["conv(v9, 1) -> relu", "conv(v9, 3, pad=1) -> batchnorm -> relu"])
                lines.append(text.format(n=n, k=k, c=c))
        shown = ", ".join(n if d is None else f"{n}={d}" for n, _, d in params)
        self.blocks.append(Block(name, tuple(params), vector, strided))
        return block_of(f"block {name}({shown})" if shown or self.chance(0.5) else f"block {name}", lines)

    def text(self) -> str:
        """The program."""
        parts: list[str] = []
        for _ in range(self.rng.choice([0, 1, 1, 2, 3, 4])):
            before = self.layers
            parts += [*self.define_block(), ""]
            self.layers = before
        scope = Scope(taken=set(self.globals), units=[b.name for b in self.blocks if not b.params and not b.vector and not b.strided])
        params: list[str] = []
        if self.chance(0.5):
            params.append("classes = 6")
            scope.numbers.append("classes")
            scope.taken.add("classes")
        if self.chance(0.3):
            name = self.name(scope)
            params.append(f"{name} = {self.rng.choice(['4', '2', '8'])}")
            scope.numbers.append(name)
        if self.chance(0.2):
            name = self.name(scope)
            params.append(f"{name} = true")
            scope.flags.append(name)
        flow = Flow(self.tag())
        spatial = "x".join([str(self.rng.choice({1: [8, 9, 16], 2: [6, 7, 8], 3: [4, 5]}[self.rank])) for _ in range(self.rank)])
        lines: list[str] = []
        several = self.chance(0.2)
        if several:
            first, second = self.name(scope), self.name(scope)
            lines += [f"input {first}: 4x{spatial}", f"input {second}: 2x{spatial}", f"concat {{ {first}; {second} -> conv(4, 1) }}"]
            scope.values += [(first, flow), (second, flow)]
        else:
            first = self.name(scope)
            lines.append(f"input {first}: {self.rng.choice([2, 4, 4])}x{spatial}")
            scope.values.append((first, flow))
        made, flow = self.statements(scope, flow, self.rng.randint(1, 4), 3, keep=False, top=True)
        lines += made
        if self.chance(0.25):
            lines += self.head(scope, flow)
        made, flow = self.statements(scope, flow, self.rng.randint(1, 4), 3, keep=False, top=True)
        lines += made
        lines += self.ending(scope, flow)
        shown = f"({', '.join(params)})" if params else ""
        comment = self.rng.choice(["", '# A net: """quoted""" \\N{BULLET} \\', '# plain words \u2028 and \'quotes\' """', "# ends in \\"])
        parts += [comment] * bool(comment) + block_of(f"network Net{shown}" if "Net" not in self.globals else f"network Top{shown}", lines)
        return "\n".join(["cnn 1", "", *parts, ""])

    def head(self, scope: Scope, flow: Flow) -> list[str]:
        name = self.name(scope)
        inner = scope.inner()
        lines, _ = self.statements(inner, flow, self.rng.randint(1, 2), 1)
        if not flow.vector:
            lines.append(self.rng.choice(["global_avgpool -> flatten", "flatten"]))
        lines.append("linear(4)" + self.rng.choice(["", " -> softmax"]))
        return block_of(f"head {name}{self.rng.choice(['', '(weight=0.3)'])}", lines)

    def ending(self, scope: Scope, flow: Flow) -> list[str]:
        lines: list[str] = []
        if not flow.vector and self.chance(0.6):
            lines.append(self.rng.choice(["global_avgpool -> flatten", "flatten", "adaptive_avgpool(2) -> flatten"]))
            flow = Flow(self.tag(), True)
            made, flow = self.statements(scope, flow, self.rng.randint(0, 2), 2)
            lines += made
        width = self.width(scope)
        last = f"linear({width})" if flow.vector else self.rng.choice([f"conv({width}, 1)", f"conv({width}, 1) -> relu", "relu"])
        roll = self.rng.random()
        if roll < 0.3:
            return [*lines, last]
        if roll < 0.5:
            return [*lines, last, "softmax"]
        if roll < 0.6:
            return [*lines, last, f"output {self.name(scope)} = softmax"]
        if roll < 0.75:
            return [*lines, f"output {self.name(scope)} = {last}"]
        first = self.name(scope)
        more = [*lines, f"output {first} = {last}"]
        if self.chance(0.3):
            more.append(self.keeper(scope, flow))
        more.append(f"output {self.name(scope)} = {self.keeper(scope, flow)}")
        fitting = [n for n, f in scope.values if "[" not in n]
        if fitting and self.chance(0.4):
            more.append(f"output {self.rng.choice(fitting)}")
        return more


def block_of(head: str, lines: list[str]) -> list[str]:
    """A head with a body in braces."""
    return [f"{head} {{".lstrip(), *("  " + line for line in lines), "}"]


def analysed(text: str, name: str) -> Checked | None:
    """A program that the checker accepts; None when it does not."""
    found = analyse(Source(name, text), Options())
    return found if isinstance(found, Checked) and not found.errors else None


def program(seed: int) -> tuple[str, Checked]:
    """The text of a program and its checked network, with annotations and ``expect`` lines as predicted."""
    for draw in range(1000):
        drawn = Program(seed * 1000 + draw).text()
        plain = drawn.replace("@:", "")
        checked = analysed(plain, f"seed{seed}.cnn")
        if checked is None or len(checked.graph.layers) > 160 or checked.totals.params > 300_000 or checked.totals.macs > 30_000_000:
            continue
        text = _annotated(drawn, checked)
        again = analysed(text, f"seed{seed}.cnn")
        assert again is not None, text
        return text, again
    raise AssertionError(f"nothing well-formed for seed {seed}")


def _annotated(drawn: str, checked: Checked) -> str:
    graph = checked.graph
    lines: list[str] = []
    for line in drawn.split("\n"):
        if "@:" in line:
            name, _, rest = line.partition("@:")
            ref = graph.names.get(name.strip())
            shape = graph.shape(ref) if ref is not None else None
            line = f"{name}: {shape}{rest}" if shape is not None else f"{name}{rest}"
        lines.append(line)
    while not lines[-1].strip():
        lines.pop()
    totals = checked.totals
    return "\n".join([*lines[:-1], f"  expect params == {totals.params}", f"  expect macs <= {totals.macs}", lines[-1], ""])
