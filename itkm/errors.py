"""The two ways in which the command `itkm` fails, and what each means for its exit code."""

from __future__ import annotations


class ItkmError(Exception):
    """A failure of ours that we can name: exit code 1, no traceback."""

    exit_code = 1


class InputError(ItkmError):
    """The user's input cannot be used: exit code 2.

    The message names the file and row, what was expected, and what to do.
    """

    exit_code = 2
