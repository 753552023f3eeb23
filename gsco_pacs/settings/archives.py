"""The PACS that may be asked what they hold, and from which studies are fetched."""

from typing import Annotated, Literal

from pydantic import Field

from gsco_pacs.conditions import Settings
from gsco_pacs.settings.tls import ClientTls
from gsco_pacs.settings.values import AeTitle, Port, Seconds, Url


class Asked(Settings):
    """How long an archive of any kind may take, and how much it may answer."""

    timeout_seconds: Seconds = 30
    """Longest wait for a connection and for each answer."""
    query_seconds: Seconds = 120
    """Longest time that one query may take with all its answers."""
    retrieve_seconds: Seconds = 600
    """Longest wait for the next sign of a running retrieval; an archive may give none until a C-MOVE is done."""
    pauses: tuple[Seconds, ...] = (2, 10)
    """Seconds before what did not come is asked for again, for each further try."""
    maximum_matches: Annotated[int, Field(ge=1)] = 20000
    """A query that has more answers is given up."""


class DimseArchive(Asked):
    """A PACS that is asked by C-FIND and fetched from by C-MOVE or C-GET."""

    kind: Literal["dimse"]
    ae_title: AeTitle
    """Its AE title."""
    host: str
    """Its address."""
    port: Port
    """Its TCP port."""
    retrieve: Literal["move", "get"] = "move"
    """`move`: it sends to the receiver and must be in `receiver.senders`, and must know the node's AE title, address and port. `get`: over the association that asks."""
    tls: ClientTls | None = None
    """Present: it is called over TLS, by its TLS port."""


class DicomwebArchive(Asked):
    """A PACS that is asked by QIDO-RS and fetched from by WADO-RS."""

    kind: Literal["dicomweb"]
    url: Url
    """Where its services begin, such as `https://pacs.example/dicom-web`."""
    token_env: str | None = None
    """Environment variable that holds a bearer token, if it wants one."""
    tls: ClientTls = ClientTls()
    """Whose certificates are believed, if the address begins with https."""
    answers_per_request: Annotated[int, Field(ge=1)] = 1000
    """So many answers are asked for at a time; lower it for an archive that refuses so many (HTTP 400)."""
    maximum_instance_bytes: Annotated[int, Field(ge=1)] = 1 << 30
    """An object that is longer is not taken."""


ArchiveSettings = Annotated[DimseArchive | DicomwebArchive, Field(discriminator="kind")]
