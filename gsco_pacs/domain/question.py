"""A question that a person asks about a study, and what was replied."""

from dataclasses import dataclass
from enum import StrEnum

from gsco_pacs.domain.errors import PermanentError
from gsco_pacs.domain.findings import ModelIdentity

LONGEST = 500
"""Characters of a question."""
CAUTION = "The reply stands as the model gave it and was not checked: nobody and nothing has verified it."


class QuestionState(StrEnum):
    """Where a question is: it waits for a worker, one has it, or it has ended."""

    WAITING = "waiting"
    WORKING = "working"
    ANSWERED = "answered"
    FILED = "filed"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether no worker will look at it again."""
        return self in (QuestionState.ANSWERED, QuestionState.FILED, QuestionState.FAILED)


@dataclass(frozen=True)
class Reply:
    """The generalist's answer, word for word, what it was told, and where it goes against the specialists."""

    text: str
    model: ModelIdentity
    image_seen: bool
    finished: bool
    """False if the answer was cut at its length limit."""
    contradictions: tuple[str, ...]
    """Each sentence that the specialists contradict, with how."""
    prompt: str
    template: str
    template_sha256: str


def checked(text: str) -> str:
    """``text`` on one line; PermanentError if it is no question: empty, too long, or with characters that are no text."""
    line = " ".join(text.split())
    if not any(char.isalnum() for char in line) or len(line) > LONGEST or not line.isprintable():
        raise PermanentError(f"A question is a line of at most {LONGEST} characters with words in it.")
    return line
