"""config.yaml becomes frozen, validated settings here; a mistake is answered with the key and what to do about it."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from gsco_pacs.conditions import Settings
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.settings.archives import ArchiveSettings
from gsco_pacs.settings.audit import AuditTrail
from gsco_pacs.settings.decoding import Decoding
from gsco_pacs.settings.destinations import DestinationSettings
from gsco_pacs.settings.dicomweb import Dicomweb
from gsco_pacs.settings.generalists import (
    GeneralistSettings,
    OpenAIGeneralist,
    StructuredGeneralist,
    TransformersGeneralist,
)
from gsco_pacs.settings.processes import Equipment, Retry, Web, Workers
from gsco_pacs.settings.receiver import Receiver
from gsco_pacs.settings.retention import Retention
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.settings.settle import Settle
from gsco_pacs.settings.values import Name


def _no_model() -> dict[str, StructuredGeneralist | TransformersGeneralist | OpenAIGeneralist]:
    return {"structured": StructuredGeneralist(kind="structured")}


class Config(Settings):
    """Everything that can be set."""

    state: Path = Path("gsco-state")
    """Directory of images, database and queue; relative to this file."""
    models: tuple[Path, ...] = ()
    """Directories that hold bundles, looked through before the bundles that come with the package."""
    database: str = "sqlite"
    """`sqlite` (in the state directory) or a URL such as `postgresql+psycopg://gsco@localhost/gsco`."""
    broker: str = "folder"
    """`folder` (in the state directory, needs no server) or a URL such as `redis://localhost/0` or `amqp://localhost//`."""
    receiver: Receiver = Receiver()
    settle: Settle = Settle()
    generalists: dict[Name, GeneralistSettings] = Field(default_factory=_no_model)
    """The generalists that routes may name."""
    destinations: dict[Name, DestinationSettings] = Field(default_factory=dict)
    """The destinations that routes may name."""
    archives: dict[Name, ArchiveSettings] = Field(default_factory=dict)
    """The PACS that may be asked what they hold and fetched from."""
    routes: tuple[RouteSettings, ...] = ()
    """Tried in this order."""
    dicomweb: Dicomweb | None = None
    """The STOW-RS service; not there unless it is configured."""
    retry: Retry = Retry()
    workers: Workers = Workers()
    decoding: Decoding = Decoding()
    retention: Retention = Retention()
    audit: AuditTrail = AuditTrail()
    web: Web = Web()
    equipment: Equipment = Equipment()
    base: Path = Field(default=Path(), exclude=True)
    """Directory that relative paths start from; set by the loader."""

    @model_validator(mode="after")
    def _routes_name_what_exists(self) -> Self:
        for route in self.routes:
            _must_know(route.generalist, self.generalists, f"routes.{route.name}.generalist")
            if route.priors:
                _must_know(route.priors.from_, self.archives, f"routes.{route.name}.priors.from")
            if route.ask:
                _must_know(route.ask, self.archives, f"routes.{route.name}.ask")
            for destination in route.destinations:
                _must_know(destination, self.destinations, f"routes.{route.name}.destinations")
        return self

    @property
    def state_dir(self) -> Path:
        """The state directory, absolute."""
        return self.absolute(self.state)

    @property
    def database_url(self) -> str:
        """The database as an SQLAlchemy URL."""
        return f"sqlite:///{self.state_dir / 'ledger.sqlite'}" if self.database == "sqlite" else self.database

    def absolute(self, path: Path) -> Path:
        """``path`` as the configuration means it: relative to the file that it stands in."""
        return (self.base / path.expanduser()).absolute()

    def route(self, name: str) -> RouteSettings:
        """The route called ``name``, which must be one of them."""
        return next(route for route in self.routes if route.name == name)

    def bundle_dir(self, name: str) -> Path:
        """The directory of the bundle called ``name``."""
        candidates = [self.absolute(folder) / name for folder in self.models] + [shipped("models") / name]
        for candidate in candidates:
            if (candidate / "configs" / "metadata.json").is_file():
                return candidate
        raise ConfigError(f"No bundle {name!r} in {', '.join(str(c.parent) for c in candidates)}.")


def _must_know(name: str, known: dict[str, Any], where: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise ValueError(
            f"{where}: {name!r} is not defined" + (f"; did you mean {near[0]!r}?" if near else ".")
        )


def shipped(name: str) -> Path:
    """A file or directory that comes with the package (config.yaml, models, alembic), installed or in a checkout."""
    package = Path(__file__).parent
    installed = package / "shipped"
    return (installed if installed.is_dir() else package.parent) / name


def find_config(given: Path | None = None) -> Path:
    """The configuration file: ``given``, else $GSCO_PACS_CONFIG, else ./config.yaml, else the one that comes with the package."""
    if given is not None:
        return given
    named = os.environ.get("GSCO_PACS_CONFIG")
    if named:
        return Path(named)
    return Path("config.yaml") if Path("config.yaml").is_file() else shipped("config.yaml")


def load_config(path: Path) -> Config:
    """The settings in ``path``; ConfigError that names each wrong key and the nearest right one."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict) or "base" in content:
        raise ConfigError(f"{path}: the top level must be keys and values, and 'base' is not one of them.")
    base = (
        Path.cwd() if path == shipped("config.yaml") and path.parent != Path.cwd() else path.absolute().parent
    )
    try:
        return Config(**content, base=base)
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(path, error))) from None


def _explained(path: Path, error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or "top level"
        yield f"{path}: {place}: {item['msg'].removeprefix('Value error, ')}"
