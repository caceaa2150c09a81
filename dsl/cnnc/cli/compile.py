"""``cnnc compile``."""

from __future__ import annotations

import keyword
import os
import re
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnc.cli.common import ERRORS, Choice, Unable, analyse, open_spec, refuse, report, spec_options

if TYPE_CHECKING:
    from cnnc.check import Checked
    from cnnc.source import Source

#: How many bytes of a file are searched for the line that says who wrote it.
_SEARCHED = 2**16

#: The end of a target's files.
_SUFFIX = {"torch": ".py"}


def _target(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from cnnc.compiler import TARGETS

    if value not in TARGETS:
        raise click.BadParameter(f"there is no target {value!r}; there is {', '.join(TARGETS)}.")
    return value


@click.command()
@click.argument("spec", metavar="SPEC")
@click.option(
    "--target", default="torch", show_default=True, callback=_target, metavar="TARGET", help="What to write: torch is a PyTorch module."
)
@click.option("-o", "--output", metavar="FILE", help="Where to write; - is standard output. Unless told: alexnet.cnn gives ./alexnet.py.")
@click.option("--force", is_flag=True, help="Overwrite a file that cnnc did not write.")
@spec_options
def command(spec: str, target: str, output: str | None, force: bool, choice: Choice) -> None:
    """Write a network as code.

    The file is written whole or not at all, and never in the place of one that somebody else
    wrote, unless --force is given. Nothing is written for a spec with errors.
    """
    from cnnc.compiler import emit
    from cnnc.diagnostics.model import CnncError

    options = choice.options()
    source = open_spec(spec)
    found = analyse(source, options)
    if isinstance(found, tuple):
        report(found)
        raise click.exceptions.Exit(ERRORS)
    report(found.problems)
    if found.errors:
        raise click.exceptions.Exit(ERRORS)
    path = Path(output) if output is not None else _default(source, target)
    if str(path) != "-":
        _check_free(path, force)
    try:
        text = emit(found, target)
    except CnncError as error:
        report(error.diagnostics)
        raise click.exceptions.Exit(ERRORS) from None
    if str(path) == "-":
        _print(text)
        return
    try:
        _write(path, text.encode())
    except OSError as error:
        raise Unable(f"{path} cannot be written: {error.strerror or error}.") from None
    click.echo(f"{path}: {_about(found)}")


def _about(checked: Checked) -> str:
    totals = checked.totals
    heads = f", and {totals.aux_params:,} in auxiliary heads" if totals.aux_params else ""
    return f"{checked.graph.name}, {totals.params:,} parameters{heads}"


def _print(text: str) -> None:
    """Code goes out as UTF-8, whatever the terminal's encoding is."""
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        click.echo(text, nl=False)
    else:
        sys.stdout.flush()
        binary.write(text.encode())
        binary.flush()


# ---------------------------------------------------------------------------------------------------------------------- the file


def _default(source: Source, target: str) -> Path:
    """Where code goes when nobody says: a module of the spec's name in the current folder."""
    if source.path is None:
        return Path("-")
    stem = source.path.stem
    name = re.sub(r"\W", "_", stem)
    name = f"_{name}" if name[:1].isdigit() else name
    how = f"{stem!r} gives no good name for a module"
    if not name.strip("_"):
        refuse(f"{how}; name the file with -o.")
    if keyword.iskeyword(name):
        refuse(f"{how}: {name} is a keyword of Python; name the file with -o.")
    if name in sys.stdlib_module_names or name == "torch":
        refuse(f"{how}: {name}.py would hide Python's or PyTorch's own {name}; name the file with -o.")
    return Path(name + _SUFFIX.get(target, f".{target}"))


def _check_free(path: Path, force: bool) -> None:
    """Refuse to overwrite what cnnc did not write."""
    from cnnc.backends.torch import GENERATED_MARK

    try:
        if path.is_dir():
            refuse(f"{path} is a folder.")
        if force or not path.is_file() or not path.stat().st_size:
            return
        with path.open("rb") as file:
            ours = re.search(rf"^{re.escape(GENERATED_MARK)}\b", file.read(_SEARCHED).decode("utf-8", "replace"), re.MULTILINE)
    except OSError as error:
        raise Unable(f"{path} cannot be looked at: {error.strerror or error}.") from None
    except ValueError:
        refuse(f"{str(path)!r} is no file name.")
    if ours is None:
        refuse(f"{path} exists and was not written by cnnc; --force overwrites it.")


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. What is no plain file (a pipe, a device) is written to, not replaced."""
    path = path.resolve()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG | (0o666 & ~_umask())
    if not stat.S_ISREG(mode):
        path.write_bytes(data)
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(stat.S_IMODE(mode))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
