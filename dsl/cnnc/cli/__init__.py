"""The command line: read, call, print. One file a command, imported when the command is used."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from cnnc._version import __version__
from cnnc.cli import startup

#: The commands in the order of the help text; each is ``cnnc.cli.NAME.command``.
COMMANDS = ("compile", "shapes", "check", "verify", "diff", "sweep", "weights", "list", "new")

#: Exit status of an internal error, and of output that cannot be written (EX_SOFTWARE, EX_IOERR).
INTERNAL, UNWRITTEN = 70, 74


class _Commands(click.Group):
    """Commands that are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"cnnc.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            if args[0].startswith("-"):
                raise
            raise click.UsageError(_no_command(args[0]), ctx) from None


def _no_command(name: str) -> str:
    from difflib import get_close_matches

    if name.endswith(".cnn"):
        return f"{name!r} is a spec, not a command; try `cnnc shapes {name}`."
    close = get_close_matches(name, COMMANDS, 1, 0.6)
    known = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(COMMANDS)}."
    return f"there is no command {name!r}; {known}"


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="cnnc %(version)s")
def cli() -> None:
    """Convolutional networks as papers list them: every shape checked, PyTorch code out.

    SPEC is a .cnn file, `-` for standard input, or the name of a bundled network such as `alexnet`.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """The program. Never ends in a traceback."""
    try:
        startup.prepare()
        _prepare()
        result = cli.main(args=arguments, prog_name="cnnc", standalone_mode=False)
        status = result if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        status = end.exit_code
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        status = _internal_error(error)
    status = _flushed(status)
    startup.finish()
    sys.exit(status)


def _prepare() -> None:
    """Let nothing that is printed, and nobody who stops reading, end in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    if os.name == "posix":
        import signal

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _flushed(status: int) -> int:
    """Write out what is printed; a full disk is told in a line."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _to_nowhere()
        _say(f"cnnc: standard output cannot be written: {error.strerror or error}")
        return status or UNWRITTEN
    return status


def _to_nowhere() -> None:
    """Keep Python's own flush at exit from complaining once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _say(line: str) -> None:
    if sys.stderr is not None:
        click.echo(line, err=True)


def _internal_error(error: BaseException) -> int:
    """One line about a bug of ours, and a file with all that helps to mend it."""
    if isinstance(error, OSError) and error.filename is None:
        _to_nowhere()
        _say(f"cnnc: output cannot be written: {error.strerror or error}")
        return UNWRITTEN
    what = " ".join(f"{type(error).__name__}: {error}".split())
    line = f"cnnc {__version__}: internal error: {what[:200]}"
    try:
        line += f"; this is a bug in cnnc, not in your spec; a report is in {_report(error)}"
    except OSError:
        line += "; this is a bug in cnnc, not in your spec"
    _say(line)
    return INTERNAL


def _report(error: BaseException) -> str:
    import platform
    import tempfile
    import traceback

    lines = [
        f"cnnc {__version__}, Python {platform.python_version()} on {platform.platform()}",
        f"arguments: {sys.argv[1:]}",
        "",
        *traceback.format_exception(error),
    ]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="backslashreplace", prefix="cnnc-", suffix=".txt", delete=False) as file:
        file.write("\n".join(lines))
    return file.name


__all__ = ["COMMANDS", "cli", "main"]
