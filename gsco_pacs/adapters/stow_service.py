"""STOW-RS as origin server (PS3.18 section 10.5): every part of a request takes the door that every image takes."""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv6Address, ip_address

from pydicom import Dataset
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gsco_pacs.adapters.dicom_files import incoming
from gsco_pacs.adapters.multipart import PartReader
from gsco_pacs.adapters.store_status import status_of
from gsco_pacs.domain.errors import (
    BadObjectError,
    GscoError,
    OversizedError,
    TransientError,
)
from gsco_pacs.domain.incoming import Alert, Incoming, Refusal
from gsco_pacs.domain.part10 import take_apart
from gsco_pacs.domain.study import Peer, valid_uid
from gsco_pacs.settings.dicomweb import Dicomweb, WebSender

logger = logging.getLogger(__name__)

_JSON = "application/dicom+json"
_RETRY_SECONDS = 30
_SERVICE = "STOW-RS"
"""Stands where the called AE title of an association would."""


class _RefusedError(Exception):
    """The request is answered with an HTTP status before it is read to its end."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class _Failure:
    """A part that was not stored; without UIDs if they could not be read."""

    uids: tuple[str, str] | None
    status: int
    transient: bool


@dataclass
class _Results:
    """What became of the parts of one request."""

    stored: list[tuple[str, str]] = field(default_factory=list)
    """SOP Class and SOP Instance UID."""
    failures: list[_Failure] = field(default_factory=list)

    @property
    def status(self) -> int:
        """200 all, 202 some, 503 none but a later try may help, 409 none (PS3.18 table 10.5.3-1)."""
        if not self.failures:
            return 200
        if self.stored:
            return 202
        return 503 if any(failure.transient for failure in self.failures) else 409

    def as_response(self) -> Response:
        """The Store Instances Response Module (PS3.18 annex I); retrieve URLs are empty, because nothing can be retrieved."""
        answer = Dataset()
        answer.RetrieveURL = ""
        answer.ReferencedSOPSequence = [_reference(uids) for uids in self.stored]
        for failure in self.failures:
            item = _reference(failure.uids) if failure.uids else Dataset()
            item.FailureReason = failure.status
            keyword = "FailedSOPSequence" if failure.uids else "OtherFailuresSequence"
            setattr(answer, keyword, [*answer.get(keyword, ()), item])
        headers = {"Retry-After": str(_RETRY_SECONDS)} if self.status == 503 else {}
        return Response(json.dumps(answer.to_json_dict()), self.status, headers, media_type=_JSON)


def _reference(uids: tuple[str, str]) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = uids
    return item


class StowService:
    """Answers POST /studies and /studies/{study}.

    ``on_store`` returns when an object is durable, and only then is it reported as stored; what it raises becomes the
    failure reason. ``on_refusal`` is told of every request and object that was not taken.
    """

    def __init__(
        self, settings: Dicomweb, on_store: Callable[[Incoming], None], on_refusal: Callable[[Refusal], None]
    ) -> None:
        self._settings = settings
        self._on_store = on_store
        self._on_refusal = on_refusal
        self._running = 0

    def app(self) -> Starlette:
        """The service as an ASGI application."""
        return Starlette(
            routes=[
                Route("/studies", self._store, methods=["POST"]),
                Route("/studies/{study}", self._store, methods=["POST"]),
            ]
        )

    async def _store(self, request: Request) -> Response:
        try:
            peer = await self._admit(request)
            self._running += 1
            try:
                async with asyncio.timeout(self._settings.request_seconds):
                    return (await self._results(request, peer)).as_response()
            finally:
                self._running -= 1
        except _RefusedError as refusal:
            return _told(refusal.status, str(refusal))
        except OversizedError as error:
            return _told(413, str(error))
        except BadObjectError as error:
            return _told(400, str(error))
        except TimeoutError:
            return _told(408, "The request took too long.")
        except ClientDisconnect:
            return _told(400, "The request was broken off.")

    async def _admit(self, request: Request) -> Peer:
        """Who sends; _RefusedError if he may not, or if nobody may at present."""
        address = _address(request)
        sender, why = self._sender(request, address)
        if sender is None:
            refusal = Refusal(Peer("", _SERVICE, address), "request", why, Alert.NODE_AUTHENTICATION)
            await run_in_threadpool(self._tell, refusal)
            raise _RefusedError(401 if "Authorization" not in request.headers else 403, why)
        if self._running >= self._settings.maximum_requests:
            raise _RefusedError(503, "dicomweb.maximum_requests are running; please send again.")
        accepted = request.headers.get("Accept", "*/*")
        if not any(one in accepted for one in ("*/*", "application/*", _JSON, "application/json")):
            raise _RefusedError(406, f"The response is {_JSON}.")
        if not request.headers.get("Content-Type", "").lower().startswith("multipart/related"):
            raise _RefusedError(415, 'Send multipart/related; type="application/dicom".')
        if int(request.headers.get("Content-Length", 0)) > self._settings.maximum_request_bytes:
            raise _RefusedError(413, "The request is longer than dicomweb.maximum_request_bytes.")
        return Peer(sender.name, _SERVICE, address)

    def _sender(self, request: Request, address: str) -> tuple[WebSender | None, str]:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        shown = sha256(token.encode()).hexdigest() if scheme.lower() == "bearer" else ""
        known = [
            sender
            for sender in self._settings.senders
            if not sender.token_sha256 or hmac.compare_digest(sender.token_sha256, shown)
        ]
        if not known and not shown:
            return None, "it brings no bearer token, and dicomweb.senders has nobody without one."
        if not known:
            return None, "its token is not that of one of dicomweb.senders."
        here = [
            sender
            for sender in known
            if not sender.addresses or any(ip_address(address) in network for network in sender.addresses)
        ]
        return (
            (here[0], "") if here else (None, "dicomweb.senders has nobody at this address with its token.")
        )

    async def _results(self, request: Request, peer: Peer) -> _Results:
        reader = PartReader(request.headers["Content-Type"], self._settings.maximum_instance_bytes)
        study, results = request.path_params.get("study", ""), _Results()
        async for piece in self._pieces(request):
            for part in reader.feed(piece):
                await run_in_threadpool(self._take, part, study, peer, results)
        reader.end()
        if not results.stored and not results.failures:
            raise _RefusedError(400, "The request has no part.")
        return results

    async def _pieces(self, request: Request) -> AsyncIterator[bytes]:
        received, stream = 0, aiter(request.stream())
        while True:
            async with asyncio.timeout(self._settings.silence_seconds):
                piece = await anext(stream, None)
            if piece is None:
                return
            received += len(piece)
            if received > self._settings.maximum_request_bytes:
                raise _RefusedError(413, "The request is longer than dicomweb.maximum_request_bytes.")
            yield piece

    def _take(self, part: bytearray, study: str, peer: Peer, results: _Results) -> None:
        uids: tuple[str, str] | None = None
        try:
            file = take_apart(part)
            uids = valid_uid(file.sop_class_uid), valid_uid(file.sop_instance_uid)
            self._on_store(incoming(file, peer, study))
        except GscoError as error:
            status, _ = status_of(error)
            reason = f"0x{status:04X}: {error}"
            logger.warning("Refused an object of %s: %s", peer.calling_ae, reason)
            self._tell(Refusal(peer, "object", reason))
            results.failures.append(_Failure(uids, status, isinstance(error, TransientError)))
        else:
            results.stored.append(uids)

    def _tell(self, refusal: Refusal) -> None:
        try:
            self._on_refusal(refusal)
        except GscoError as error:
            logger.warning("The refusal could not be noted: %s", error)


def _address(request: Request) -> str:
    """The peer's address; an IPv4 address on an IPv6 socket is given as IPv4."""
    address = ip_address(request.client.host if request.client else "0.0.0.0")  # noqa: S104 - nobody's
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _told(status: int, words: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status == 503:
        headers["Retry-After"] = str(_RETRY_SECONDS)
    return JSONResponse({"detail": words}, status, headers)
