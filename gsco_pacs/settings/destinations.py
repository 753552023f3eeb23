"""Where results go."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gsco_pacs.conditions import Settings
from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.settings.tls import ClientTls
from gsco_pacs.settings.values import AeTitle, Port, Seconds, Url


class Takes(Settings):
    """What is sent to a destination of any kind."""

    objects: tuple[ObjectKind, ...] = (
        ObjectKind.NARRATIVE,
        ObjectKind.CODED,
        ObjectKind.CAPTURE,
        ObjectKind.SEGMENTATION,
    )
    """Kinds of objects that are sent; the SRs may point at evidence of a kind that is not. Of `key_objects`
    one is sent where that is named, since a viewer may show it as if a person had picked its images."""


class Confirmation(Settings):
    """How the node makes sure that a PACS keeps what it took; what is confirmed may be cleaned up."""

    by: Literal["commitment", "query"] = "commitment"
    """`commitment` asks by storage commitment (and by C-FIND where that is not offered), `query` by C-FIND or QIDO-RS. The PACS
    must be one of `receiver.senders`, if it opens an association for its answer."""
    deadline_seconds: Seconds = 86400
    """An answer that has not come by then counts as a no; a query looks for the objects as long."""
    tries: Annotated[int, Field(ge=1, le=20)] = 3
    """So often the objects are asked for, each time after the first sent anew; then they are shown as unconfirmed."""
    wait_seconds: Annotated[float, Field(ge=0, le=60)] = 1
    """The association is kept open so long for a PACS that answers on it."""


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
    confirm: Confirmation | None = None
    """Present: the node asks the PACS whether it keeps what it took."""


class DicomwebDestination(Takes):
    """A PACS that takes reports by STOW-RS."""

    kind: Literal["dicomweb"]
    url: Url
    """Where its services begin, such as `https://pacs.example/dicom-web`."""
    token_env: str | None = None
    """Environment variable that holds a bearer token, if it wants one."""
    timeout_seconds: Seconds = 30
    """Longest wait for a connection and for each part of an answer."""
    tls: ClientTls = ClientTls()
    """Whose certificates are believed, if the address begins with https."""
    answers_per_request: Annotated[int, Field(ge=1)] = 1000
    """So many answers of QIDO-RS are asked for at a time; lower it for a PACS that refuses so many (HTTP 400)."""
    confirm: Confirmation | None = None
    """Present, with `by: query`: the node looks by QIDO-RS whether the PACS keeps what it took."""

    @model_validator(mode="after")
    def _is_confirmed_by_query(self) -> Self:
        if self.confirm and self.confirm.by != "query":
            raise ValueError("confirm.by: over DICOMweb it must be query.")
        return self


class FolderDestination(Takes):
    """A folder that takes reports as files."""

    kind: Literal["folder"]
    path: Path
    """The folder; made if missing."""
    confirm: ClassVar[None] = None
    """What it took is on its disk."""


DestinationSettings = Annotated[
    DimseDestination | DicomwebDestination | FolderDestination, Field(discriminator="kind")
]
