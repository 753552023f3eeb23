"""How failures are tried again, the limits of the workers, the pages, and the node's name in its reports."""

from typing import Annotated

from pydantic import Field

from gsco_pacs.conditions import Settings
from gsco_pacs.domain.job import Stage
from gsco_pacs.settings.values import Port, Seconds


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

    stat_lanes: tuple[Stage, ...] = ()
    """Stages that get a second worker, for STAT studies only; it loads the stage's models once more."""

    backlog_warning: Annotated[int, Field(ge=1)] = 500
    """`gsco-pacs status` and the pages warn when more jobs than this are queued or wait; nothing is refused for it."""

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
