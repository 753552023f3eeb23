"""Reads a certificate of ours by shaking hands with ourselves in memory, so that OpenSSL judges it before a peer does."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gsco_pacs.adapters.tls import in_words, names_of
from gsco_pacs.domain.errors import ConfigError


@dataclass(frozen=True)
class OwnCertificate:
    """What a peer will read in it."""

    names: tuple[str, ...]
    until: datetime
    """When it expires."""

    def __str__(self) -> str:
        return f"made out to {', '.join(self.names) or 'nobody'}, valid until {self.until:%Y-%m-%d}"


def own_certificate(certificate: Path, private_key: Path, key: str) -> OwnCertificate:
    """The certificate whose path stands at ``key``; ConfigError if it is expired or not valid yet.

    The files must be ones that server_context or client_context has taken.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, private_key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # who signed it is the peer's business
    client.load_verify_locations(certificate)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = server.wrap_bio(to_server, to_client, server_side=True)
    other = client.wrap_bio(to_client, to_server)
    try:
        for step in (other.do_handshake, one.do_handshake, other.do_handshake):
            _unless_it_waits(step)
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(f"{key}: {certificate}: {error.verify_message}.") from None
    except ssl.SSLError as error:
        raise ConfigError(f"{key}: {certificate}: {in_words(error)}.") from None
    shown = other.getpeercert() or {}
    seconds = ssl.cert_time_to_seconds(str(shown["notAfter"]))
    return OwnCertificate(tuple(sorted(names_of(shown))), datetime.fromtimestamp(seconds, UTC))


def _unless_it_waits(step: Callable[[], None]) -> None:
    with suppress(ssl.SSLWantReadError):
        step()
