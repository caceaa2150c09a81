"""All complete mappings between two partly ordered sets at once, as a graph of partial ones.

A partial mapping matters only by which modules it has used and which slots it has filled, so that two ways through a block meet
again behind it: where a list of all mappings would double with every choice, the graph grows with the number of layers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

#: The modules that each slot has in one complete mapping or another, all by number.
Choices: TypeAlias = Mapping[int, frozenset[int]]

#: The partial mappings that are looked at before giving up. A ResNet-152 takes 315.
LIMIT = 20_000

#: Modules used and slots filled, as sets of bits.
_State: TypeAlias = tuple[int, int]
#: What a state can be reached from: the state before, and the module and the slot that were then paired.
_Level: TypeAlias = dict[_State, list[tuple[_State, int, int]]]


class TooManyError(Exception):
    """More partial mappings than it is worth looking at."""


def bits(numbers: Iterable[int]) -> int:
    """A set of small numbers as the bits of one."""
    return sum(1 << n for n in numbers)


def chain(count: int) -> list[int]:
    """What is before each of ``count`` things that have one order."""
    return [1 << n - 1 if n else 0 for n in range(count)]


def doubtful(choices: Choices) -> frozenset[int]:
    """The slots that more than one module could fill."""
    return frozenset(t for t, found in choices.items() if len(found) > 1)


class Search:
    """Which module fills which slot, where a module and a slot must fit and both sides keep their order.

    ``fitting`` are the slots that each module fits, ``source_after`` and ``target_after`` what must come before each module and each slot.
    """

    def __init__(self, fitting: Sequence[Sequence[int]], source_after: Sequence[int], target_after: Sequence[int]) -> None:
        self.fitting, self.source_after, self.target_after = fitting, source_after, target_after
        self.barred: frozenset[tuple[int, int]] = frozenset()
        self.levels: list[_Level] = []
        self.live: list[_Level] = []

    def choices(self, barred: Iterable[tuple[int, int]] = ()) -> dict[int, frozenset[int]] | None:
        """What each slot can have; None when there is no complete mapping. ``barred`` pairs (module, slot) stay so."""
        self.barred |= frozenset(barred)
        self._forward()
        whole = ((1 << len(self.source_after)) - 1, (1 << len(self.target_after)) - 1)
        if whole not in self.levels[-1]:
            return None
        self._backward(whole)
        found: dict[int, set[int]] = defaultdict(set)
        for level in self.live:
            for ways in level.values():
                for _, s, t in ways:
                    found[t].add(s)
        return {t: frozenset(found[t]) for t in range(len(self.target_after))}

    def _forward(self) -> None:
        """Each level pairs one more than the one before; the last is the longest that can be."""
        self.levels = [{(0, 0): []}]
        size = 0
        while self.levels[-1]:
            ahead: _Level = {}
            for state in self.levels[-1]:
                for s, t in self._moves(state):
                    ahead.setdefault((state[0] | 1 << s, state[1] | 1 << t), []).append((state, s, t))
            size += len(ahead)
            if size > LIMIT:
                raise TooManyError
            self.levels.append(ahead)
        self.levels.pop()

    def _moves(self, state: _State) -> Iterator[tuple[int, int]]:
        filled = state[1]
        for s in self._next(state):
            for t in self.fitting[s]:
                if not filled >> t & 1 and not self.target_after[t] & ~filled and (s, t) not in self.barred:
                    yield s, t

    def _next(self, state: _State) -> Iterator[int]:
        """The modules whose turn it is."""
        used = state[0]
        return (s for s, after in enumerate(self.source_after) if not used >> s & 1 and not after & ~used)

    def _backward(self, whole: _State) -> None:
        """Keep the ways that lead to a complete mapping."""
        wanted = {whole}
        self.live = []
        for level in reversed(self.levels[1:]):
            kept = {state: ways for state, ways in level.items() if state in wanted}
            wanted = {before for ways in kept.values() for before, _, _ in ways}
            self.live.append(kept)
        self.live.reverse()

    def first(self) -> dict[int, int]:
        """One of the complete mappings, slot to module: the one that fills the earliest slots first."""
        ahead: dict[_State, list[tuple[int, int, _State]]] = defaultdict(list)
        for level in self.live:
            for state, ways in level.items():
                for before, s, t in ways:
                    ahead[before].append((t, s, state))
        found: dict[int, int] = {}
        at: _State = (0, 0)
        while at in ahead:
            t, s, at = min(ahead[at])
            found[t] = s
        return found

    def end(self) -> tuple[int, int | None, int | None]:
        """How long the longest partial mapping is, and the module and the slot that are next; None where nothing is left."""
        state = next(iter(self.levels[-1]))
        unfilled = (t for t in range(len(self.target_after)) if not state[1] >> t & 1)
        return len(self.levels) - 1, next(self._next(state), None), next(unfilled, None)
