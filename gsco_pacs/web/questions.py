"""Questions over REST: asked by a program, answered by a worker, never by a foreign page in somebody's browser."""

from typing import TYPE_CHECKING, Annotated, Protocol
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gsco_pacs.domain.question import LONGEST
from gsco_pacs.domain.study import valid_uid

if TYPE_CHECKING:
    from gsco_pacs.adapters.question_ledger import Question


class Door(Protocol):
    """Where questions are asked; processes.question_door has the real one, which alone knows database and broker."""

    def ask(self, study_instance_uid: str, question: str, asked_by: str, *, to_be_filed: bool) -> "Question":
        """Enter a question and wake a worker."""

    def file(self, number: int) -> "Question":
        """Have an answered question filed."""

    def question(self, number: int) -> "Question":
        """One question."""

    def of_study(self, study_instance_uid: str) -> "tuple[Question, ...]":
        """Every question about a study, newest first."""


class Asking(BaseModel, extra="forbid"):
    """What is sent to ask."""

    question: Annotated[str, Field(max_length=LONGEST, pattern=r"^[^\x00-\x1f\x7f]*\w[^\x00-\x1f\x7f]*$")]
    asked_by: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*\w[^\x00-\x1f\x7f]*$")]
    """As the caller calls itself: the pages have no login."""
    file: bool = False
    """Also file question and answer as an SR at the route's destinations."""


def _from_here(request: Request) -> None:
    """403 for a request that a browser sends for a page of another origin (it cannot hide where it comes from)."""
    origin = request.headers.get("Origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("Host")
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise HTTPException(403, "Questions are not taken from pages of another site.")


def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


router = APIRouter()
_Door = Annotated[Door, Depends(_door)]


@router.post(
    "/api/studies/{study_instance_uid}/questions", status_code=202, dependencies=[Depends(_from_here)]
)
def ask(study_instance_uid: str, asking: Asking, request: Request, door: _Door) -> Response:
    """Ask about a study; 202 with the question's number, whose answer is at the address in Location."""
    client = request.client.host if request.client else "unknown"
    who = f"{asking.asked_by} ({client})"
    asked = door.ask(valid_uid(study_instance_uid), asking.question, who, to_be_filed=asking.file)
    return _told(asked, 202, {"Location": f"/api/questions/{asked.number}"})


@router.get("/api/studies/{study_instance_uid}/questions")
def questions(study_instance_uid: str, door: _Door) -> Response:
    """Every question about a study, newest first."""
    return _told(door.of_study(valid_uid(study_instance_uid)))


@router.get("/api/questions/{number}")
def question(number: int, door: _Door) -> Response:
    """A question, where it stands, and its answer once there is one."""
    return _told(door.question(number))


@router.post("/api/questions/{number}/filing", status_code=202, dependencies=[Depends(_from_here)])
def file(number: int, door: _Door) -> Response:
    """File an answered question as an SR at the route's destinations; 409 if it is not answered, or filed already."""
    return _told(door.file(number), 202)


def _told(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(jsonable_encoder(value), status, headers)
