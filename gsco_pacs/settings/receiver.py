"""Who may send to the node, and within which limits."""

from typing import Annotated

from pydantic import Field

from gsco_pacs.conditions import Settings
from gsco_pacs.settings.tls import ClientTls
from gsco_pacs.settings.values import AeTitle, Port, Seconds


class CallBack(Settings):
    """Where a sender takes reports of storage commitment, when the association that asked is over."""

    host: str
    """Its address."""
    port: Port
    """Its TCP port."""
    timeout_seconds: Seconds = 30
    """Longest wait for a connection and for each answer."""
    tls: ClientTls | None = None
    """Present: it is called over TLS."""


class Sender(Settings):
    """A peer that may open associations to the node."""

    ae_title: AeTitle
    """Calling AE title, as the peer sends it."""
    addresses: tuple[str, ...] = ()
    """IP addresses that it may come from; empty: any."""
    call_back: CallBack | None = None
    """Where it takes reports of storage commitment."""


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
    processes: Annotated[int, Field(ge=1, le=64)] = 2
    """Processes that share the port. One uses little more than one processor."""
    idle_seconds: Seconds = 60
    """An association in which nothing happens for this long is ended."""
    reserve_bytes: Annotated[int, Field(ge=0)] = 2_000_000_000
    """Free space that is kept: below it, images are refused with A700, which the sender retries."""
    commitment_days: Annotated[float, Field(gt=0)] = 7
    """An image to which the node committed itself towards a sender is kept at least so long, whatever `retention` says."""
