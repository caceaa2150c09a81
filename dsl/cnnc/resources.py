"""Where the files that ship with the package are: the grammar, the bundled specs; and the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """The folder that holds ``grammars/`` and ``specs/``: the package's own when installed, else the checkout's."""
    return _PACKAGE if (_PACKAGE / "grammars").is_dir() else _PACKAGE.parent.parent


def grammar_path() -> Path:
    """The grammar of the language."""
    return root() / "grammars" / "cnn.lark"


def specs_dir() -> Path:
    """The folder of the bundled specs."""
    return root() / "specs"


def std_dir() -> Path:
    """The folder of the bundled blocks, imported as ``std.name``."""
    return specs_dir() / "std"


def bundled_specs() -> dict[str, Path]:
    """Name to file of every bundled spec, by name."""
    return {p.stem: p for p in sorted(specs_dir().glob("*.cnn"))}


def cache_dir() -> Path | None:
    """A private folder for things that cost time to make again; None where there can be none, or with ``CNNC_NO_CACHE`` set.

    What lies there is trusted, so a folder that others may write to is not taken.
    """
    if os.environ.get("CNNC_NO_CACHE"):
        return None
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "cnnc"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            found = folder.stat()
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                return None
    except (OSError, RuntimeError):
        return None
    return folder if os.access(folder, os.W_OK) else None
