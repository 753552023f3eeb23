"""The site: it shows, and takes questions; nothing fetched from elsewhere, no script, nothing kept by a browser or a proxy."""

import ipaddress
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from gsco_pacs import __version__
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import BadObjectError, ConfigError, IllegalMoveError, TransientError
from gsco_pacs.web import api, pages, questions
from gsco_pacs.web.facts import Facts

if TYPE_CHECKING:
    from gsco_pacs.adapters.audit import Audit
    from gsco_pacs.web.questions import Door

_HERE = Path(__file__).parent

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'none'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # The pages show patients' data, which must not outlive them on a disk.
    "Cache-Control": "no-store",
}


def make_app(audit: "Audit", store: Path, config: Config, door: "Door") -> FastAPI:
    """The site over the record ``audit`` and the images in ``store``; questions go through ``door``."""
    app = FastAPI(title="gsco_pacs", version=__version__, docs_url=None, redoc_url=None)
    app.state.facts = Facts(audit, store, config)
    app.state.door = door
    app.include_router(pages.router)
    app.include_router(api.router)
    app.include_router(questions.router)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    app.add_exception_handler(ConfigError, _refuse(HTTPStatus.NOT_FOUND))
    app.add_exception_handler(BadObjectError, _refuse(HTTPStatus.UNPROCESSABLE_ENTITY))
    app.add_exception_handler(IllegalMoveError, _refuse(HTTPStatus.CONFLICT))
    app.add_exception_handler(TransientError, _refuse(HTTPStatus.SERVICE_UNAVAILABLE))
    app.add_exception_handler(RequestValidationError, _refuse_query)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.middleware("http")(_add_headers)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(config.web.host))
    return app


def _hosts(host: str) -> list[str]:
    """Host names that a request may use: on loopback only loopback's, so that no foreign page can rebind its name to us."""
    loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    return ["localhost", "127.0.0.1", "[::1]", host] if loopback else ["*"]


async def _add_headers(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await proceed(request)
    response.headers.update(HEADERS)
    return response


def _refuse(status: HTTPStatus) -> Callable[[Request, Exception], Response]:
    return lambda request, error: _told(request, status, str(error))


def _refuse_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
    words = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
    return _told(request, HTTPStatus.UNPROCESSABLE_ENTITY, f"The question could not be understood: {words}.")


def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
    status = HTTPStatus(error.status_code)
    words = {
        HTTPStatus.NOT_FOUND: "There is no such page.",
        HTTPStatus.METHOD_NOT_ALLOWED: "The pages only show; nothing can be changed here.",
    }
    return _told(request, status, words.get(status, status.description), dict(error.headers or {}))


def _told(
    request: Request, status: HTTPStatus, words: str, headers: dict[str, str] | None = None
) -> Response:
    if request.url.path.startswith(("/api/", "/healthz")):
        return JSONResponse({"detail": words}, status, headers)
    return pages.refusal(request, status, words, headers)
