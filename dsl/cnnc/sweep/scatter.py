"""A scatter plot as the text of an SVG file. Knows nothing of networks: points with two numbers, a series and a title."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: The first line after the SVG element: says who wrote the file.
MARK = "<!-- made by cnnc sweep -->"

#: An axis is logarithmic where the largest number is more than so many times the smallest.
LOG_FROM = 30

_WIDTH, _HEIGHT = 760, 500
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 48, 60
#: The width that a legend takes at the right, and the height of one of its lines.
_LEGEND, _LINE = 170, 20
_LONGEST_NAME = 20

#: Colours that stay apart for colour-blind eyes (Okabe & Ito, 2008), without black and with a darker yellow; and marks, which say it again.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f7f7f")
_SHAPES = ("circle", "square", "triangle", "diamond")
#: More series than this are not told apart.
MOST_SERIES = 20

#: What XML cannot hold, and text that would end a line.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Point:
    """A point; ``title`` is shown where the mouse is over it."""

    x: float
    y: float
    series: str
    title: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From numbers to places between ``start`` and ``end``."""

    low: float
    high: float
    log: bool
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a number is."""
        share = (self._scaled(value) - self._scaled(self.low)) / (self._scaled(self.high) - self._scaled(self.low))
        return self.start + share * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    @property
    def ticks(self) -> list[float]:
        """Round numbers along the axis, few enough to read."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)


def axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis with room for some numbers: logarithmic for more than ``LOG_FROM`` times the smallest, if none is 0 or below."""
    low, high = min(values), max(values)
    if low > 0 and high > LOG_FROM * low:
        return Axis(low / (high / low) ** 0.05, high * (high / low) ** 0.05, True, start, end)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(max(low - room, 0.0) if low >= 0 else low - room, high + room, False, start, end)


def _ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps: tuple[int, ...] = (1, 2, 5) if len(powers) <= 4 else (1,)
    found = [k * 10.0**p for p in powers for k in steps if low <= k * 10.0**p <= high]
    return found[:: max(1, len(found) // 8)]


def short(value: float) -> str:
    """A number as an axis has it: ``2.5M``."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size * 0.99999:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def escape(text: str) -> str:
    """A text that is safe anywhere in an SVG file."""
    text = _UNPRINTABLE.sub("\ufffd", text)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(character, entity)
    return text


# ----------------------------------------------------------------------------------------------------------------------- drawing


def scatter(points: Sequence[Point], title: str, x_label: str, y_label: str) -> str:
    """The plot of some points, at least one."""
    names = list(dict.fromkeys(p.series for p in points))
    legend = 1 < len(names) <= MOST_SERIES
    width = _WIDTH + (_LEGEND if legend else 0)
    height = max(_HEIGHT, _TOP + _LINE * len(names) + _BOTTOM if legend else 0)
    x = axis([p.x for p in points], _LEFT, _WIDTH - _RIGHT)
    y = axis([p.y for p in points], height - _BOTTOM, _TOP)
    styles = {name: (_COLOURS[k % len(_COLOURS)], _SHAPES[k % len(_SHAPES)]) for k, name in enumerate(names)}
    if not legend:
        styles = dict.fromkeys(names, (_COLOURS[0], _SHAPES[0]))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">',
        MARK,
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="28" font-size="15" font-weight="bold" fill="#222222">{escape(title)}</text>',
        *_x_axis(x, y, x_label),
        *_y_axis(x, y, y_label),
        *(_point(p, x, y, *styles[p.series]) for p in points),
        *(_legend(styles) if legend else ()),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _n(value: float) -> str:
    """A coordinate."""
    return f"{value:.1f}".removesuffix(".0")


def _scale(label: str, of: Axis) -> str:
    return escape(f"{label} (logarithmic)" if of.log else label)


def _x_axis(x: Axis, y: Axis, label: str) -> Iterator[str]:
    bottom, top = y.start, y.end
    for tick in x.ticks:
        at = _n(x(tick))
        yield f'<line x1="{at}" y1="{_n(bottom)}" x2="{at}" y2="{_n(top)}" stroke="#e6e6e6"/>'
        yield f'<text x="{at}" y="{_n(bottom + 18)}" text-anchor="middle" fill="#444444">{short(tick)}</text>'
    yield f'<line x1="{_n(x.start)}" y1="{_n(bottom)}" x2="{_n(x.end)}" y2="{_n(bottom)}" stroke="#888888"/>'
    middle = _n((x.start + x.end) / 2)
    yield f'<text x="{middle}" y="{_n(bottom + 42)}" text-anchor="middle" font-size="13" fill="#222222">{_scale(label, x)}</text>'


def _y_axis(x: Axis, y: Axis, label: str) -> Iterator[str]:
    left, right = x.start, x.end
    for tick in y.ticks:
        at = y(tick)
        yield f'<line x1="{_n(left)}" y1="{_n(at)}" x2="{_n(right)}" y2="{_n(at)}" stroke="#e6e6e6"/>'
        yield f'<text x="{_n(left - 8)}" y="{_n(at + 4)}" text-anchor="end" fill="#444444">{short(tick)}</text>'
    yield f'<line x1="{_n(left)}" y1="{_n(y.start)}" x2="{_n(left)}" y2="{_n(y.end)}" stroke="#888888"/>'
    middle = _n((y.start + y.end) / 2)
    turned = f'x="{_n(left - 62)}" y="{middle}" transform="rotate(-90 {_n(left - 62)} {middle})"'
    yield f'<text {turned} text-anchor="middle" font-size="13" fill="#222222">{_scale(label, y)}</text>'


def _point(point: Point, x: Axis, y: Axis, colour: str, shape: str) -> str:
    return f'<g fill="{colour}" fill-opacity="0.7"><title>{escape(point.title)}</title>{_mark(shape, x(point.x), y(point.y))}</g>'


def _mark(shape: str, x: float, y: float) -> str:
    if shape == "circle":
        return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="4.5"/>'
    if shape == "square":
        return f'<rect x="{_n(x - 4)}" y="{_n(y - 4)}" width="8" height="8"/>'
    if shape == "triangle":
        return f'<path d="M{_n(x)} {_n(y - 5.2)}l5 9h-10z"/>'
    return f'<path d="M{_n(x)} {_n(y - 5.8)}l5.8 5.8l-5.8 5.8l-5.8 -5.8z"/>'


def _legend(styles: dict[str, tuple[str, str]]) -> Iterator[str]:
    for k, (name, (colour, shape)) in enumerate(styles.items()):
        y = _TOP + _LINE * k + 8
        shown = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        yield f'<g fill="{colour}" fill-opacity="0.7"><title>{escape(name)}</title>{_mark(shape, _WIDTH + 8, y)}</g>'
        yield f'<text x="{_WIDTH + 22}" y="{y + 4}" fill="#222222">{escape(shown)}</text>'


__all__ = ["LOG_FROM", "MARK", "Axis", "Point", "axis", "escape", "scatter", "short"]
