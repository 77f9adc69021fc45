"""How a model is packed for MLflow: its texts, the code that predicts, the packages which that code imports, a digest of it."""

import ast
import hashlib
import sys
import tempfile
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType

import mlflow
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

import features
import models
import training
from models.answer import REASONS, answer_columns
from models.outcome import OutcomeModel
from models.profile import PROFILE_FILE, Profile
from models.registry import SERVING_FILES, TESTED_FILES

_SERVED = Path(__file__).with_name("served.py")
#: What a model needs to predict; it imports nothing of the application beside it.
_PREDICTING = (features, models)
#: What decides how a model turns out.
_FITTING = (*_PREDICTING, training)


def log_model(model: OutcomeModel, tested: OutcomeModel | None = None, profile: Profile | None = None) -> str:
    """Log the model to MLflow's active run as a pyfunc that needs nothing of Kunto installed; return its URI.

    Beside the fit that serves lie `tested`, with which later versions are compared, and `profile`, by which it is watched.
    """
    fits = {SERVING_FILES: model} | ({} if tested is None else {TESTED_FILES: tested})
    with tempfile.TemporaryDirectory() as parent:
        kept = {name: _written(fit, Path(parent) / name) for name, fit in fits.items()}
        if profile is not None:
            Path(parent, PROFILE_FILE).write_text(profile.to_json(), encoding="utf-8")
            kept[PROFILE_FILE] = str(Path(parent, PROFILE_FILE))
        with warnings.catch_warnings():
            # An example would be a customer's row, kept with the model for ever.
            warnings.filterwarnings("ignore", message=".*input example was not provided", category=UserWarning)
            logged = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(_SERVED),
                artifacts=kept,
                code_paths=[str(_folder(package)) for package in _PREDICTING],
                signature=_signature(model),
                pip_requirements=list(requirements()),
                metadata={"outcome": model.outcome, "horizon_days": model.horizon_days, "inputs": list(model.inputs)},
            )
    return str(logged.model_uri)


def _written(model: OutcomeModel, folder: Path) -> str:
    folder.mkdir()
    for name, text in model.to_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


def _signature(model: OutcomeModel) -> ModelSignature:
    """What is asked and answered; the inputs stand in the metadata.

    With inputs in its signature MLflow would look at the frame first: drop a column that it does not know, so that a misspelt
    name reads as a missing one, refuse whole numbers, and answer with the whole schema instead of the difference.
    """
    outputs = [*(ColSpec("double", name) for name in answer_columns(model)), ColSpec("string", REASONS, required=False)]
    asked = [ParamSpec(REASONS, "boolean", True), ParamSpec("language", "string", "en")]
    return ModelSignature(outputs=Schema(outputs), params=ParamSchema(asked))


@cache
def requirements() -> tuple[str, ...]:
    """Every third-party package that this code imports, in the version that is installed here; MLflow adds its own.

    >>> [line.split("==")[0] for line in requirements() if line.startswith("light")]
    ['lightgbm']
    """
    roots = {
        root for package in _PREDICTING for path in _files(_folder(package)) if path.suffix == ".py" for root in _imported(path)
    }
    roots -= {*sys.stdlib_module_names, *(package.__name__ for package in _PREDICTING)}
    installed = packages_distributions()
    # What is imported only where it is installed is not needed.
    names = {name for root in roots for name in installed.get(root, ())[:1]}
    return tuple(f"{name}=={version(name)}" for name in sorted(names, key=str.lower))


@cache
def code_version() -> str:
    """Kunto's version and a digest of the code that fits and predicts, so that two trainings of one version can be told apart.

    >>> code_version().partition("+")[0] == version("kunto")
    True
    """
    return f"{version('kunto')}+{digest({package.__name__: _folder(package) for package in _FITTING})}"


def digest(folders: Mapping[str, Path]) -> str:
    """Return 12 digits (hexadecimal) that change with the name or the content of any file in the folders, by name.

    >>> len(digest({"models": _folder(models)}))
    12
    """
    told = hashlib.sha256()
    for name, folder in folders.items():
        for path in _files(folder):
            told.update(f"{name}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return told.hexdigest()[:12]


def _folder(package: ModuleType) -> Path:
    return Path(package.__path__[0])


def _files(folder: Path) -> list[Path]:
    """Its files but the interpreter's own copies, in an order that is the same everywhere."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(found, key=lambda path: path.as_posix())


def _imported(path: Path) -> set[str]:
    """The first names of the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
