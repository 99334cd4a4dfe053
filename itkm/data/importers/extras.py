"""Packages that only some formats need: imported when such a format is read."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from itkm.errors import InputError


def load_extra(package: str, *, file: Path) -> Any:
    """Imports a package of the extra `formats`.

    Raises:
        InputError: it is not installed; `file` is what needs it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"{file}: reading it needs the package {package}: install the extra `formats` "
            "(pip install 'itkm[formats]')."
        ) from error
