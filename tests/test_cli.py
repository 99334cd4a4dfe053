"""The command `itkm`: help, messages, exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from PIL import Image

from itkm.cli import cli, main
from itkm.cli.pipeline import SCENARIO_STAGES, STAGES
from itkm.files import locked
from itkm.stages import prepare

WriteTiny = Callable[..., object]

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "pandas", "pydantic", "PIL", "open_clip", "sklearn", "dvc", "mlflow", "prefect")

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with one scenario, as the current folder."""
    (tmp_path / "params.yaml").write_text("scenarios: [mine]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(command: click.Command = cli, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group, as one types it."""
    yield name
    if isinstance(command, click.Group):
        for sub, inner in command.commands.items():
            yield from commands(inner, (*name, sub))


def test_help_imports_nothing_heavy() -> None:
    script = f"""
import sys
from itkm.cli import main
assert main(["--help"]) == 0
assert main(["data", "import", "--help"]) == 0
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", list(commands()), ids=" ".join)
def test_every_help_has_an_example(name: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example" in text
    assert f"itkm {' '.join(name)}" in text.split("Example")[1]


def test_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "itkm", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("itkm, version ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "Did you mean 'run'?"),
        (["run", "prepair"], "'prepair' is not one of"),
        (["run", "prepare", "--scenario", "yours"], "--scenario yours: not named in params.yaml, which has mine"),
        (["run", "homogeneous", "--scenario", "mine"], "stage homogeneous works on all scenarios at once"),
        (["run", "prepare"], "itkm data import FORMAT PATH --scenario mine --out data/mine"),
        (["result"], "Run `dvc repro`"),
        (["data", "check", "nowhere"], "nowhere: not usable"),
        (["data", "show", "nowhere"], "nowhere/manifest.parquet: no manifest here"),
        (["data", "import", "market", ".", "--scenario", "s", "--out", "o"], "unknown format 'market'"),
        (["data", "import", "folder", ".", "--scenario", "s", "--out", "o", "--group", "x"], "expected NAME=CAMERA"),
        (["data", "import", "folder", "."], "Missing option '--scenario'"),
        (["data", "show", "nowhere", "--out", "sheet"], "sheet: no suffix of an image that can be written"),
        (["data", "show", "nowhere", "--out", "sheet.xyz"], "Name it .png or .jpg"),
        (["data", "render", "--scenario", "xx"], "'xx' cannot be rendered, expected one of vi, cc, cr"),
    ],
)
@pytest.mark.usefixtures("project")
def test_bad_input_is_one_message_and_exit_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in out + err


def test_debug_shows_the_traceback(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "prepare", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert f"itkm: {Path('data/mine')}: no data of scenario 'mine'" in err


def test_a_misspelt_parameter_stops_a_stage(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "params.yaml").write_text("scenarios: [mine]\nsede: 1\n")
    assert main(["run", "prepare"]) == 2
    assert "did you mean 'seed'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            ZeroDivisionError("division by zero"),
            1,
            "a failure of ours: ZeroDivisionError: division by zero. Add --debug",
        ),
        (EOFError("cut off"), 1, "a failure of ours: EOFError: cut off"),
        (KeyboardInterrupt(), 130, "stopped. Type the same command again"),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_is_not_bad_input(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(prepare, "run", fail)
    assert main(["run", "prepare"]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.usefixtures("project")
def test_a_full_disk_is_noticed_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 10**6))
    assert main(["run", "prepare"]) == 2
    assert "500 MB needed, 1 MB free. Free some space" in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_without_a_scenario_a_stage_runs_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("params.yaml").write_text("scenarios: [b, a]\n")
    ran: list[object] = []
    monkeypatch.setattr(prepare, "run", lambda settings, layout, scenario: ran.append(scenario))
    assert main(["run", "prepare"]) == 0
    assert ran == ["b", "a"]


def test_every_stage_has_its_file() -> None:
    files = {path.stem for path in (ROOT / "itkm" / "stages").glob("*.py")}
    assert set(STAGES) <= files
    assert set(STAGES) >= SCENARIO_STAGES


def test_import_check_show(project: Path, write_crops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = ["--group", "day=c1,c2", "--group", "night=c3"]
    assert (
        main(["data", "import", "folder", str(write_crops), "--scenario", "mine", "--out", "data/mine", *groups]) == 0
    )
    assert "48 images" in capsys.readouterr().out
    assert main(["data", "check", "data/mine"]) == 0
    assert "data/mine: usable" in capsys.readouterr().out
    assert main(["data", "show", "data/mine", "--rows", "2"]) == 0
    with Image.open(project / "contact-sheet-mine.png") as sheet:
        assert min(sheet.size) > 100
    assert main(["data", "formats"]) == 0
    assert "market1501" in capsys.readouterr().out


def test_what_holds_feeds_or_is_held_is_not_rendered_over(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("itkm.data.render.dataset.render_scenario", lambda settings, scenario: iter(()))
    (project / "data/vi/feeds/c9").mkdir(parents=True)
    (project / "data/vi/feeds/c9/2026-03-03.tar").touch()
    assert main(["data", "render", "--scenario", "vi"]) == 2
    assert "data/vi: holds accepted feeds (feeds/c9/2026-03-03.tar)" in capsys.readouterr().err
    with locked(project / "data/cc/.itkm"):
        assert main(["data", "render", "--scenario", "cc"]) == 2
    assert "another `itkm` command works here" in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_no_scenario_is_rendered_before_all_names_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("itkm.data.render.dataset.render_scenario", lambda settings, scenario: iter(()))
    assert main(["data", "render", "--scenario", "vi", "--scenario", "xx"]) == 2
    assert "'xx' cannot be rendered" in capsys.readouterr().err
    assert not Path("data").exists()


def test_check_names_rows_and_exits_2(project: Path, write_tiny: WriteTiny, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny(project / "data" / "mine")["path"][0]
    shard = project / "data" / "mine" / "shards" / "c1.tar"
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b"\xff\xd8\xff", b"\x00\x00\x00", 1))  # the first image is a JPEG no more
    assert main(["data", "check", "data/mine"]) == 2
    out, err = capsys.readouterr()
    assert f"row 0 ({path} from c1/0001.jpg)" in out
    assert "data/mine: not usable" in err


def test_result_prints_table_and_place(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = {"protocol": "cross-group", "queries": 4, "skipped": 0, "gallery": 8, "rank1": 0.5, "rank5": 1.0}
    score |= {"rank10": 1.0, "rank20": 1.0, "mAP": 0.625, "mINP": 0.25}
    models = ("zero_shot", "zero_shot_centred", "homogeneous", "heterogeneous")
    metrics = {"scenarios": {"mine": dict.fromkeys(models, score)}, "average": dict.fromkeys(models, score)}
    (project / "reports").mkdir()
    (project / "reports" / "metrics.json").write_text(json.dumps({**metrics, "split": "test", "rendered": False}))
    assert main(["result"]) == 0
    out = capsys.readouterr().out
    assert "cross-group" in out
    assert "62.5" in out
    assert str(project / "reports" / "report.html") in out
