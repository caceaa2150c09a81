"""Every layer kind, one small file a family. Importing this package defines them all."""

from __future__ import annotations

import importlib
import pkgutil

from cnnc.layers.base import KINDS, Layer, Map, Merge, Split

#: modules of this package that define no kind
_SHARED = {"base", "form", "init", "manual", "steps"}

for _module in pkgutil.iter_modules(__path__):
    if _module.name not in _SHARED:
        importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["KINDS", "Layer", "Map", "Merge", "Split"]
