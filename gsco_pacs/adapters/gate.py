"""The gate of the receiver: TLS, admission and limits, by a configuration that may be replaced while it runs."""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import cast

from pynetdicom import AE
from pynetdicom.pdu_primitives import A_ASSOCIATE

from gsco_pacs.adapters.admission import (
    LOCAL_LIMIT_EXCEEDED,
    TEMPORARY_CONGESTION,
    Admission,
    Answer,
    Applicant,
    Rejection,
)
from gsco_pacs.adapters.dimse_service import peer_of
from gsco_pacs.adapters.doors import Seat
from gsco_pacs.adapters.refusal_desk import RefusalDesk
from gsco_pacs.adapters.tls import in_words, shown_certificate
from gsco_pacs.adapters.transfer_syntaxes import storage_sop_classes
from gsco_pacs.adapters.upper_layer import PromptAssociation
from gsco_pacs.adapters.user_identity import Identity
from gsco_pacs.domain.errors import ConfigError, OutOfResourcesError
from gsco_pacs.domain.incoming import Alert, Refusal
from gsco_pacs.domain.study import Peer
from gsco_pacs.settings.receiver import Receiver


@dataclass(frozen=True)
class _Rules:
    settings: Receiver
    admission: Admission
    tls: ssl.SSLContext | None


class ReceiverGate:
    """Implements upper_layer.Gate; tells the desk of everybody who does not get in."""

    def __init__(
        self,
        ae: AE,
        seat: Seat,
        settings: Receiver,
        tls: ssl.SSLContext | None,
        desk: RefusalDesk,
        check_room: Callable[[], None],
    ) -> None:
        self._ae = ae
        self._seat = seat
        self._desk = desk
        self._check_room = check_room
        self._rules = _Rules(settings, Admission(settings), tls)

    def reload(self, settings: Receiver, tls: ssl.SSLContext | None) -> None:
        """Judge new connections by these; ConfigError, and nothing is changed, if they can't be used."""
        self._rules = _Rules(settings, Admission(settings), tls)

    def hears(self, address: str) -> bool:
        """Whether the address negotiates less than it may at the moment."""
        negotiating = [
            association
            for association in self._ae.active_associations
            if not association.is_established and association.requestor.address == address
        ]
        limit = self._rules.settings.limits.negotiations_per_address
        if len(negotiating) < limit:
            return True
        reason = (
            f"it has {limit} connections without an association (receiver.limits.negotiations_per_address)."
        )
        self._desk.tell(Refusal(Peer("", "", _plain(address)), "connection", reason), at_once=False)
        return False

    def secures(self) -> tuple[ssl.SSLContext, float]:
        """The newest context, and the time for a handshake in seconds."""
        rules = self._rules
        if rules.tls is None or rules.settings.tls is None:
            raise ConfigError("receiver.tls was taken out; the TLS port takes nobody until a restart.")
        return rules.tls, rules.settings.tls.handshake_seconds

    def unsecured(self, address: str, error: OSError) -> None:
        """Tell of a handshake that failed."""
        reason = f"no TLS connection: {in_words(error)}."
        self._desk.tell(
            Refusal(Peer("", "", _plain(address)), "connection", reason, Alert.NODE_AUTHENTICATION)
        )

    def rejects(self, association: PromptAssociation) -> Answer | None:
        """The answer to an association that is not taken."""
        rules, peer = self._rules, peer_of(association)
        rejection, alert = rules.admission.why_not(_applicant(association, peer)), Alert.NODE_AUTHENTICATION
        if rejection is None:
            rejection, alert = self._over_limit(peer, rules.settings), Alert.RESTRICTED_FUNCTION
        if rejection is None:
            rejection = self._no_room(association)
        if rejection is None:
            return None
        self._desk.tell(Refusal(peer, "association", rejection.reason, alert))
        return rejection.answer

    def ends(self, association: PromptAssociation) -> str:
        """Why an association has had enough."""
        limits = self._rules.settings.limits
        spent = {
            "association_seconds": time.monotonic() - association.opened_at,
            "objects_per_association": association.objects,
            "bytes_per_association": association.bytes,
        }
        key = next((key for key, value in spent.items() if value > getattr(limits, key)), None)
        if key is None:
            return ""
        reason = f"it was ended at receiver.limits.{key}; the sender may open another."
        self._desk.tell(Refusal(peer_of(association), "association", reason))
        return reason

    def _no_room(self, association: PromptAssociation) -> Rejection | None:
        """For storage alone: a test of the connection, or what is said of images, takes no room to speak of."""
        request = cast(A_ASSOCIATE, association.requestor.primitive)
        proposed = {context.abstract_syntax for context in request.presentation_context_definition_list}
        if proposed.isdisjoint(storage_sop_classes()):
            return None
        try:
            self._check_room()
        except OutOfResourcesError as error:
            return Rejection(TEMPORARY_CONGESTION, str(error))
        return None

    def _over_limit(self, peer: Peer, settings: Receiver) -> Rejection | None:
        established = [a for a in self._ae.active_associations if a.is_established]
        if len(established) + self._seat.associations_of_others() >= settings.maximum_associations:
            reason = "receiver.maximum_associations are open; the sender may try again."
            return Rejection(LOCAL_LIMIT_EXCEEDED, reason)
        same = [
            a
            for a in map(peer_of, established)
            if (a.calling_ae, a.address) == (peer.calling_ae, peer.address)
        ]
        if len(same) >= settings.limits.associations_per_peer:
            reason = f"it has {len(same)} open associations (receiver.limits.associations_per_peer); it may try again."
            return Rejection(LOCAL_LIMIT_EXCEEDED, reason)
        return None


def _applicant(association: PromptAssociation, peer: Peer) -> Applicant:
    item = association.requestor.user_identity
    identity = item and Identity(
        item.user_identity_type or 0, item.primary_field or b"", item.secondary_field or b""
    )
    connection = association.connection
    secured = isinstance(connection, ssl.SSLSocket)
    return Applicant(peer, secured, shown_certificate(connection), identity or None)


def _plain(address: str) -> str:
    """An IPv4 address on an IPv6 socket as IPv4."""
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)
