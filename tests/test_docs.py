"""What the documents say is so: commands exist, links lead somewhere, numbers are counted."""

import re
import tomllib
from pathlib import Path

import pytest
import typer

from features.catalogue import catalog
from kunto.cli import app
from models.playbooks import load
from training.settings import TrainingSettings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
NOT_THERE_YET = "## Not there yet"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_readme_names_commands_and_options_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split(NOT_THERE_YET)[0]
    named = set(re.findall(r"`kunto ([a-z]+)|^\$ kunto ([a-z]+)", readme, flags=re.MULTILINE))
    assert {one or other for one, other in named} <= set(COMMANDS)
    train = {option for parameter in COMMANDS["train"].params for option in parameter.opts}
    listed = re.search(r"gate, register; `([^`]+)`", readme)
    assert listed is not None
    assert set(listed[1].split()) <= train


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").split(NOT_THERE_YET)[0]
    assert [name for name in COMMANDS if f"kunto {name}" not in readme] == []


def test_counts_in_the_readme_are_counted() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{len(catalog())} of them" in readme
    assert f"{len(load())} playbooks" in readme


def test_the_configuration_that_is_told_is_the_default() -> None:
    told = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "training.md").read_text(encoding="utf-8"), re.DOTALL)
    assert told is not None
    assert TrainingSettings.model_validate(tomllib.loads(told[1])["training"]) == TrainingSettings()


def test_locks_name_no_package_host() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        assert "://" not in lock.read_text(encoding="utf-8"), lock.name


def test_every_dependency_is_locked() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for requirement in declared:
        name = re.split(r"[\[<>=~! ]", requirement)[0]
        assert re.search(rf"^{re.escape(name)}(\[|==)", locked, flags=re.MULTILINE), name
