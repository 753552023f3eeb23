"""When a study counts as complete."""

from typing import Annotated, Literal

from pydantic import Field

from gsco_pacs.conditions import Condition, Settings
from gsco_pacs.settings.values import Seconds


class Settle(Settings):
    """When a study counts as complete; a route may set its own."""

    quiet_seconds: Seconds = 60
    """No new image of the study for this long, and nothing is known to be missing."""
    settle_seconds: Seconds = 5
    """No new image for this long after everything that the route expects has come."""
    ask_seconds: Seconds = 15
    """Between two questions to the archive of a route (`ask`); it must give the same number twice."""
    deadline_seconds: Seconds = 3600
    """A study is closed this long after its first image, whatever is missing; the draft then says so."""


class Expectation(Settings):
    """Images that a route expects of each study; when all expectations are met, the study closes early."""

    when: Condition
    """What an image must meet to count."""
    at_least: Annotated[int, Field(ge=1)] = 1
    """So many must come."""
    of: Literal["images", "series"] = "images"
    """Whether images are counted, or series with at least one such image."""
