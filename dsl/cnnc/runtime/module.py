"""An emitted module, made real: its text is executed once and its network class constructed."""

from __future__ import annotations

import itertools
import linecache
import sys
import types
from collections.abc import Mapping
from typing import Any

from torch import nn

from cnnc.check import Checked
from cnnc.compiler import emit

_numbers = itertools.count(1)


def build_module(checked: Checked) -> nn.Module:
    """The network as an ``nn.Module`` with freshly initialised weights. Raises CnncError when it cannot be emitted."""
    return construct(emit(checked, "torch"))


def construct(text: str, given: Mapping[str, Any] | None = None) -> nn.Module:
    """The network of an emitted text, constructed: the class that it exports. ``given`` are names that it may use beside its own."""
    names = execute(text, given)
    found = names[names["__all__"][0]]()
    assert isinstance(found, nn.Module)
    return found


def forget(module: nn.Module) -> None:
    """Let go of the text and the names behind a constructed network: it still runs, but cannot be pickled."""
    name = type(module).__module__
    sys.modules.pop(name, None)
    linecache.cache.pop(f"<{name}>", None)


def execute(text: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The names that an emitted text defines, as a module of its own: classes can be pickled and their source looked up."""
    unique = f"cnnc_emitted_{next(_numbers)}"
    file = f"<{unique}>"
    module = types.ModuleType(unique)
    module.__file__ = file
    module.__dict__.update(given or {})
    sys.modules[unique] = module
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        exec(compile(text, file, "exec"), module.__dict__)
    except BaseException:
        del sys.modules[unique]
        raise
    return module.__dict__
