"""What the page of a study shows, revision by revision, newest first."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup
from pydantic import TypeAdapter

from gsco_pacs.domain.findings import Aside, Briefing, Consultation, Draft, ObjectKind
from gsco_pacs.domain.job import Stage
from gsco_pacs.domain.registration import PART_OF_STUDY
from gsco_pacs.sr.reading import as_html
from gsco_pacs.web.facts import Facts
from gsco_pacs.web.timeline import Entry, timeline
from gsco_pacs.web.words import why

if TYPE_CHECKING:
    from gsco_pacs.adapters.audit import (
        Attempt,
        Confirmation,
        Delivery,
        JobLine,
        ReportLine,
        Revision,
        StudyHistory,
    )

_CONSULTATION = TypeAdapter(Consultation)
_BRIEFING = TypeAdapter(Briefing)
_DRAFT = TypeAdapter(Draft)
_ASIDES = TypeAdapter(tuple[Aside, ...])


@dataclass(frozen=True)
class Chapter:
    """One revision as the page tells it; what a stage has not found out yet is None."""

    job: "JobLine"
    why: str
    entries: tuple[Entry, ...]
    consultation: Consultation | None
    briefing: Briefing | None
    draft: Draft | None
    also: tuple[Aside, ...]
    narrative: Markup | None
    """The narrative SR as HTML, read back from its stored bytes."""
    reports: tuple["ReportLine", ...]
    attempts: tuple["Attempt", ...]
    deliveries: tuple["Delivery", ...]
    confirmations: tuple["Confirmation", ...]


def chapters(facts: Facts, history: "StudyHistory") -> tuple[Chapter, ...]:
    """The study's revisions as the page tells them, newest first."""
    return tuple(_chapter(facts, history, revision) for revision in history.revisions)


def consultation_of(revision: "Revision") -> Consultation | None:
    """What the specialists said about this revision; None until they have."""
    product = revision.products.get(Stage.CONSULT)
    return _CONSULTATION.validate_python(product) if product else None


def _chapter(facts: Facts, history: "StudyHistory", revision: "Revision") -> Chapter:
    drafted = revision.products.get(Stage.DRAFT)
    arrived = [r for r in history.received if r.revision == revision.job.revision and r.kind in PART_OF_STUDY]
    return Chapter(
        job=revision.job,
        why=why(revision.job),
        entries=timeline(revision, arrived),
        consultation=consultation_of(revision),
        briefing=_BRIEFING.validate_python(drafted["briefing"]) if drafted else None,
        draft=_DRAFT.validate_python(drafted["draft"]) if drafted else None,
        also=_ASIDES.validate_python(drafted.get("also", ())) if drafted else (),
        narrative=_narrative(facts, revision),
        reports=revision.reports,
        attempts=revision.attempts,
        deliveries=revision.deliveries,
        confirmations=revision.confirmations,
    )


def _narrative(facts: Facts, revision: "Revision") -> Markup | None:
    narrative = next(
        (r for r in revision.reports if r.kind == ObjectKind.NARRATIVE and not r.deleted_at), None
    )
    # as_html escapes every text of the file.
    return None if narrative is None else Markup(as_html(facts.report(narrative.sop_instance_uid)))  # noqa: S704
