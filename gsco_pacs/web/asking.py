"""What may be asked for in an address, and where the answers come from."""

from typing import Annotated, Literal

from fastapi import Query, Request

from gsco_pacs.domain.job import State
from gsco_pacs.web.facts import Facts

WantedState = Annotated[State | Literal[""], Query(description="Only jobs in this state.")]
Search = Annotated[
    # PostgreSQL takes no NUL in text.
    str,
    Query(
        max_length=128, pattern=r"^[^\x00]*$", description="Part of a UID, patient ID or accession number."
    ),
]
Page = Annotated[int, Query(ge=1, le=1_000_000, description="1 = the newest jobs.")]


def facts_of(request: Request) -> Facts:
    """The site's facts."""
    facts: Facts = request.app.state.facts
    return facts
