"""Specs from the disk: the one place that reads them. Bad files become diagnostics, and imports stay inside the project."""

from __future__ import annotations

from pathlib import Path

from cnnc.diagnostics.model import Diagnostic, Label
from cnnc.elaborate.values import nearest
from cnnc.resources import bundled_specs, specs_dir, std_dir
from cnnc.source import Source, Span
from cnnc.syntax import ast

#: The largest spec that is read, in bytes.
MAX_BYTES = 8 * 2**20

#: A folder with one of these is the root of a project.
_ROOT_MARKS = ("pyproject.toml", ".git")


def _no_file(name: str, headline: str, help: str | None = None, code: str = "E513") -> Diagnostic:
    return Diagnostic(code, headline, Label(Span(Source(name, ""), 0, 0)), help=help)


def decode(data: bytes, name: str, path: Path | None = None) -> Source | Diagnostic:
    """The source of some bytes, which must be UTF-8; a byte-order mark is dropped and line ends become newlines."""
    if len(data) > MAX_BYTES:
        return _no_file(name, f"{name} is too large: {len(data):,} bytes, and {MAX_BYTES:,} are the most", code="E514")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _no_file(name, f"{name} is not UTF-8: byte {error.start} (line {line}) is 0x{data[error.start]:02x}", code="E514")
    return Source(name, text.replace("\r\n", "\n").replace("\r", "\n"), path)


def read_file(path: Path, name: str | None = None) -> Source | Diagnostic:
    """The source of a file, or why it cannot be read."""
    shown = name or str(path)
    try:
        if path.is_dir():
            return _no_file(shown, f"{shown} is a folder, not a spec")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return _no_file(shown, f"there is no file {shown}")
    except OSError as error:
        return _no_file(shown, f"{shown} cannot be read: {(error.strerror or str(error)).lower()}")
    except ValueError:
        return _no_file(ascii(shown), f"{shown!a} is no file name")
    return decode(data, shown, path.resolve())


def find_spec(spec: str) -> Source | Diagnostic:
    """The source of what a user names: a path, or the name of a bundled spec such as ``alexnet``."""
    path = Path(spec)
    bundled = bundled_specs()
    try:
        there = path.exists()
    except (OSError, ValueError):
        there = False
    if there and not (path.is_dir() and spec in bundled):
        return read_file(path)
    name = spec.removesuffix(".cnn")
    if "/" not in spec and "\\" not in spec and name in bundled and (spec == name or not path.suffix):
        return read_file(bundled[name], f"{name}.cnn")
    guess = nearest(name, bundled) if "/" not in spec else None
    help = f"did you mean the bundled `{guess}`? `cnnc list` shows all" if guess else "`cnnc list` shows the bundled specs"
    return _no_file(spec, f"there is no file {ascii(spec)[1:-1]}, and no bundled spec of that name", help)


def project_root(path: Path) -> Path:
    """The folder that imports may not leave: the nearest one above with a project file, else the file's own."""
    for folder in path.parents:
        if any((folder / mark).exists() for mark in _ROOT_MARKS):
            return folder
    return path.parent


def read_import(source: Source, item: ast.Import) -> Source | str:
    """The source that an import names, or a sentence that says why there is none."""
    if item.dotted:
        return _read_std(item)
    if source.path is None:
        base = Path.cwd()
        root = project_root(base / "spec")
    else:
        base = source.path.parent
        inside = source.path.is_relative_to(specs_dir().resolve())
        root = specs_dir().resolve() if inside else project_root(source.path)
    if Path(item.module).is_absolute():
        return f"an import is relative to its file, but `{item.module}` is absolute"
    try:
        target = (base / item.module).resolve()
    except (OSError, ValueError, RuntimeError):
        return f"`{ascii(item.module)[1:-1]}` is no file name"
    if not target.is_relative_to(root.resolve()):
        return f"`{item.module}` leads out of the project: imports stay below the nearest folder with a pyproject.toml or a .git"
    shown = _shown(target, source)
    found = read_file(target, shown)
    return found if isinstance(found, Source) else found.headline


def _read_std(item: ast.Import) -> Source | str:
    head, _, rest = item.module.partition(".")
    if head != "std":
        return f"there is no `{item.module}`: bundled blocks are in `std`, and a file of yours is named in quotes"
    target = std_dir().joinpath(*rest.split(".")).with_suffix(".cnn")
    if not target.is_file():
        known = sorted(p.stem for p in std_dir().glob("*.cnn"))
        guess = nearest(rest, known)
        more = f"did you mean `std.{guess}`?" if guess else f"there is {', '.join('std.' + k for k in known)}"
        return f"there is no `{item.module}`: {more}"
    found = read_file(target, f"std/{target.name}")
    return found if isinstance(found, Source) else found.headline


def _shown(target: Path, source: Source) -> str:
    """A file's name beside the importing file's."""
    if source.path is None:
        return target.name
    folder = str(Path(source.name).parent)
    try:
        relative = target.relative_to(source.path.parent)
    except ValueError:
        return target.name
    return str(relative) if folder in (".", "") else str(Path(folder) / relative)
