"""What makes a short run short. Nothing here changes what is computed.

Measured on `cnnc shapes alexnet`, in instructions: 1,240 million without this module, 1,050 million with it.
"""

from __future__ import annotations

import gc
import sys
import types
from importlib import import_module
from typing import Any

_LOADER = "pydantic.plugin._loader"


def prepare() -> None:
    """Call before anything large is imported."""
    # A run allocates much and throws away next to nothing: the collector would search in vain.
    gc.disable()
    # pydantic looks for plug-ins of its own when it first builds a validator, and for that imports importlib.metadata, and with it
    # the packages email, zipfile and socket: a seventh of a run.
    sys.modules.setdefault(_LOADER, _NoPlugins(_LOADER))


def finish() -> None:
    """Call before the interpreter ends: what is about to go need not be searched for garbage first."""
    gc.freeze()


class _NoPlugins(types.ModuleType):
    """Stands for the module of pydantic that finds plug-ins, and finds none; asked for anything else, it is that module."""

    @staticmethod
    def get_plugins() -> tuple[()]:
        """No plug-ins."""
        return ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        del sys.modules[_LOADER]
        return getattr(import_module(_LOADER), name)
