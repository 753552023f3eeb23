"""A question and its reply as a narrative SR: the words, whose they are, and what the specialists hold against them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from highdicom.sr import ContainerContentItem, ContentItem

from gsco_pacs.domain.findings import Answer, Draft
from gsco_pacs.domain.question import CAUTION, Reply
from gsco_pacs.sr import codes
from gsco_pacs.sr.material import Material
from gsco_pacs.sr.narrative import basis
from gsco_pacs.sr.tree import container, context, root, text
from gsco_pacs.sr.wording import WARNING


@dataclass(frozen=True, eq=False)
class ReplyMaterial(Material):
    """What the SR of one question is made of; each question has UIDs of its own."""

    question: str
    reply: Reply
    number: int

    @cached_property
    def key(self) -> tuple[object, ...]:
        """The key of the study's result and the question."""
        return (*super().key, "question", self.number, self.question)


def drafted_reply(reply: Reply) -> Draft:
    """The reply in the place of a draft: no statement of it was accepted."""
    answer = Answer(reply.text, reply.model, reply.image_seen, reply.finished)
    return Draft((), (), reply.contradictions, (), reply.model, answer, wording="not checked")


def question_and_reply(asked: ReplyMaterial) -> ContainerContentItem:
    """The content tree: the question, the reply as it was given, and its basis as in a narrative report."""
    sections = (
        container(codes.PROCEDURE_DESCRIPTIONS, [text(codes.PROCEDURE_DESCRIPTION, WARNING)]),
        container(codes.QUESTION_AND_REPLY, _items(asked)),
        container(codes.BASIS, basis(asked)),
    )
    return root(codes.REPORT_TITLE, "2000", (*context(asked), *sections))


def _items(asked: ReplyMaterial) -> Iterator[ContentItem]:
    yield text(codes.QUESTION, asked.question)
    yield text(codes.REPLY, asked.reply.text or "The model said nothing.")
    yield text(codes.REPLY, CAUTION)
    if not asked.reply.finished:
        yield text(codes.REPLY, "It was cut at its length limit.")
