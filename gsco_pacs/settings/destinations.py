"""Where results go."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gsco_pacs.conditions import Settings
from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.settings.tls import ClientTls
from gsco_pacs.settings.values import AeTitle, Port, Seconds


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
    tls: ClientTls | None = None
    """Present: the PACS is called over TLS, by its TLS port."""


class FolderDestination(Takes):
    """A folder that takes reports as files."""

    kind: Literal["folder"]
    path: Path
    """The folder; made if missing."""


DestinationSettings = Annotated[DimseDestination | FolderDestination, Field(discriminator="kind")]
