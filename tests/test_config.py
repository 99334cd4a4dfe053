"""params.yaml: what is refused and how, and that the file in the repository shows every option."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from itkm.config import Settings, read_settings
from itkm.errors import InputError

PARAMS = Path(__file__).parents[1] / "params.yaml"


def write(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_settings(write(folder, text))
    return str(caught.value)


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path, "scenarios: [mine]\nprompts: {epochs: 3}\n"))
    assert settings.scenarios == ("mine",)
    assert settings.prompts.epochs == 3
    assert settings.homogeneous == Settings(scenarios=("mine",)).homogeneous


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scenarios: [a]\nsede: 1\n", r"params\.yaml: sede: unknown parameter; did you mean 'seed'\?"),
        ("scenarios: [a]\nprompts: {epoch: 1}\n", r"prompts\.epoch: unknown parameter; did you mean 'epochs'\?"),
        ("scenarios: [a]\nlabelling: {kay1: 1}\n", r"labelling\.kay1: unknown parameter; did you mean 'k1'\?"),
        ("scenarios: [a]\nevaluate: {zzz: 1}\n", r"evaluate\.zzz: unknown parameter; known keys are split, protocol"),
        ("scenarios: [a]\nprompts: {epochs: many}\n", r"prompts\.epochs: .*valid integer"),
        ("scenarios: [a]\nprompts: {epochs: 0}\n", r"prompts\.epochs: .*greater than or equal to 1"),
        ("scenarios: [a]\nheterogeneous: {cluster_whitening: 1}\n", r"cluster_whitening: .*less than 1"),
        ("scenarios: [a]\nprompts: 3\n", r"prompts: .*valid dictionary"),
        ("scenarios: [a]\nevaluate: {split: train}\n", r"evaluate\.split: .*'test' or 'validation'"),
        (
            "scenarios: [a]\nevaluate: {protocol: sysu_all}\n",
            r"evaluate\.protocol: .*'sysu_all' is not known; did you mean 'sysu-all'\?$",
        ),
        (
            "scenarios: [a]\nevaluate: {protocol: {a: zzz}}\n",
            r"evaluate\.protocol: .*'zzz' is not known; known names are cross-group, market1501",
        ),
        (
            "scenarios: [a, b]\nevaluate: {protocol: {a: prcc, c: ltcc}}\n",
            r"params\.yaml: .*evaluate\.protocol names the scenarios a, c; expected one name for each of a, b\.",
        ),
        (
            "scenarios: [a]\nlabelling: {k1: 5}\n",
            r"labelling: .*labelling\.k2 is 6; expected at most labelling\.k1, 5.* raise labelling\.k1\.$",
        ),
        ("scenarios: [a]\ndevice: gpu\n", r"device: "),
        ("scenarios: [a, b, a]\n", r"scenarios: .*each scenario is named once"),
        ("scenarios: []\n", r"scenarios: .*at least 1"),
        ("scenarios: a\n", r"scenarios: "),
        ("seed: 1\n", r"scenarios: .*required"),
        ("scenarios: [a\n", r"not valid YAML"),
        ("", r"valid dictionary"),
        ("just text\n", r"valid dictionary"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(tmp_path: Path, text: str, said: str) -> None:
    message = refusal(tmp_path, text)
    assert re.search(said, message)
    assert str(tmp_path / "params.yaml") in message


def test_a_protocol_is_of_all_scenarios_or_of_each(tmp_path: Path) -> None:
    one = read_settings(write(tmp_path, "scenarios: [vi, cc]\nevaluate: {protocol: text}\n")).evaluate
    assert [one.protocol_of(scenario) for scenario in ("vi", "cc")] == ["text", "text"]
    each = "scenarios: [vi, cc]\nevaluate: {protocol: {vi: sysu-all, cc: prcc}}\n"
    evaluate = read_settings(write(tmp_path, each)).evaluate
    assert [evaluate.protocol_of(scenario) for scenario in ("vi", "cc")] == ["sysu-all", "prcc"]


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, "scenarios: [a]\nsede: 1\nprompts: {epochs: many}\n")
    assert "sede" in message
    assert "prompts.epochs" in message


def test_no_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Run the command in the project's folder"):
        read_settings(tmp_path / "params.yaml")


def test_settings_are_frozen() -> None:
    settings = Settings(scenarios=("a",))
    with pytest.raises(ValueError, match="frozen"):
        settings.prompts.epochs = 3  # type: ignore[misc]


def described_options() -> dict[str, tuple[str, object, bool]]:
    """For each option its description, its default, and whether it has one."""
    options: dict[str, tuple[str, object, bool]] = {}

    def walk(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                walk(inner, f"{prefix}{name}.")
            else:
                default = None if field.is_required() else field.get_default(call_default_factory=True)
                options[prefix + name] = (field.description or "", default, not field.is_required())

    walk(Settings, "")
    return options


def commented_options() -> dict[str, tuple[object, str]]:
    """For each option of params.yaml its value and the comment of its line."""
    options: dict[str, tuple[object, str]] = {}
    section = ""
    for line in PARAMS.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if header := re.fullmatch(r"(\w+):", line):
            section = f"{header[1]}."
            continue
        found = re.fullmatch(r"( *)(\w+): (.+?)  # (.+)", line)
        assert found, f"{line!r}: expected `option: value  # what it is`"
        options[(section if found[1] else "") + found[2]] = (yaml.safe_load(found[3]), found[4])
    return options


def test_params_yaml_is_valid() -> None:
    assert read_settings(PARAMS).scenarios == ("vi", "cc", "cr")


def test_params_yaml_shows_every_option() -> None:
    assert sorted(commented_options()) == sorted(described_options())


@pytest.mark.parametrize("option", sorted(described_options()))
def test_an_option_is_described_and_says_where_it_leaves_its_default(option: str) -> None:
    description, default, has_default = described_options()[option]
    value, comment = commented_options()[option]
    plain = list(default) if isinstance(default, tuple) else default
    assert description, "give the field a description"
    if not has_default or value == plain:
        assert comment == description
    else:
        said = re.fullmatch(re.escape(description) + r" \(default: (.+)\)", comment)
        assert said, f"expected the comment `{description} (default: {plain})`"
        assert yaml.safe_load(said[1]) == plain
