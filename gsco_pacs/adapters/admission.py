"""Who may open an association: calling AE title, address, certificate, called AE title and user, in this order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from gsco_pacs.adapters.tls import ShownCertificate
from gsco_pacs.adapters.user_identity import Identity, Users
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.study import Peer
from gsco_pacs.settings.receiver import Receiver, Sender

Answer = tuple[int, int, int]
"""Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""

NO_REASON_GIVEN: Answer = (1, 2, 1)
CALLING_AE_NOT_RECOGNIZED: Answer = (1, 1, 3)
CALLED_AE_NOT_RECOGNIZED: Answer = (1, 1, 7)
TEMPORARY_CONGESTION: Answer = (2, 3, 1)
LOCAL_LIMIT_EXCEEDED: Answer = (2, 3, 2)

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Applicant:
    """Who asks for an association, and what proves it."""

    peer: Peer
    secured: bool = False
    """Whether it came over TLS."""
    certificate: ShownCertificate | None = None
    identity: Identity | None = None


@dataclass(frozen=True)
class Rejection:
    """What the peer is answered, and what the administrator is told."""

    answer: Answer
    reason: str


@dataclass(frozen=True)
class _Entry:
    sender: Sender
    networks: tuple[IPv4Network | IPv6Network, ...]
    certificates: frozenset[str]

    def takes_address(self, address: str) -> bool:
        return not self.networks or any(ip_address(address) in network for network in self.networks)

    def takes_certificate(self, applicant: Applicant) -> bool:
        shown = applicant.certificate
        return not self.certificates or (
            shown is not None and not self.certificates.isdisjoint({shown.fingerprint, *shown.names})
        )


class Admission:
    """The decision by one state of the configuration. ConfigError if an address or a passcode can't be read."""

    def __init__(self, settings: Receiver) -> None:
        self._titles = {title.strip() for title in (settings.ae_title, *settings.further_ae_titles)}
        self._ae_title = settings.ae_title.strip()
        self._users = Users(settings.users)
        self._entries: dict[str, list[_Entry]] = {}
        for sender in settings.senders:
            entry = _Entry(sender, _networks(sender), frozenset(map(_comparable, sender.certificates)))
            self._entries.setdefault(sender.ae_title.strip(), []).append(entry)

    def why_not(self, applicant: Applicant) -> Rejection | None:
        """None if the association may be opened."""
        entries = self._entries.get(applicant.peer.calling_ae, [])
        rejection = self._unknown(applicant, entries)
        if rejection is not None:
            return rejection
        entries = [e for e in entries if e.takes_address(applicant.peer.address)]
        entries = [e for e in entries if e.takes_certificate(applicant)]
        called = applicant.peer.called_ae
        if called not in self._titles:
            reason = f"it called {called!r}, but receiver.ae_title is {self._ae_title!r}."
            return Rejection(CALLED_AE_NOT_RECOGNIZED, reason)
        entries = [e for e in entries if not e.sender.calls or called in e.sender.calls]
        if not entries:
            reason = f"receiver.senders does not let it call {called!r}; see 'calls' of its entry."
            return Rejection(CALLED_AE_NOT_RECOGNIZED, reason)
        return self._unidentified(applicant, entries)

    def _unknown(self, applicant: Applicant, entries: Sequence[_Entry]) -> Rejection | None:
        peer = applicant.peer
        line = f'"- {{ae_title: {peer.calling_ae}, addresses: [{peer.address}]}}"'
        here = [entry for entry in entries if entry.takes_address(peer.address)]
        if not entries:
            reason = f"it is not in receiver.senders; to admit it, add {line} there."
        elif not here:
            reason = f"receiver.senders has it at another address; to admit it, add {line} there."
        elif not any(entry.takes_certificate(applicant) for entry in here):
            shown = applicant.certificate
            came = f"with the certificate {shown}" if shown else "without one"
            reason = f"receiver.senders binds it to a certificate, and it came {came}."
        else:
            return None
        return Rejection(CALLING_AE_NOT_RECOGNIZED, reason)

    def _unidentified(self, applicant: Applicant, entries: Sequence[_Entry]) -> Rejection | None:
        reasons = {
            self._users.why_not(applicant.identity, secured=applicant.secured, required=entry.sender.users)
            for entry in entries
        }
        if None in reasons:
            return None
        return Rejection(NO_REASON_GIVEN, str(min(filter(None, reasons))))


def _comparable(certificate: str) -> str:
    bare = certificate.lower().removeprefix("sha256:").replace(":", "")
    return bare if _FINGERPRINT.fullmatch(bare) else certificate.lower()


def _networks(sender: Sender) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(address, strict=False) for address in sender.addresses)
    except ValueError as error:
        raise ConfigError(
            f"receiver.senders: {sender.ae_title}: {error}; give IP addresses or networks."
        ) from None
