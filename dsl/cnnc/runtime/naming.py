"""What the names of modules tell where order and shapes leave a choice.

Each rule looks at the slots that can have one module only, and gives the pairs (module, slot) that are out of the question then. A rule
prefers and never excludes everything: it bars a pair only where another candidate is the better one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from cnnc.runtime.mapping import Slot
    from cnnc.runtime.search import Choices

_Pairs: TypeAlias = frozenset[tuple[int, int]]
_Path: TypeAlias = tuple[str, ...]


def natural(name: str) -> tuple[tuple[str, int], ...]:
    """A name's components as word and number, which sorts ``conv10`` behind ``conv9``; -1 is no number."""
    found = (re.fullmatch(r"(.*?)(\d{0,18})", piece, re.DOTALL) for piece in name.split("."))
    return tuple((m[1], int(m[2] or -1)) for m in found if m is not None)


def numbered(names: Sequence[str]) -> list[int]:
    """For each name those that its numbers put before it, as bits: where two first differ, they differ in nothing but a number."""
    pieces = [natural(name) for name in names]
    found = [0] * len(names)
    for i, a in enumerate(pieces):
        for k, b in enumerate(pieces):
            word, other = next(((x, y) for x, y in zip(a, b, strict=False) if x != y), (("", 0), ("", 0)))
            if word[0] == other[0] and 0 <= word[1] < other[1]:
                found[k] |= 1 << i
    return found


def apart(choices: Choices, names: Sequence[str], targets: Sequence[Slot]) -> _Pairs:
    """A normalisation stands by the layer that it normalises: ``bn1`` by ``conv1``, ``downsample.1`` by ``downsample.0``."""
    number = {slot.part.name: t for t, slot in enumerate(targets)}
    found: set[tuple[int, int]] = set()
    for t, candidates in choices.items():
        slot = targets[t]
        if len(candidates) > 1 and "norm" in slot.part.kind and len(slot.after) == 1:
            before = choices[number[min(slot.after)]]
            near = {s for s in candidates if len(before) == 1 and _beside(names[min(before)], names[s])}
            found |= {(s, t) for s in candidates - near if near}
    return frozenset(found)


def _beside(name: str, other: str) -> bool:
    """Whether two names differ in the last component only: in the word, or by one in the number."""
    *above, (word, number) = natural(name)
    *over, (second, following) = natural(other)
    return above == over and (number == following if word != second else number + 1 == following)


def strangers(choices: Choices, names: Sequence[str], targets: Sequence[Slot]) -> _Pairs:
    """A module whose prefix belongs to one part of the spec stays in that part: ``aux1.fc2`` is no layer outside of ``aux1``."""
    homes = _homes(choices, names, targets)
    found: set[tuple[int, int]] = set()
    for s, candidates in _reversed(choices).items():
        pieces = tuple(names[s].split("."))
        prefix = max((p for p in homes if pieces[: len(p)] == p), key=len, default=())
        inside = homes.get(prefix, set()) & candidates
        found |= {(s, t) for t in candidates - inside if inside}
    return frozenset(found)


def _homes(choices: Choices, names: Sequence[str], targets: Sequence[Slot]) -> dict[_Path, set[int]]:
    """Prefix -> the slots of the part of the spec whose modules, as far as they are known, have that prefix and no others have it."""
    members: dict[_Path, set[int]] = defaultdict(set)
    for t, slot in enumerate(targets):
        pieces = slot.part.name.split(".")
        for k in range(1, len(pieces)):
            members[tuple(pieces[:k])].add(t)
    fixed = {t: tuple(names[min(found)].split(".")) for t, found in choices.items() if len(found) == 1}
    homes: dict[_Path, set[int]] = defaultdict(set)
    for inside in members.values():
        prefix = _common([fixed[t][:-1] for t in inside if t in fixed])
        if prefix and not any(t not in inside and name[: len(prefix)] == prefix for t, name in fixed.items()):
            homes[prefix] |= inside
    return homes


def misnamed(choices: Choices, names: Sequence[str], targets: Sequence[Slot]) -> _Pairs:
    """A layer of a block has the same name in every instance: what is ``downsample.0`` in one is not ``conv3`` in the next."""
    instances: dict[tuple[str, _Path], list[int]] = defaultdict(list)
    for t, slot in enumerate(targets):
        for block, length in slot.blocks:
            instances[block, tuple(slot.part.name.split(".")[:length])].append(t)
    known: dict[tuple[str, _Path], set[_Path]] = defaultdict(set)
    open_: list[tuple[int, tuple[str, _Path], dict[int, _Path]]] = []
    for (block, instance), inside in instances.items():
        paths = {s: tuple(names[s].split(".")) for t in inside for s in choices[t]}
        prefix = len(_common(list(paths.values())))
        for t in inside:
            role = block, tuple(targets[t].part.name.split(".")[len(instance) :])
            candidates = {s: paths[s][prefix:] for s in choices[t]}
            if len(candidates) == 1:
                known[role] |= set(candidates.values())
            else:
                open_.append((t, role, candidates))
    found: set[tuple[int, int]] = set()
    for t, role, candidates in open_:
        good = {s for s, name in candidates.items() if name in known[role]}
        found |= {(s, t) for s in candidates.keys() - good if good}
    return frozenset(found)


#: The rules, the surest first.
RULES: tuple[Callable[[Choices, Sequence[str], Sequence[Slot]], _Pairs], ...] = (apart, strangers, misnamed)


def _reversed(choices: Choices) -> Mapping[int, set[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for t, candidates in choices.items():
        for s in candidates:
            found[s].add(t)
    return found


def _common(names: Sequence[_Path]) -> _Path:
    """The components that all names begin with."""
    if not names:
        return ()
    low, high = min(names), max(names)
    length = next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:length]
