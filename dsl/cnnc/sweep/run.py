"""The analysis of every variant, over several processes. Each reads the spec once and elaborates it once for each variant."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cnnc.check import Checked
from cnnc.compiler import Options, check
from cnnc.compiler import parse as parse_source
from cnnc.diagnostics.model import CnncError, Diagnostic, Severity
from cnnc.elaborate.build import Built
from cnnc.elaborate.files import Loader, Unit
from cnnc.elaborate.networks import build_network
from cnnc.elaborate.values import Refusal
from cnnc.reading import read_import
from cnnc.source import Source
from cnnc.sweep.condition import Condition, facts
from cnnc.sweep.space import Variant, plain

#: The codes of shapes and facts that the spec states and that do not hold.
STATED = ("E402", "E403")

#: Fewer variants than this are analysed where they are: a process needs half a second to start.
FEW = 16
#: The most variants that a process is handed at once; small, so that the bar moves and Ctrl-C is quick.
CHUNK = 16
#: After how many variants a process searches for garbage: networks are full of circles.
SWEPT = 32


@dataclass(frozen=True)
class Job:
    """What every process needs to know."""

    source: Source
    where: str | None = None
    strict: bool = False
    ignore_stated: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a variant.

    ``problem`` is the headline of its first error, and ``code`` that error's; ``stated`` says that all its errors are shapes and facts
    that the spec states. ``facts`` are there without one. ``kept`` says whether the condition holds, and ``asked`` whether the
    problem is that it has no answer. ``parameters`` are all that the network has.
    """

    number: int
    facts: Mapping[str, int | None] | None
    parameters: Mapping[str, Any]
    kept: bool = True
    problem: str = ""
    code: str = ""
    stated: bool = False
    asked: bool = False


def load(source: Source) -> Unit:
    """The definitions of a spec. Raises CnncError where it has errors whatever its parameters are."""
    parsed = parse_source(source)
    loader = Loader(read_import, parse_source)
    unit = loader.load(parsed.file)
    errors = tuple(d for d in (*parsed.problems, *loader.problems) if d.severity is Severity.ERROR)
    if errors:
        raise CnncError(errors)
    return unit


class Analyst:
    """Analyses variants of one spec, one after the other."""

    def __init__(self, job: Job, unit: Unit | None = None) -> None:
        self.job = job
        self.unit = load(job.source) if unit is None else unit
        self.condition = None if job.where is None else Condition(job.where, self.unit)
        self._done = 0

    def __call__(self, variant: Variant) -> Row:
        """What comes of a variant."""
        self._done += 1
        if self._done % SWEPT == 0:
            gc.collect()
        built = build_network(self.unit, variant.network, {}, variant.texts, variant.inputs, False)
        if not isinstance(built, Built):
            return _refused(variant, built)
        checked = check(built, Options(strict=self.job.strict))
        errors = checked.errors
        if self.job.ignore_stated:
            errors = tuple(d for d in errors if d.code not in STATED)
        return _refused(variant, errors) if errors else self._row(variant, checked)

    def _row(self, variant: Variant, checked: Checked) -> Row:
        values = checked.graph.parameters
        shown = {name: plain(value) for name, value in values.items()}
        found = facts(checked)
        if self.condition is None:
            return Row(variant.number, found, shown)
        try:
            return Row(variant.number, found, shown, self.condition.holds(found, values))
        except Refusal as refusal:
            problem = refusal.diagnostic
            return Row(variant.number, found, shown, False, problem.headline, problem.code, asked=True)


def _refused(variant: Variant, errors: Sequence[Diagnostic]) -> Row:
    first = errors[0] if errors else None
    headline, code = ("the network cannot be built", "") if first is None else (first.headline, first.code)
    return Row(variant.number, None, {}, False, headline, code, bool(errors) and all(d.code in STATED for d in errors))


# ---------------------------------------------------------------------------------------------------------------------- processes


def run(
    job: Job, variants: Sequence[Variant], unit: Unit | None = None, jobs: int | None = None, done: Callable[[int], None] = lambda n: None
) -> list[Row]:
    """A row for each variant, in their order.

    ``jobs`` is the number of processes (None: one a core); ``done`` is told how many more variants are through. ``unit`` is the spec
    as this process has loaded it already.
    """
    workers = min(jobs or cores(), -(-len(variants) // CHUNK))
    if workers <= 1 or (jobs is None and len(variants) < FEW):
        analyse = Analyst(job, unit)
        rows = []
        for variant in variants:
            rows.append(analyse(variant))
            done(1)
        return rows
    size = max(1, min(CHUNK, len(variants) // (workers * 4)))
    chunks = [variants[i : i + size] for i in range(0, len(variants), size)]
    with _pool(job, workers) as pool:
        with _deaf():  # the processes start with the first chunk, and keep what this one ignores
            waiting = [pool.submit(_analyse, chunk) for chunk in chunks]
        for each in as_completed(waiting):
            done(len(each.result()))
    return [row for each in waiting for row in each.result()]


def cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


@contextmanager
def _pool(job: Job, workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that know the job. Whatever ends this early, Ctrl-C or an error, ends them, too."""
    before = set(multiprocessing.active_children())
    # A fresh process each, not a copy of this one: that is what every system can do, and no thread's lock is copied in its locked state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (job,))
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown(wait=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl-C for a moment: a process that is started meanwhile ignores it for good, and leaves it to this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


#: The analyst of a process that was started for a sweep.
_analyst: Analyst | None = None


def _start(job: Job) -> None:
    global _analyst
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()
    gc.disable()
    _analyst = Analyst(job)
    gc.freeze()


def _follow() -> None:
    """End with the process that started this one, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _analyse(variants: Sequence[Variant]) -> list[Row]:
    assert _analyst is not None
    return [_analyst(variant) for variant in variants]


__all__ = ["FEW", "STATED", "Analyst", "Job", "Row", "cores", "load", "run"]
