"""What several commands share: the types of their options, and the settings of the project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from itkm.config import Settings

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
SPACE = 500_000_000  # bytes that must be free before a stage or a rendering begins

PARAMS = Path("params.yaml")


def project_settings() -> Settings:
    """The settings of the project in the current folder."""
    from itkm.config import read_settings

    return read_settings(PARAMS)
