"""The README's commands exist and take the options that they are given; its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from itkm.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.split("#")[0].strip()
]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("itkm ")])
def test_itkm_command_parses(line: str) -> None:
    arguments = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="itkm")
    while isinstance(command, click.Group):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None, line
        command, context = found, click.Context(found, parent=context, info_name=name)
    command.parse_args(context, list(arguments))


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_make_target_exists(line: str) -> None:
    assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_your_own_data_edits_a_line_that_exists() -> None:
    pattern = next(line for line in LINES if line.startswith("sed "))
    assert "^scenarios: " in pattern
    assert re.search(r"^scenarios: ", (ROOT / "params.yaml").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"!?\[[^\]]*\]\((?!https?:)([^)]+)\)", README))
def test_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_no_placeholder_is_left() -> None:
    assert not re.search(r"\b(RESULTS|GATE)_[A-Z]+", README)
