"""The two ways in which the command `itkm` fails, what each means for its exit code, and what no message shows."""

from __future__ import annotations

import re


class ItkmError(Exception):
    """A failure of ours that we can name: exit code 1, no traceback."""

    exit_code = 1


class InputError(ItkmError):
    """The user's input cannot be used: exit code 2.

    The message names the file and row, what was expected, and what to do.
    """

    exit_code = 2


def without_password(address: str) -> str:
    """An address as it may be shown."""
    return re.sub(r"//[^/@]*@", "//", address)
