"""The same facts as JSON. Times are ISO 8601 in UTC or with their offset."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from gsco_pacs.web.asking import Page, Search, WantedState, facts_of
from gsco_pacs.web.facts import Facts
from gsco_pacs.web.words import why

router = APIRouter()


@router.get("/api/jobs")
def jobs(
    facts: Annotated[Facts, Depends(facts_of)], state: WantedState = "", q: Search = "", page: Page = 1
) -> JSONResponse:
    """One page of jobs, newest first, each with why it is where it is."""
    listed = facts.jobs(state, q, page)
    lines = [asdict(item.job) | {"why": item.why} for item in listed.jobs]
    return _json(asdict(listed) | {"jobs": lines})


@router.get("/api/studies/{study_instance_uid}")
def study(study_instance_uid: str, facts: Annotated[Facts, Depends(facts_of)]) -> JSONResponse:
    """Everything that the node knows of a study, newest revision first; 404 if it never had an image of it."""
    history = facts.study(study_instance_uid)
    revisions = [asdict(revision) | {"why": why(revision.job)} for revision in history.revisions]
    return _json(asdict(history) | {"revisions": revisions})


@router.get("/api/refusals")
def refusals(facts: Annotated[Facts, Depends(facts_of)]) -> JSONResponse:
    """What was turned away lately, equal refusals as one, with the lines of config.yaml that would let it in."""
    return _json(facts.refused())


@router.get("/api/status")
def status(facts: Annotated[Facts, Depends(facts_of)]) -> JSONResponse:
    """How the node does: jobs in each state, the oldest unfinished one, free space."""
    return _json(facts.status())


@router.get("/healthz")
def healthz(facts: Annotated[Facts, Depends(facts_of)]) -> dict[str, str]:
    """200 if the record can be read, else 503."""
    facts.audit.counts()
    return {"status": "ok"}


def _json(value: Any) -> JSONResponse:
    return JSONResponse(jsonable_encoder(value))
