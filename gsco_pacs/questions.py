"""Walk 3, in the draft worker: a question about a study that was consulted becomes a reply, and an SR only if one is wanted.

draft stage     brief → reply (→ compose)
deliver stage   deliver, of what a person wants filed
"""

import re
from collections.abc import Sequence
from datetime import datetime

from gsco_pacs import __version__
from gsco_pacs.consultation import SHOWN
from gsco_pacs.domain.findings import Consultation, Mode, Provenance, Report
from gsco_pacs.domain.question import Reply
from gsco_pacs.domain.study import StoredFile, Study
from gsco_pacs.pixels.decoding import IN_PROCESS, Decoder
from gsco_pacs.ports import Generalist
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.sr.source import read_header
from gsco_pacs.steps.brief import brief
from gsco_pacs.steps.compose import compose_reply
from gsco_pacs.steps.prepare import prepare
from gsco_pacs.steps.reply import reply

_CONTROL = str.maketrans({"<": "(", ">": ")", "[": "(", "]": ")", "{": "(", "}": ")", "|": "/", "`": "'"})
"""Brackets that language models write their control tokens with: a question must never become one."""


def answer_question(
    question: str,
    consultation: Consultation,
    files: Sequence[StoredFile],
    generalist: Generalist,
    decoder: Decoder = IN_PROCESS,
    template: str = "question",
) -> Reply:
    """What the generalist replies, briefed with the specialists' opinions and the similar cases, and shown what was read."""
    findings = tuple(dict.fromkeys(opinion.finding for opinion in consultation.opinions))
    asked = re.sub(r"-{3,}", "--", question.translate(_CONTROL))
    briefing = brief(consultation, findings, Mode.MOED_RAD, template, question=asked)
    read = [file for file in files if file.instance.sop_instance_uid in consultation.read]
    return reply(question, briefing, consultation, generalist, prepare(read, SHOWN, decoder).pictures)


def question_report(
    study: Study,
    files: Sequence[StoredFile],
    consultation: Consultation,
    question: str,
    answered: Reply,
    *,
    route: RouteSettings,
    equipment: Equipment,
    number: int,
    at: datetime,
) -> Report:
    """Question ``number`` of the node and its reply as a narrative SR, marked as an AI draft."""
    provenance = Provenance(
        node_version=__version__,
        config_sha256=route.sha256,
        route=route.name,
        mode=Mode.MOED_RAD,
        template=answered.template,
        template_sha256=answered.template_sha256,
        inputs=tuple((instance.sop_instance_uid, instance.sha256) for instance in study.instances),
    )
    return compose_reply(
        study,
        [read_header(file.path) for file in files],
        consultation=consultation,
        question=question,
        reply=answered,
        number=number,
        provenance=provenance,
        equipment=equipment,
        at=at,
    )
