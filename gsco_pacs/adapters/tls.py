"""TLS contexts by the BCP 195 RFC 8996, 9325 profile (PS3.15 section B.12): TLS 1.2 and 1.3, nothing that is out of date.

Private keys are read anew for each context, so that a file which was replaced is used without a restart.
"""

import hashlib
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.settings.dicomweb import HttpsTls
from gsco_pacs.settings.tls import ClientTls, ServerTls

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""TLS 1.2: forward secrecy and authenticated encryption only. Without DHE, whose length Python can't hold to 2048 bits."""

_PROBE_SECONDS = 5.0

_REASONS = {
    "WRONG_VERSION_NUMBER": "it speaks no TLS on this port",
    "HTTP_REQUEST": "it speaks no TLS on this port",
    "UNSUPPORTED_PROTOCOL": "it offers no TLS newer than 1.1",
    "NO_SHARED_CIPHER": "it offers no cipher that is allowed here",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "UNEXPECTED_EOF_WHILE_READING": "it hung up during the handshake",
}
"""What OpenSSL finds -> what it means."""

_ALERTS = {
    "BAD_CERTIFICATE": "it does not accept our certificate",
    "CERTIFICATE_UNKNOWN": "it does not accept our certificate",
    "UNSUPPORTED_CERTIFICATE": "it does not accept a certificate like ours",
    "CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "CERTIFICATE_REVOKED": "it says that our certificate is revoked",
    "UNKNOWN_CA": "it does not know the authority that signed our certificate",
    "CERTIFICATE_REQUIRED": "it asks for a certificate, and we have shown none",
    "HANDSHAKE_FAILURE": "it finds no TLS version, cipher or certificate of ours good enough",
    "PROTOCOL_VERSION": "it does not speak TLS 1.2 or 1.3",
}
"""The peer's own word (RFC 8446 section 6.2) -> what it means."""

TlsArguments = tuple[ssl.SSLContext, str]
"""What pynetdicom's ``associate(tls_args=...)`` takes: the context, and the name that the peer must prove."""


def server_context(settings: ServerTls, absolute: Callable[[Path], Path]) -> ssl.SSLContext:
    """The receiver's side; ConfigError that names the key whose file can't be used.

    ``absolute`` is what a path of config.yaml stands for.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = PduSocket
    context.num_tickets = 0  # a resumed session would outlive an authority that was taken out
    context.verify_mode = ssl.CERT_REQUIRED if settings.ask_for_certificate else ssl.CERT_NONE
    key = "receiver.tls"
    _load_own(context, absolute(settings.certificate), absolute(settings.private_key), key)
    _load_authorities(context, absolute(settings.authorities), key)
    return context


def client_context(settings: ClientTls, key: str, absolute: Callable[[Path], Path]) -> ssl.SSLContext:
    """The side that calls, for the ``tls`` group at ``key``; ConfigError that names the key whose file can't be used."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = settings.check_host_name
    if settings.certificate is not None and settings.private_key is not None:
        _load_own(context, absolute(settings.certificate), absolute(settings.private_key), key)
    if settings.authorities is None:
        context.load_default_certs()
    else:
        _load_authorities(context, absolute(settings.authorities), key)
    return context


def https_context(settings: HttpsTls, key: str, absolute: Callable[[Path], Path]) -> ssl.SSLContext:
    """The DICOMweb service's side; ConfigError that names the key whose file can't be used."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    _load_own(context, absolute(settings.certificate), absolute(settings.private_key), key)
    return context


def tls_arguments(settings: ClientTls, host: str, key: str, absolute: Callable[[Path], Path]) -> TlsArguments:
    """How to call ``host`` over TLS; errors of client_context."""
    return client_context(settings, key, absolute), settings.host_name or host


def why_no_handshake(arguments: TlsArguments, host: str, port: int) -> str:
    """Why a TLS connection can't be made, in words; empty if it can, or if there is nobody at all.

    A peer that speaks TLS 1.3 refuses our certificate only after our handshake, so we listen a moment longer.
    """
    context, host_name = arguments
    try:
        with (
            socket.create_connection((host, port), timeout=_PROBE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host_name) as secured,
        ):
            secured.settimeout(1)
            secured.recv(1)
    except ssl.SSLError as error:
        return in_words(error)
    except OSError:
        pass
    return ""


def in_words(error: OSError) -> str:
    """Why a handshake failed, without OpenSSL's file names and numbers."""
    if isinstance(error, TimeoutError):
        return "it did not finish the handshake in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message.removesuffix('.')}"
    if not isinstance(error, ssl.SSLError) or not error.reason:
        return "it ended the handshake"
    _, alert, word = error.reason.partition("_ALERT_")
    known = _ALERTS.get(word) if alert else _REASONS.get(error.reason)
    return known or (word or error.reason).replace("_", " ").lower()


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= (
        ssl.OP_NO_COMPRESSION
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_NO_TICKET
        | ssl.OP_CIPHER_SERVER_PREFERENCE
        | ssl.OP_SINGLE_ECDH_USE
    )
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, private_key: Path, key: str) -> None:
    _must_be_readable(certificate, f"{key}.certificate")
    _must_be_readable(private_key, f"{key}.private_key")
    try:
        # Without a password to give, OpenSSL would ask at the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, private_key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"{key}.private_key: {private_key} is not the key of {key}.certificate."
            ) from None
        which = "certificate" if _is_key(private_key) else "private_key"
        path = certificate if which == "certificate" else private_key
        raise ConfigError(
            f"{key}.{which}: {path} can't be used ({error.reason or error}); give PEM, a key not encrypted, RSA of 2048 bits "
            "or more, or elliptic curves."
        ) from None


def _is_key(path: Path) -> bool:
    text = path.read_text(encoding="ascii", errors="replace")
    return "PRIVATE KEY-----" in text and "ENCRYPTED" not in text


def _load_authorities(context: ssl.SSLContext, authorities: Path, key: str) -> None:
    _must_be_readable(authorities, f"{key}.authorities")
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{key}.authorities: {authorities} holds no certificate in PEM ({error.reason})."
        ) from None


def _must_be_readable(path: Path, key: str) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}: {path}: {error.strerror}.") from None


@dataclass(frozen=True)
class ShownCertificate:
    """The certificate that a peer proved to be its own; in lower case."""

    fingerprint: str
    """SHA-256 of the certificate, hexadecimal."""
    names: frozenset[str]
    """The subject's common name, and the DNS names and addresses of the Subject Alternative Name."""

    def __str__(self) -> str:
        return f"sha256:{self.fingerprint} ({', '.join(sorted(self.names))})"


def shown_certificate(connection: socket.socket) -> ShownCertificate | None:
    """What the peer of ``connection`` showed; None without TLS, or if it was not asked."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    content, certificate = connection.getpeercert(binary_form=True), connection.getpeercert()
    if not content or not certificate:
        return None
    names = frozenset(map(str.lower, names_of(certificate)))
    return ShownCertificate(hashlib.sha256(content).hexdigest(), names)


def names_of(certificate: Mapping[str, object]) -> set[str]:
    """Whom a certificate, as getpeercert() tells it, is made out to: the common name and the alternative names."""
    subject = cast(Iterable[Iterable[tuple[str, str]]], certificate.get("subject", ()))
    alternatives = cast(Iterable[tuple[str, str]], certificate.get("subjectAltName", ()))
    names = {value for part in subject for key, value in part if key == "commonName"}
    return names | {value for kind, value in alternatives if kind in ("DNS", "IP Address")}


class PduSocket(ssl.SSLSocket):
    """A peer's TLS connection, which is read like one without TLS."""

    def shake_hands(self, seconds: float, idle_seconds: float | None) -> None:
        """Do the whole handshake within ``seconds``, then wait ``idle_seconds`` at most for anything; OSError if not."""
        self.settimeout(seconds)
        self.do_handshake()
        self.settimeout(idle_seconds)

    def recvmsg_into(  # type: ignore[override]  # the same, but without ancillary data
        self, buffers: Iterable[memoryview], ancillary_size: int = 0, flags: int = 0
    ) -> tuple[int, list[Any], int, Any]:
        """Read into the first of ``buffers``; as much as there is, whatever ``flags`` wish."""
        del ancillary_size, flags
        return self.recv_into(next(iter(buffers))), [], 0, None

    def shutdown(self, how: int) -> None:
        """Tell the peer that this is the end (close_notify), without waiting for its reply, and end it."""
        try:
            self.settimeout(0)
            self.unwrap()
        except (OSError, ValueError):
            pass
        super().shutdown(how)
