"""Whose weights are whose: another implementation's modules onto a spec's layers, by names and shapes alone.

Nothing here reads a file or looks into a tensor. What it takes to be true, and all that it takes to be true:

* A module is the tensors under one prefix. It can stand for a layer if both have the same tensors with the same shapes.
* The other implementation lists a layer after the layers that it reads, as one does who writes them down in the order in which they
  run. Branches side by side may be listed in any order. Where a file has lost its order (``safetensors`` sorts by name), only numbers
  in names tell one: ``layer1`` is before ``layer2``, and ``conv3`` before ``conv10``.

A mapping gives every module a layer and every layer a module under these two rules. If there is none, or if there are several and the
names of modules do not choose between them, it is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

from cnnc.backends.torch.names import key_path, split_path
from cnnc.check import Checked
from cnnc.runtime.naming import RULES, natural, numbered
from cnnc.runtime.search import LIMIT, Choices, Search, TooManyError, bits, chain, doubtful

Shape: TypeAlias = tuple[int, ...]
#: How a layer came by its weights: the same key, its place and shape, these and the names of other modules; or fresh.
How: TypeAlias = Literal["key", "order", "names", "fresh"]

#: How many steps batch normalisation has taken: no weight, and missing in old files.
COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class Part:
    """A module of a state dict: the tensors under one prefix, the batch counter left out."""

    name: str
    tensors: tuple[tuple[str, Shape], ...]

    @property
    def kind(self) -> str:
        """What the shapes say that it is."""
        shapes = dict(self.tensors)
        if "running_mean" in shapes:
            return "batchnorm"
        rank = len(shapes.get("weight", ()))
        if rank == 1:
            return "norm" if "bias" in shapes else "scale"
        return "linear" if rank == 2 else f"conv{rank - 2}d" if rank > 2 else "parameters"

    @property
    def shown(self) -> str:
        """The tensors in a line: ``64x3x7x7, bias``; a bias and statistics have the size that everybody knows."""
        shapes = dict(self.tensors)
        weight = shapes.pop("weight", None)
        usual = {"bias", "running_mean", "running_var"}
        channels = weight[:1] if weight else None
        words = [text(weight)] if weight is not None else []
        if "running_mean" in shapes and all(s == channels for s in shapes.values()):
            return ", ".join(words)
        words += [n if n in usual and s == channels else f"{n} {text(s)}" for n, s in shapes.items()]
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for weights: a part of the emitted module, with the layer that it belongs to."""

    part: Part
    op: str = ""
    #: the names of the slots that it reads, directly or past layers without weights
    after: frozenset[str] = frozenset()
    #: whether it is part of a head that exists only while training
    aux: bool = False
    #: the block instances that it stands in: the definition, and how many components of the name are the instance's
    blocks: tuple[tuple[str, int], ...] = ()

    @property
    def label(self) -> str:
        """Name and op."""
        return f"{self.part.name} ({self.op})" if self.op else self.part.name


@dataclass(frozen=True, slots=True)
class Row:
    """One layer of a mapping; ``source`` is None where the weights are fresh."""

    source: Part | None
    target: Slot
    how: How


@dataclass(frozen=True)
class Match:
    """A mapping: a row for each slot, in execution order."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def keys(self) -> dict[str, str]:
        """Key of the spec -> key of the source; fresh ones are missing."""
        return {
            joined(row.target.part.name, leaf): joined(row.source.name, leaf)
            for row in self.rows
            if row.source is not None
            for leaf in (*dict(row.target.part.tensors), COUNTER)
        }

    def renewed(self, fresh: frozenset[str], shapes: Mapping[str, Shape]) -> Match:
        """The mapping onto a variant of the network that has these shapes, with fresh weights for the layers of these keys."""
        by_name = {part.name: part for part in parts(shapes)}
        renewed = {key.rpartition(".")[0] for key in fresh}
        rows = [
            Row(None, replace(r.target, part=by_name[r.target.part.name]), "fresh") if r.target.part.name in renewed else r
            for r in self.rows
        ]
        return Match(tuple(rows), self.notes)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no mapping, and the first place where the two sides part (None: nothing is left on that side).

    ``others`` are the modules that could stand in this place as well; then ``guess`` is the mapping that keeps closest to the spec's order.
    """

    reason: Literal["incomplete", "ambiguous"]
    message: str
    source: Part | None = None
    target: Slot | None = None
    others: tuple[Part, ...] = ()
    guess: Match | None = None
    #: how many layers have found their weights before
    agreed: int = 0


def text(shape: Shape) -> str:
    """A shape as people write it."""
    return "x".join(map(str, shape)) or "scalar"


def joined(prefix: str, leaf: str) -> str:
    """The key of a tensor."""
    return f"{prefix}.{leaf}" if prefix else leaf


# ----------------------------------------------------------------------------------------------------------------- the two sides


def wrapper(keys: Iterable[str]) -> str:
    """What wrappers of PyTorch put before every key: ``module.`` (data parallel), ``_orig_mod.`` (compiled), or both."""
    found = ""
    every = list(keys)
    while every:
        for mark in ("module.", "_orig_mod."):
            if all(k.startswith(found + mark) for k in every):
                found += mark
                break
        else:
            break
    return found


def parts(shapes: Mapping[str, Shape]) -> list[Part]:
    """The modules of a state dict, in the order of their first tensors."""
    found: dict[str, dict[str, Shape]] = {}
    for key, shape in shapes.items():
        prefix, _, leaf = key.rpartition(".")
        if leaf != COUNTER:
            found.setdefault(prefix, {})[leaf] = shape
    return [Part(name, tuple(sorted(tensors.items(), key=_leaf))) for name, tensors in found.items()]


def _leaf(item: tuple[str, Shape]) -> tuple[bool, str]:
    return item[0] != "weight", item[0]


def slots(checked: Checked, shapes: Mapping[str, Shape]) -> list[Slot]:
    """The places for weights of a network whose emitted module has these keys, in execution order."""
    graph, facts = checked.graph, checked.facts
    owners: dict[str, list[Part]] = defaultdict(list)
    paths = {key_path(n.path): n.id for n in graph.layers if n.shares is None}
    for part in parts(shapes):
        owners[_owner(part.name, paths)].append(part)
    found: list[Slot] = []
    made: dict[int, frozenset[str]] = {}
    for node in graph.nodes:
        before = frozenset[str]().union(*(made[ref.node] for ref in node.inputs))
        if node.shares is not None:
            made[node.id] = made[node.shares] if owners[key_path(graph.nodes[node.shares].path)] else before
            continue
        blocks = tuple(
            (f"{s.block.span.source.name}:{s.block.span.start}", len(split_path(s.path))) for s in node.scope.chain() if s.block is not None
        )
        for part in owners[key_path(node.path)]:
            found.append(Slot(part, node.op, before, facts[node.id].aux, blocks))
            before = frozenset({part.name})
        made[node.id] = before
    return found


def _owner(name: str, paths: Mapping[str, int]) -> str:
    """The layer that a module belongs to: itself, or the one that it is inside of."""
    inner = name
    while inner not in paths and "." in inner:
        inner = inner.rpartition(".")[0]
    return inner


# -------------------------------------------------------------------------------------------------------------------- the mapping


def match(source: Mapping[str, Shape], targets: Sequence[Slot], *, ordered: bool = True) -> Match | Refusal:
    """The mapping of a state dict's keys and shapes onto a network's slots.

    ``ordered`` says that the keys come in the order in which the other implementation has them; if the layers could not run in that
    order, as in a list of all convolutions before a list of all normalisations, numbers in names may still do. Equal names are taken as
    they are.
    Auxiliary heads may be missing, all of them together; they are then fresh.
    """
    found = parts(source)
    trunk = [s for s in targets if not s.aux]
    for wanted in (targets, trunk):
        if {p.name for p in found} == {s.part.name for s in wanted}:
            return _complete(_by_key(found, wanted), targets)
    by_number = sorted(found, key=lambda part: natural(part.name))
    sides = (targets, trunk) if len(trunk) < len(targets) else (targets,)
    aligned = _either(found if ordered else by_number, sides, ordered)
    if ordered and isinstance(aligned, Refusal) and aligned.reason == "incomplete":
        again = _either(by_number, sides, ordered=False)
        if isinstance(again, Match):
            note = "the layers could not run in the order that the file has them in; the numbers in their names gave another"
            aligned = replace(again, notes=(note, *again.notes))
    return _complete(aligned, targets)


def _either(found: Sequence[Part], sides: Iterable[Sequence[Slot]], ordered: bool) -> Match | Refusal:
    """The mapping onto the network, with its heads or without; where neither is complete, the refusal that got further."""
    refusals: list[Refusal] = []
    for wanted in sides:
        aligned = _align(found, wanted, ordered)
        if isinstance(aligned, Match) or aligned.reason == "ambiguous":
            return aligned
        refusals.append(aligned)
    return max(reversed(refusals), key=lambda refusal: refusal.agreed)


def _complete(found: Match | Refusal, targets: Sequence[Slot]) -> Match | Refusal:
    """A mapping with the heads that the source lacks as fresh rows."""
    if isinstance(found, Refusal):
        if found.guess is None:
            return found
        guess = _complete(found.guess, targets)
        assert isinstance(guess, Match)
        return replace(found, guess=guess)
    rows = {row.target.part.name: row for row in found.rows}
    lacking = [s for s in targets if s.part.name not in rows]
    notes = found.notes
    if lacking:
        notes += (f"the source has no auxiliary heads: {len(lacking)} of their layers are fresh",)
    return Match(tuple(rows.get(s.part.name) or Row(None, s, "fresh") for s in targets), notes)


def _by_key(found: Sequence[Part], targets: Sequence[Slot]) -> Match | Refusal:
    by_name = {part.name: part for part in found}
    rows = [Row(by_name[slot.part.name], slot, "key") for slot in targets]
    for row in rows:
        assert row.source is not None
        if row.source.tensors != row.target.part.tensors:
            return Refusal(
                "incomplete", "the names are the same, but not the shapes" + _hint(row.source, row.target), row.source, row.target
            )
    return Match(tuple(rows))


def _align(sources: Sequence[Part], targets: Sequence[Slot], ordered: bool) -> Match | Refusal:
    """The mapping by order and shape; names choose where these leave a choice."""
    fitting = [[t for t, slot in enumerate(targets) if slot.part.tensors == part.tensors] for part in sources]
    names = [part.name for part in sources]
    number = {slot.part.name: t for t, slot in enumerate(targets)}
    after = [bits(number[name] for name in slot.after) for slot in targets]
    search = Search(fitting, chain(len(names)) if ordered else numbered(names), after)
    try:
        choices = search.choices()
        if choices is None:
            return _incomplete(sources, targets, search)
        asked = doubtful(choices)
        guess = search.first()
        while doubtful(choices):
            barred = next(filter(None, (rule(choices, names, targets) for rule in RULES)), None)
            narrowed = search.choices(barred) if barred else None
            if narrowed is None:
                return _ambiguous(sources, targets, choices, _matched(sources, targets, guess, frozenset()))
            choices, guess = narrowed, search.first()
    except TooManyError:
        return Refusal("ambiguous", f"more than {LIMIT:,} partial mappings have fitting shapes")
    notes: tuple[str, ...] = ()
    if asked:
        some = ", ".join(targets[t].part.name for t in sorted(asked)[:4]) + (", …" if len(asked) > 4 else "")
        notes = (f"order and shapes leave a choice for {len(asked)} layers ({some}), which the names of the modules decide",)
    return _matched(sources, targets, guess, asked, notes)


def _matched(
    sources: Sequence[Part], targets: Sequence[Slot], pairs: Mapping[int, int], by_names: frozenset[int], notes: tuple[str, ...] = ()
) -> Match:
    rows = (Row(sources[pairs[t]], slot, "names" if t in by_names else "order") for t, slot in enumerate(targets))
    return Match(tuple(rows), notes)


def _ambiguous(sources: Sequence[Part], targets: Sequence[Slot], choices: Choices, guess: Match) -> Refusal:
    first = min(doubtful(choices))
    candidates = tuple(sources[s] for s in sorted(choices[first]))
    message = (
        f"{len(candidates)} modules have the shape and could have the place of {targets[first].part.name}, and no name tells which it is"
    )
    return Refusal("ambiguous", message, guess.rows[first].source, targets[first], candidates, guess)


def _incomplete(sources: Sequence[Part], targets: Sequence[Slot], search: Search) -> Refusal:
    """Where the longest partial mapping ends."""
    step, left, unfilled = search.end()
    source = None if left is None else sources[left]
    target = None if unfilled is None else targets[unfilled]
    if source is None:
        message = f"the source has {len(sources)} modules with weights, the spec {len(targets)} layers: some are missing"
    elif target is None:
        message = f"the source has {len(sources)} modules with weights, the spec only {len(targets)} layers"
    else:
        message = f"the first {step} layers agree, then the two sides part" if step else "the two sides part at the first layer"
    return Refusal("incomplete", message + _hint(source, target), source, target, agreed=step)


def _hint(source: Part | None, target: Slot | None) -> str:
    """What a mismatch may come from."""
    if source is None or target is None:
        return ""
    have, want = dict(source.tensors), dict(target.part.tensors)
    if set(have) != set(want):
        lacking, more = sorted(set(want) - set(have)), sorted(set(have) - set(want))
        words = [f"the source has no {n}" for n in lacking] + [f"the spec has no {n}" for n in more]
        return f" ({', '.join(words)})" if have.get("weight") == want.get("weight") else ""
    a, b = have.get("weight", ()), want.get("weight", ())
    if a != b and sorted(a) == sorted(b):
        return " (the same sizes in another order: is the weight transposed?)"
    if a != b and [n for n in a if n != 1] == [n for n in b if n != 1]:
        return " (a dense layer on one side, a 1x1 convolution on the other)"
    return ""
