"""Where audit messages go, and how long they are kept."""

from typing import Annotated

from pydantic import Field

from gsco_pacs.conditions import Settings
from gsco_pacs.settings.tls import ClientTls
from gsco_pacs.settings.values import Port


class Syslog(Settings):
    """A collector that takes syslog over TLS (RFC 5425; PS3.15 section A.6)."""

    host: str
    """Its address."""
    port: Port = 6514
    """Its TCP port."""
    tls: ClientTls = ClientTls()


class AuditTrail(Settings):
    """Audit messages of PS3.15 section A.5: who was refused, when the receiver ran, and which studies came, went and were asked about."""

    syslog: Syslog | None = None
    """Present: messages are sent there, and again until it takes them."""
    transfers: bool = True
    """Whether there are messages about studies that came or were asked about and results that went. They name Patient ID and Study Instance UID."""
    queries: bool = False
    """Whether there is one about each C-FIND that the node sends, with its keys; a study that arrives may be asked for many times."""
    keep_days: Annotated[float, Field(gt=0)] = 90
    """Messages that were sent, or need not be, are kept in `audit/` of the state directory for so long."""
