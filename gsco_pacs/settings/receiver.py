"""Who may send to the node, and within which limits."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from gsco_pacs.conditions import Settings
from gsco_pacs.settings.tls import ClientTls, ServerTls
from gsco_pacs.settings.values import AeTitle, Port, Seconds

Count = Annotated[int, Field(ge=1)]


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
    """IP addresses and networks that it may come from; empty: any."""
    calls: tuple[AeTitle, ...] = ()
    """Called AE titles that it may use; empty: all of the node's."""
    certificates: tuple[str, ...] = ()
    """Certificates that prove it: SHA-256 fingerprints, or names that a certificate is made out to. Given, it must use TLS."""
    users: tuple[str, ...] = ()
    """Users of `receiver.users` of whom it must name one, with the passcode."""
    call_back: CallBack | None = None
    """Where it takes reports of storage commitment."""


class User(Settings):
    """Somebody who may identify himself when an association is asked for (PS3.7 section D.3.3.7)."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """The user name."""
    passcode: str
    """The passcode's hash, as `gsco-pacs passcode` prints it."""


class Limits(Settings):
    """What one peer may take of the node; more is rejected as transient or ends the association."""

    associations_per_peer: Count = 100
    """Associations at a time from one AE title at one address."""
    negotiations_per_address: Count = 100
    """Connections at a time from one address that have no association yet; more are closed unheard."""
    objects_per_association: Count = 100_000
    """Objects in one association."""
    bytes_per_association: Count = 500_000_000_000
    """Bytes of the objects in one association."""
    association_seconds: Seconds = 12 * 3600
    """An association is ended after this long, busy or not."""
    refusals_per_minute: Count = 20
    """Refusals of one address that are recorded one by one; the rest of a minute is counted in one line."""


class Receiver(Settings):
    """The Storage and Verification SCP."""

    ae_title: AeTitle = "GSCO"
    """Called AE title that peers must use, and our own where the node calls."""
    further_ae_titles: tuple[AeTitle, ...] = ()
    """Other called AE titles that are taken, too."""
    host: str = "0.0.0.0"  # noqa: S104 - a modality must reach it
    """Address to listen on."""
    port: Port = 11112
    """TCP port to listen on without TLS."""
    plain: bool = True
    """Whether `port` is listened on; false leaves the TLS port alone."""
    tls: ServerTls | None = None
    """Present: the node listens on a TLS port, too."""
    senders: tuple[Sender, ...] = ()
    """Who may send; everybody else is rejected and named in the log."""
    users: tuple[User, ...] = ()
    """Users that may identify themselves, over TLS only."""
    limits: Limits = Limits()
    maximum_pdu: Annotated[int, Field(ge=16384, le=4194304)] = 131072
    """Largest P-DATA PDU that the node takes, in bytes."""
    maximum_associations: Annotated[int, Field(ge=1)] = 100
    """Associations at a time; more are rejected as transient."""
    processes: Annotated[int, Field(ge=1, le=64)] = 2
    """Processes that share the port. One uses little more than one processor."""
    idle_seconds: Seconds = 60
    """An association in which nothing happens for this long is ended."""
    reserve_bytes: Annotated[int, Field(ge=0)] = 2_000_000_000
    """Free space that is kept on the disks of the store and an SQLite database: below it, associations for storage are rejected as transient and images refused with A700, which the sender retries."""
    commitment_days: Annotated[float, Field(gt=0)] = 7
    """An image to which the node committed itself towards a sender is kept at least so long, whatever `retention` says."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Every TCP port that is listened on."""
        plain = (self.port,) if self.plain else ()
        return (*plain, self.tls.port) if self.tls else plain

    @model_validator(mode="after")
    def _is_reachable(self) -> Self:
        if not self.plain and self.tls is None:
            raise ValueError("plain is false and there is no tls: the node would listen nowhere.")
        known = {user.name for user in self.users}
        for sender in self.senders:
            if unknown := set(sender.users) - known:
                raise ValueError(f"senders: {sender.ae_title}: {', '.join(unknown)} is not in users.")
        return self
