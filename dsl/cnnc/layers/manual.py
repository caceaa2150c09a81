"""The reference manual of the operators, read off the classes that define them: fields, defaults, docstrings."""

from __future__ import annotations

import inspect
import re
from typing import Any

from cnnc.layers.base import KINDS, Layer, describe

_FAMILIES = (
    ("convolution", "Convolution"),
    ("dense", "Dense"),
    ("pooling", "Pooling"),
    ("normalisation", "Normalisation"),
    ("activation", "Activation"),
    ("regularisation", "Regularisation"),
    ("shape", "Shape"),
    ("merge", "Merges"),
)


def signature(kind: type[Layer]) -> str:
    """An op as a spec calls it: ``maxpool(size, stride, pad=0, dilation=1, round)``. What has no default shown may be left out
    where the text of the op says what it is then."""
    parts = list(kind.references)
    for field, info in kind.model_fields.items():
        name = info.alias or field
        parts.append(name if info.is_required() or info.default is None else f"{name}={_default(info.default)}")
    if kind.role == "merge":
        return f"{kind.keyword} {{ … }}"
    return f"{kind.keyword}({', '.join(parts)})" if parts else kind.keyword


def _default(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if isinstance(value, float) else describe(value)


def manual() -> str:
    """All operators as a Markdown page, family by family."""
    lines = [
        "# Operators",
        "",
        "Made from the classes in `dsl/cnnc/layers` by `make docs`; a test holds it up to date. Arguments may be given by position, in the",
        "order shown, or by name. Those without a default that an op can do without are optional, and its text says what they mean.",
    ]
    for role, title in _FAMILIES:
        lines += ["", f"## {title}"]
        for kind in KINDS.values():
            if kind.role != role:
                continue
            text = inspect.cleandoc(kind.__doc__ or "")
            lines += ["", f"### `{signature(kind)}`", "", re.sub(r"``([^`]*)``", r"`\1`", text)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(manual())
