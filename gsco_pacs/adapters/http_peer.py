"""How the node calls a peer over HTTP, and what its answers mean; for DICOMweb (PS3.18 section 8.5)."""

import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from gsco_pacs.adapters.tls import in_words
from gsco_pacs.domain.errors import GscoError, PeerBusyError, PeerUnavailableError, RejectedByPeerError

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_REMEDIES = {
    401: "it wants a token: set token_env",
    403: "allow our token there",
    404: "is the url right?",
    406: "it does not send what we understand",
    415: "it does not take what we send",
}


@dataclass(frozen=True)
class HttpPeer:
    """A peer that the node calls; proxies of the environment are not used, redirections are not followed."""

    url: str
    """Where its services begin."""
    seconds: float
    """Longest wait for a connection and for each part of an answer."""
    tls: Callable[[], ssl.SSLContext] | None = None
    """Asked with each call, so that a renewed certificate is used at once; None for plain HTTP."""
    token: Callable[[], str] | None = None
    """The bearer token, if it wants one."""

    def __str__(self) -> str:
        return self.url

    @contextmanager
    def answer(
        self,
        path: str,
        *,
        accept: str,
        query: Sequence[tuple[str, str]] = (),
        method: str = "GET",
        content: Iterable[bytes] | None = None,
        content_type: str = "",
        understood: Collection[int] = (200, 204),
    ) -> Iterator[httpx.Response]:
        """The answer with its body unread, if its status is one of ``understood``.

        PeerUnavailableError if the peer is away, hangs up (while the body is read, too) or has no certificate that is
        accepted, PeerBusyError for a status that may pass, RejectedByPeerError with what to do about any other.
        """
        headers = {"Accept": accept, "Accept-Encoding": "identity", **self._headers(content_type)}
        url = self.url.rstrip("/") + path
        try:
            with (
                httpx.Client(
                    verify=self.tls() if self.tls else True, timeout=self.seconds, trust_env=False
                ) as client,
                client.stream(method, url, params=list(query), headers=headers, content=content) as response,
            ):
                if response.status_code not in understood:
                    raise self._refusal(response.status_code)
                yield response
        except httpx.TransportError as error:
            raise PeerUnavailableError(f"{self} {_trouble(error)}.") from error

    def _headers(self, content_type: str) -> Mapping[str, str]:
        headers = {"Content-Type": content_type} if content_type else {}
        return headers | ({"Authorization": f"Bearer {self.token()}"} if self.token else {})

    def _refusal(self, status: int) -> GscoError:
        words = f"{self} answered with HTTP {status}"
        if status in _BUSY:
            return PeerBusyError(f"{words}: it cannot do it at present.")
        return RejectedByPeerError(f"{words}: {_REMEDIES.get(status, 'look into its log')}.")


def _trouble(error: httpx.TransportError) -> str:
    """What the system's own error below httpx's and httpcore's says; httpcore's has no cause, but a context."""
    below = error.__cause__
    while below is not None:
        if isinstance(below, ssl.SSLError):
            return f"makes no TLS connection: {in_words(below)}"
        if isinstance(below, socket.gaierror):
            return f"cannot be looked up: {below.strerror}"
        below = below.__cause__ or below.__context__
    return f"cannot be reached or hung up: {type(error).__name__}"


def chunks(response: httpx.Response, *, most_bytes: int, seconds: float) -> Iterator[bytes]:
    """The body as it comes; RejectedByPeerError if it gets longer than ``most_bytes`` or takes longer than ``seconds``."""
    deadline, received = time.monotonic() + seconds, 0
    for chunk in response.iter_raw():
        received += len(chunk)
        if received > most_bytes or time.monotonic() > deadline:
            raise RejectedByPeerError("An answer is longer, or takes longer, than the configuration allows.")
        yield chunk
