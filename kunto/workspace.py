"""A workspace: one company's folder with kunto.toml, and where everything in it lies (interface.md "Folders")."""

import hashlib
import tempfile
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from features.mapping import Mapping, MappingError, read_mapping
from models.choice import PlaySettings
from models.segments import TierSettings
from serving.settings import ServiceSettings
from training.settings import TrainingSettings
from training.watching import WatchSettings


class Settings(BaseModel):
    """The sections of kunto.toml beside the mapping (data, tables, checks)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: TrainingSettings = TrainingSettings()
    watch: WatchSettings = WatchSettings()
    plays: PlaySettings = PlaySettings()
    tiers: TierSettings = TierSettings()
    service: ServiceSettings = ServiceSettings()


def require_writable(folder: Path) -> None:
    """Raise the folder's OSError where nothing can be written into it: before long work, and before MLflow tries for minutes."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


@dataclass(frozen=True)
class Workspace:
    """One company's folder.

    >>> Workspace(Path("acme")).config_path.name
    'kunto.toml'
    """

    path: Path

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.path / "kunto.toml"

    @property
    def features_path(self) -> Path:
        """Where feature tables are written."""
        return self.path / "features"

    @property
    def rollups_path(self) -> Path:
        """Where use is kept rolled up; what is deleted here is rolled up anew."""
        return self.path / "rollups"

    @property
    def artifacts_path(self) -> Path | None:
        """Where MLflow keeps files; None where a server does."""
        return None if self.settings.service.tracking_uri else self.path / "artifacts"

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking store."""
        return self.settings.service.tracking_uri or f"sqlite:///{(self.path / 'mlflow.db').resolve()}"

    @property
    def store_url(self) -> str:
        """The service's database."""
        return self.settings.service.store or f"sqlite:///{(self.path / 'kunto.db').resolve()}"

    @cached_property
    def mapping(self) -> Mapping:
        """The mapping of the source; MappingError where the file is missing or wrong."""
        try:
            return read_mapping(self.config_path)
        except UnicodeDecodeError as error:
            raise MappingError(
                f"{self.config_path} is not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8"
            ) from None

    @cached_property
    def settings(self) -> Settings:
        """The other sections; MappingError where a key or value is not allowed."""
        content: dict[str, Any] = tomllib.loads(self._text)
        sections = {name: value for name, value in content.items() if name not in Mapping.model_fields}
        try:
            return Settings.model_validate(sections)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}, got {item['input']!r}" for item in error.errors()]
            raise MappingError(f"{self.config_path} cannot be used:\n  " + "\n  ".join(lines)) from None

    def require_writable(self) -> None:
        """Raise MappingError where this is no workspace, OSError where nothing can be written into it."""
        _ = self.mapping
        require_writable(self.path)

    @property
    def config_version(self) -> str:
        """A digest of the configuration, kept with every score."""
        return hashlib.sha256(self._text.encode()).hexdigest()[:12]

    @property
    def _text(self) -> str:
        _ = self.mapping  # a missing or broken file is told once, there
        return self.config_path.read_text(encoding="utf-8")
