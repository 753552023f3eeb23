"""The pages for people: the job list, a study, its pictures and its reports."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gsco_pacs.domain.correction import summed_up
from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.domain.job import State
from gsco_pacs.domain.question import CAUTION
from gsco_pacs.web import words
from gsco_pacs.web.asking import Page, Search, WantedState, facts_of
from gsco_pacs.web.facts import Facts
from gsco_pacs.web.pictures import captured, picture
from gsco_pacs.web.study_page import chapters

router = APIRouter(include_in_schema=False)


def _environment() -> Environment:
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": words.clock, "size": words.size, "query": urlencode}
    environment.globals |= {
        "meanings": words.MEANINGS,
        "states": list(State),
        "span": words.span,
        "caution": CAUTION,
    }
    environment.filters["kind"] = lambda kind: ObjectKind(kind).words
    return environment


_TEMPLATES = _environment()


def _page(request: Request, name: str, status: HTTPStatus = HTTPStatus.OK, /, **values: Any) -> HTMLResponse:
    facts: Facts = request.app.state.facts
    html = _TEMPLATES.get_template(name).render(receiver=facts.config.receiver, **values)
    return HTMLResponse(html, status)


@router.get("/")
def jobs(
    request: Request,
    facts: Annotated[Facts, Depends(facts_of)],
    state: WantedState = "",
    q: Search = "",
    page: Page = 1,
) -> Response:
    """The job list with the latest refusals."""
    return _page(
        request, "jobs.html", listed=facts.jobs(state, q, page), status=facts.status(), refused=facts.refused(),
        state=state, q=q,
    )  # fmt: skip


@router.get("/studies/{study_instance_uid}")
def study(request: Request, study_instance_uid: str, facts: Annotated[Facts, Depends(facts_of)]) -> Response:
    """What happened to a study and why."""
    history = facts.study(study_instance_uid)
    odd = tuple(summed_up((each.kind, each.changes) for each in history.received))
    return _page(request, "study.html", history=history, chapters=chapters(facts, history), odd=odd)


@router.get("/studies/{study_instance_uid}/images/{sop_instance_uid}.png")
def image(
    study_instance_uid: str, sop_instance_uid: str, facts: Annotated[Facts, Depends(facts_of)]
) -> Response:
    """An image as a specialist read it."""
    return Response(picture(facts, study_instance_uid, sop_instance_uid), media_type="image/png")


@router.get("/reports/{sop_instance_uid}.dcm")
def report(sop_instance_uid: str, facts: Annotated[Facts, Depends(facts_of)]) -> Response:
    """A report as it was sent, to the byte."""
    content = facts.report(sop_instance_uid)
    headers = {"Content-Disposition": f'attachment; filename="{sop_instance_uid}.dcm"'}
    return Response(content, media_type="application/dicom", headers=headers)


@router.get("/reports/{sop_instance_uid}.png")
def capture(sop_instance_uid: str, facts: Annotated[Facts, Depends(facts_of)]) -> Response:
    """A capture as a viewer shows it."""
    return Response(captured(facts, sop_instance_uid), media_type="image/png")


def refusal(
    request: Request, status: HTTPStatus, reason: str, headers: dict[str, str] | None = None
) -> Response:
    """The page that says why there is nothing to see."""
    response = _page(request, "refusal.html", status, number=status.value, reason=reason)
    response.headers.update(headers or {})
    return response
