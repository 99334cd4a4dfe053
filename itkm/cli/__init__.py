"""The command `itkm`: it parses, calls and prints. One file a command or group of commands.

What a command needs is imported when it is called, so that the help is instant.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence

import click

from itkm import __version__
from itkm.cli.ablate import ablate
from itkm.cli.data import data
from itkm.cli.embed import embed
from itkm.cli.feed import feed
from itkm.cli.label import label
from itkm.cli.model import model
from itkm.cli.pipeline import result, run
from itkm.cli.pretrain import pretrain
from itkm.cli.purge import purge
from itkm.cli.score import score
from itkm.cli.search import search
from itkm.errors import ItkmError

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 (a failure of ours), 2 (bad input), 130 (Ctrl-C), or its own."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in given
    _log_to_stderr()
    try:
        plain = [argument for argument in given if argument != "--debug"]
        code = cli.main(plain, prog_name="itkm", standalone_mode=False)
    except click.Abort as error:
        reason = error.__cause__ if error.__cause__ is not None else KeyboardInterrupt()
        return _fail(reason, debug=debug)
    except Exception as error:
        return _fail(error, debug=debug)
    return code if isinstance(code, int) else 0  # a verdict's; other commands return nothing


def _fail(error: BaseException, *, debug: bool) -> int:
    """Says what went wrong and returns the exit code."""
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        click.echo("itkm: stopped. Type the same command again: what is finished is kept, and it goes on.", err=True)
        return INTERRUPTED
    if isinstance(error, ItkmError):
        click.echo(f"itkm: {error}", err=True)
        return error.exit_code
    kind = type(error).__name__
    click.echo(f"itkm: a failure of ours: {kind}: {error}. Add --debug to see where; please report it.", err=True)
    return ItkmError.exit_code


class _PlainLines(logging.Formatter):
    """A message a line; only what is worth a look says its level."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, behind its level from `warning` on."""
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("itkm").setLevel(logging.INFO)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="itkm")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; any command takes it.")
def cli(debug: bool) -> None:
    """One model for person re-identification in many scenarios, trained without labels.

    \b
    Examples:
      itkm data import folder crops --group day=cam1,cam2 --group night=cam3 --scenario mine --out data/mine
      dvc repro
      itkm result
    """


for command in (data, run, result, embed, label, score, search, feed, model, purge, pretrain, ablate):
    cli.add_command(command)
