"""What comes in over the network: an object that a peer wants stored, and what was not taken."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from gsco_pacs.domain.study import Instance, Peer


@dataclass(frozen=True)
class Incoming:
    """One C-STORE request as it arrived: the command's UIDs, the context's transfer syntax, the data set's bytes."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes | memoryview
    """Over the network a view on the receive buffer, valid until the request is answered."""
    peer: Peer


class Alert(StrEnum):
    """What a refusal means for the security of the node; the values are codes of DCM (PS3.16 CID 403)."""

    NODE_AUTHENTICATION = "110126"
    """The peer could not prove who it is."""
    RESTRICTED_FUNCTION = "110132"
    """A known peer wanted what it may not have."""


@dataclass(frozen=True)
class Arrival:
    """An object whose bytes and index record are durable, so that it may be acknowledged; its row is still to come."""

    instance: Instance
    peer: Peer
    record: Path


@dataclass(frozen=True)
class Refusal:
    """A connection, an association or an object that was not taken, and why; ``reason`` holds no patient data."""

    peer: Peer
    what: str
    reason: str
    alert: Alert = Alert.RESTRICTED_FUNCTION
    times: int = 1
    """How often it happened."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)
    """When it happened, the last time."""
