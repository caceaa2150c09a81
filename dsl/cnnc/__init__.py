"""cnnc: a small language and a compiler for convolutional networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnnc._version import __version__

if TYPE_CHECKING:
    from cnnc.api import Layer, Network, load, parse
    from cnnc.diagnostics.model import CnncError, Diagnostic

__all__ = ["CnncError", "Diagnostic", "Layer", "Network", "__version__", "load", "parse"]

_HOMES = {
    "load": "cnnc.api",
    "parse": "cnnc.api",
    "Network": "cnnc.api",
    "Layer": "cnnc.api",
    "CnncError": "cnnc.diagnostics.model",
    "Diagnostic": "cnnc.diagnostics.model",
}


def __getattr__(name: str) -> Any:
    # Public names are imported when they are first used: `cnnc --version` need not load the compiler.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'cnnc' has no attribute {name!r}")
