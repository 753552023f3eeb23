"""The DICOMweb service: who may store over HTTP, and within which limits."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, IPvAnyNetwork, model_validator

from gsco_pacs.conditions import Settings
from gsco_pacs.settings.values import AeTitle, Port, Seconds


class WebSender(Settings):
    """A peer that may store by STOW-RS; it must meet all that is given here."""

    name: AeTitle
    """What the record calls it, where the AE title of a sender would stand."""
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of its bearer token (`printf %s TOKEN | sha256sum`)."""
    addresses: tuple[IPvAnyNetwork, ...] = ()
    """IP addresses and networks that it may come from; empty: any."""

    @model_validator(mode="after")
    def _is_told_from_others(self) -> Self:
        if not self.token_sha256 and not self.addresses:
            raise ValueError(
                f"{self.name}: give token_sha256 or addresses, or anybody could store in its name."
            )
        return self


class HttpsTls(Settings):
    """TLS of the DICOMweb service."""

    certificate: Path
    """The node's certificate with those of the authorities between, PEM."""
    private_key: Path
    """Its private key, PEM, not encrypted."""


class Dicomweb(Settings):
    """The STOW-RS service; `gsco-pacs node` starts it if this group is there."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8043
    """TCP port to listen on."""
    tls: HttpsTls | None = None
    """Present: https only. Without it a token is readable on the way."""
    senders: tuple[WebSender, ...] = ()
    """Who may store; everybody else is answered with 401 or 403 and named in the record."""
    maximum_requests: Annotated[int, Field(ge=1)] = 8
    """Requests at a time; more are answered with 503 and told to come again."""
    maximum_instance_bytes: Annotated[int, Field(ge=1)] = 1 << 30
    """Longest object; each running request holds one in memory."""
    maximum_request_bytes: Annotated[int, Field(ge=1)] = 1 << 34
    """Longest request."""
    silence_seconds: Seconds = 30
    """A request in which nothing comes for this long is ended."""
    request_seconds: Seconds = 3600
    """A request that takes longer is ended."""
