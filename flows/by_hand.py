"""A flow that a person starts: what goes wrong is said without a traceback."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import click
import httpx
from prefect.exceptions import PrefectHTTPStatusError

from itkm.errors import InputError, ItkmError

if TYPE_CHECKING:
    from prefect import Flow

NO_SERVER = (
    "no Prefect server answers at {address}. Start it with `make up`, correct PREFECT_API_URL, or unset it: the flow "
    "then brings a server of its own."
)
NO_START = (
    "Prefect's own server did not start in {seconds} s. Try again when the machine is less busy, set "
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, or start one with `make up` and set PREFECT_API_URL."
)
NO_ENTRY = "the Prefect server at {address} refuses us ({code}). Set PREFECT_API_AUTH_STRING to its user:password."


def by_hand(flow: Callable[[], object]) -> None:
    """Runs a flow; ends the process with code 1 or 2 where it fails."""
    address = os.environ.get("PREFECT_API_URL", "its address")
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_traceback)
    try:
        flow()
    except ItkmError as error:
        _end(str(error), error.exit_code)
    except PrefectHTTPStatusError as error:
        code = error.response.status_code
        if code not in (401, 403):
            raise
        _end(NO_ENTRY.format(address=address, code=code), ItkmError.exit_code)
    except (httpx.TransportError, RuntimeError) as error:
        if "ephemeral Prefect API server" in str(error):
            seconds = os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"]
            _end(NO_START.format(seconds=seconds), ItkmError.exit_code)
        if isinstance(error, RuntimeError) and "reach API" not in str(error):
            raise
        _end(NO_SERVER.format(address=address), ItkmError.exit_code)


def without_arguments(flow: Flow[..., object]) -> None:
    """`by_hand` for a flow that takes nothing: whatever is typed behind it has it explained, not run."""
    if given := sys.argv[1:]:
        click.echo(f"usage: python -m flows.{flow.name}, without arguments\n\n{flow.description}", err=True)
        sys.exit(0 if given == ["--help"] else InputError.exit_code)
    by_hand(flow)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Lets a record pass, without the traceback of an error that has a message of ours: the last line says it."""
    if record.exc_info and isinstance(record.exc_info[1], ItkmError):
        record.exc_info = None
    return True


def _end(message: str, code: int) -> NoReturn:
    click.echo(f"flows: {message}", err=True)
    sys.exit(code)
