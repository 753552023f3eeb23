"""config.yaml becomes frozen, validated settings here; a mistake is answered with the key and what to do about it."""

import difflib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from gsco_pacs.conditions import Condition, Settings
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.findings import Mode, ObjectKind
from gsco_pacs.domain.job import Stage

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]+$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Seconds = Annotated[float, Field(gt=0)]
Saliency = Literal["none", "capture", "capture+map"]
Share = Annotated[float, Field(ge=0, le=1)]


class Sender(Settings):
    """A peer that may open associations to the node."""

    ae_title: AeTitle
    """Calling AE title, as the peer sends it."""
    addresses: tuple[str, ...] = ()
    """IP addresses that it may come from; empty: any."""


class Receiver(Settings):
    """The Storage and Verification SCP."""

    ae_title: AeTitle = "GSCO"
    """Called AE title that peers must use."""
    host: str = "0.0.0.0"  # noqa: S104 - a modality must reach it
    """Address to listen on."""
    port: Port = 11112
    """TCP port to listen on."""
    senders: tuple[Sender, ...] = ()
    """Who may send; everybody else is rejected and named in the log."""
    maximum_pdu: Annotated[int, Field(ge=16384, le=4194304)] = 131072
    """Largest P-DATA PDU that the node takes, in bytes."""
    maximum_associations: Annotated[int, Field(ge=1)] = 100
    """Associations at a time; more are rejected as transient."""
    idle_seconds: Seconds = 60
    """An association in which nothing happens for this long is ended."""
    reserve_bytes: Annotated[int, Field(ge=0)] = 2_000_000_000
    """Free space that is kept: below it, images are refused with A700, which the sender retries."""


class Settle(Settings):
    """When a study counts as complete."""

    quiet_seconds: Seconds = 60
    """No new image of the study for this long."""
    deadline_seconds: Seconds = 3600
    """A study that never gets quiet is closed this long after its first image."""


class StructuredGeneralist(Settings):
    """No language model: the wording is made from the specialists' opinions."""

    kind: Literal["structured"]


class TransformersGeneralist(Settings):
    """An image-text-to-text or text checkpoint in the Hugging Face format, on a local path."""

    kind: Literal["transformers"]
    path: Path
    """Directory of the checkpoint."""
    device: str = "cpu"
    """Torch device, such as `cpu`, `cuda` or `auto` (spread over all GPUs)."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the weights in memory."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Layers of the language model in fewer bits, on a GPU; needs `pip install bitsandbytes accelerate`."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 512
    """Length limit of an answer; an answer that is cut there is not used."""


class OpenAIGeneralist(Settings):
    """A server that speaks the OpenAI chat protocol (vLLM, llama.cpp)."""

    kind: Literal["openai"]
    base_url: str
    """Such as `http://127.0.0.1:8000/v1`."""
    model: str
    """The model's name on that server."""
    api_key_env: str | None = None
    """Environment variable that holds the key, if the server wants one."""
    timeout_seconds: Seconds = 120
    """Longest wait for one answer."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 512
    """Length limit of an answer; an answer that is cut there is not used."""
    longest_edge: Annotated[int, Field(ge=64)] = 1024
    """The picture that is sent is scaled down to this, in pixels."""


GeneralistSettings = Annotated[
    StructuredGeneralist | TransformersGeneralist | OpenAIGeneralist, Field(discriminator="kind")
]


class Takes(Settings):
    """What is sent to a destination of any kind."""

    objects: tuple[ObjectKind, ...] = tuple(ObjectKind)[:-1]
    """Kinds of objects that are sent; the SRs may point at evidence of a kind that is not."""


class DimseDestination(Takes):
    """A PACS that takes reports by C-STORE."""

    kind: Literal["dimse"]
    ae_title: AeTitle
    """Its AE title."""
    host: str
    """Its address."""
    port: Port
    """Its TCP port."""
    timeout_seconds: Seconds = 30
    """Longest wait for a connection and for each answer."""


class FolderDestination(Takes):
    """A folder that takes reports as files."""

    kind: Literal["folder"]
    path: Path
    """The folder; made if missing."""


DestinationSettings = Annotated[DimseDestination | FolderDestination, Field(discriminator="kind")]


class GateSettings(Settings):
    """When the generalist is asked."""

    policy: Literal["always", "when_unsure", "never"] = "always"
    """`when_unsure` asks only if one of the thresholds below is missed or the specialists contradict each other."""
    confident_from: Share = 0.8
    """Probability from which the leading class, or a finding between its thresholds (or its absence), counts as sure."""
    agreeing_cases: Share = 0.3
    """Share of the similar cases that must agree with what the specialists hold."""
    similar_from: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Similarity from which the nearest reference cases count as near; without it each bundle's own `familiar_from`."""


class RouteSettings(Settings):
    """Which studies are read, by whom, and where the reports go; the first route that matches is taken."""

    name: Name
    """What the record calls it."""
    when: Condition
    """The condition on the study."""
    specialists: tuple[Name, ...] = Field(min_length=1)
    """Bundles that are consulted, by directory name."""
    generalist: Name = "structured"
    """One of `generalists`."""
    mode: Mode = Mode.MOED_RAD
    """What the generalist is told: `specialists` (it is not asked), `generalist` (nothing), `moed`, `rad`, `moed+rad`."""
    template: Literal["gsco", "gsco-single", "options", "options-single", "briefed"] = "briefed"
    """The prompt: `gsco` is the published one (bare labels), `options` ours for a diagnosis with all members' probabilities (each `-single` if exactly one option applies), `briefed` asks for a report."""
    also: tuple[Literal[Mode.GENERALIST, Mode.MOED, Mode.RAD, Mode.MOED_RAD], ...] = ()
    """Modes in which the generalist is asked too, whatever the gate says; the answers are stored and shown, not drafted from."""
    gate: GateSettings = GateSettings()
    """When the generalist is asked."""
    similar_cases: Annotated[int, Field(ge=0, le=100)] = 10
    """How many similar cases are recalled from each specialist's index."""
    saliency: Saliency = "capture"
    """Where the specialists looked for what they hold present: `none`, a `capture` for the eye, `capture+map` also as numbers."""
    priority: Literal["stat", "routine"] = "routine"
    """Stat studies overtake routine ones in every stage."""
    quiet_seconds: Seconds | None = None
    """Overrides settle.quiet_seconds (10 is usual for stat)."""
    destinations: tuple[Name, ...] = Field(min_length=1)
    """Where the reports go, by name."""

    @property
    def sha256(self) -> str:
        """Hash of these settings, for the record."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class Retry(Settings):
    """How a failure that may pass is tried again: exponential with jitter."""

    first_seconds: Seconds = 30
    """Wait before the second attempt; doubled for each further one."""
    longest_seconds: Seconds = 3600
    """The wait never gets longer than this."""
    give_up_seconds: Seconds = 7 * 24 * 3600
    """A job that has not got through this long after its stage began is failed."""


class Workers(Settings):
    """Limits of the worker processes."""

    consult_seconds: Seconds = 300
    """Hard time limit of the consult stage."""
    draft_seconds: Seconds = 600
    """Hard time limit of the draft stage."""
    deliver_seconds: Seconds = 300
    """Hard time limit of the deliver stage."""
    lease_seconds: Seconds = 30
    """A worker that shows no sign of life for this long has lost its job."""
    threads: Annotated[int, Field(ge=1)] = 1
    """CPU threads of a model."""
    deliver_processes: Annotated[int, Field(ge=1)] = 2
    """Deliveries at a time on one machine."""

    def limit(self, stage: Stage) -> float:
        """The hard time limit of ``stage`` in seconds."""
        limits = {Stage.CONSULT: self.consult_seconds, Stage.DRAFT: self.draft_seconds}
        return limits.get(stage, self.deliver_seconds)


class Web(Settings):
    """The administrator's read-only pages."""

    host: str = "127.0.0.1"
    """Address to listen on; the pages show patient data and have no login, so keep it on loopback."""
    port: Port = 8080
    """TCP port to listen on."""


class Equipment(Settings):
    """How the node names itself in the reports (General Equipment module)."""

    manufacturer: Annotated[str, Field(min_length=1, max_length=64)] = "gsco_pacs"
    """Manufacturer (0008,0070)."""
    model_name: Annotated[str, Field(min_length=1, max_length=64)] = "GSCo node"
    """Manufacturer's Model Name (0008,1090)."""
    serial_number: Annotated[str, Field(min_length=1, max_length=64)] = "1"
    """Device Serial Number (0018,1000)."""
    station_name: Annotated[str, Field(min_length=1, max_length=16)] = "GSCO"
    """Station Name (0008,1010)."""


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
    routes: tuple[RouteSettings, ...] = ()
    """Tried in this order."""
    retry: Retry = Retry()
    workers: Workers = Workers()
    web: Web = Web()
    equipment: Equipment = Equipment()
    base: Path = Field(default=Path(), exclude=True)
    """Directory that relative paths start from; set by the loader."""

    @model_validator(mode="after")
    def _routes_name_what_exists(self) -> Self:
        for route in self.routes:
            _must_know(route.generalist, self.generalists, f"routes.{route.name}.generalist")
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
