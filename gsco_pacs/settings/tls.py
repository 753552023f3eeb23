"""How a TLS connection is made: what we show the other side, and whose certificates we believe (PS3.15 section B.12)."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from gsco_pacs.conditions import Settings
from gsco_pacs.settings.values import Port, Seconds


class ServerTls(Settings):
    """The receiver's TLS port."""

    port: Port = 2762
    """TCP port to listen on; 2762 is registered as dicom-tls."""
    certificate: Path
    """The node's certificate with those of the authorities between, PEM."""
    private_key: Path
    """Its private key, PEM, not encrypted; only the node's user may read it."""
    authorities: Path
    """The authorities whose certificates peers may show, PEM."""
    ask_for_certificate: bool = True
    """A peer must show a certificate; false encrypts only and lets the AE title be a mere claim."""
    handshake_seconds: Annotated[Seconds, Field(le=60)] = 10
    """A peer that has not finished the TLS handshake after this long is hung up on."""


class ClientTls(Settings):
    """TLS towards a peer that the node calls."""

    authorities: Path | None = None
    """The authorities that may have signed the peer's certificate, PEM; without it those that the machine trusts."""
    certificate: Path | None = None
    """The certificate that the node shows, PEM, if the peer asks for one."""
    private_key: Path | None = None
    """Its private key, PEM, not encrypted."""
    check_host_name: bool = True
    """The peer's certificate must be made out to its host name or address."""
    host_name: str = ""
    """The name that the certificate is made out to, if it is not `host`."""

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together: give both or neither.")
        return self
