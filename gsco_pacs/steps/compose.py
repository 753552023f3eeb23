"""Step 7 of the consultation: the draft becomes objects that may leave the node."""

from collections.abc import Sequence
from datetime import datetime

from pydicom import Dataset

from gsco_pacs.domain.findings import Consultation, Draft, ObjectKind, Predecessor, Provenance, Report
from gsco_pacs.domain.question import Reply
from gsco_pacs.domain.study import Study
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.sr.coded import coded
from gsco_pacs.sr.document import encode
from gsco_pacs.sr.material import Material
from gsco_pacs.sr.narrative import narrative
from gsco_pacs.sr.reply import ReplyMaterial, drafted_reply, question_and_reply
from gsco_pacs.sr.selection import selection
from gsco_pacs.sr.validate import validate


def compose(
    study: Study,
    headers: Sequence[Dataset],
    *,
    consultation: Consultation,
    draft: Draft,
    provenance: Provenance,
    equipment: Equipment,
    predecessors: Sequence[Predecessor],
    at: datetime,
) -> tuple[Report, ...]:
    """The narrative and the coded report of ``study``, encoded once and accepted by dciodvfy.

    With a Key Object Selection, if a finding is present or possible.

    ``headers`` are the study's images without pixels (``gsco_pacs.sr.source.read_header``), one for each instance and
    in their order. ``at`` is when the content was created, in local time. The same arguments give the same bytes.
    InvalidReportError if a text cannot be written or dciodvfy objects; BadObjectError if the parts do not belong
    together.
    """
    material = Material(study, headers, consultation, draft, provenance, equipment, predecessors, at)
    selected = selection(material)
    reports = (
        encode(ObjectKind.NARRATIVE, narrative(material), material),
        encode(ObjectKind.CODED, coded(material), material),
        *([selected] if selected else ()),
    )
    for report in reports:
        validate(report)
    return reports


def compose_reply(
    study: Study,
    headers: Sequence[Dataset],
    *,
    consultation: Consultation,
    question: str,
    reply: Reply,
    number: int,
    provenance: Provenance,
    equipment: Equipment,
    at: datetime,
) -> Report:
    """A question about ``study`` and its reply as one narrative report; the rest is as for ``compose``."""
    draft = drafted_reply(reply)
    asked = ReplyMaterial(
        study, headers, consultation, draft, provenance, equipment, (), at, question, reply, number
    )
    report = encode(ObjectKind.NARRATIVE, question_and_reply(asked), asked)
    validate(report)
    return report
