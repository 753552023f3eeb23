"""Puts one case to the generalist in one variant of the briefing and reads its answer strictly."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from string import Template

from gsco_pacs.datasets.cases import EvaluationCase, Task
from gsco_pacs.domain.findings import Answer, Briefing, Consultation, Draft, Finding, Mode
from gsco_pacs.evaluation.overheard import Overheard
from gsco_pacs.evaluation.records import AnswerRecord, CaseRecord, Variant
from gsco_pacs.grounding.options import NotAnOptionError, chosen
from gsco_pacs.ports import Generalist, Picture
from gsco_pacs.steps.brief import brief
from gsco_pacs.steps.draft import draft

RETRY = "retry-v1"
PUBLISHED = "published"
"""The paper's words: the data set's own prompt where the generalist is alone and one is published, else ``gsco``."""


@dataclass(frozen=True, eq=False)
class Inquiry:
    """One case with one finished briefing: all that a process needs to ask."""

    record: CaseRecord
    case: EvaluationCase
    variant: Variant
    briefing: Briefing
    findings: tuple[Finding, ...]
    consultation: Consultation

    @property
    def prompt_sha256(self) -> str:
        """Of the prompt as it is sent first; an answer is only as old as its prompt."""
        return hashlib.sha256(self.briefing.prompt.encode()).hexdigest()

    @property
    def consultation_sha256(self) -> str:
        """Of what a report is drafted from, whatever of it the prompt shows; "" where the prompt is all that counts."""
        if self.record.task is not Task.REPORT or self.in_own_words:
            return ""
        return hashlib.sha256(json.dumps(asdict(self.consultation)).encode()).hexdigest()

    @property
    def in_own_words(self) -> bool:
        """Whether the generalist's text is taken as it is, as the paper measures it."""
        return self.briefing.template.endswith(PUBLISHED)


def inquiry(
    record: CaseRecord,
    case: EvaluationCase,
    variant: Variant,
    findings: tuple[Finding, ...],
    consultation: Consultation,
) -> Inquiry:
    """The case with its briefing; a case of which exactly one option is true gets the template's form for one."""
    written = "gsco" if variant.template == PUBLISHED else variant.template
    template = {Task.REPORT: "briefed", Task.QUESTION: "question-briefed"}.get(record.task, written)
    if record.task is Task.DIAGNOSIS and record.single:
        template = f"{written}-single"
    briefing = brief(consultation, findings, variant.mode, template, record.question)
    if variant.template == PUBLISHED and variant.mode is Mode.GENERALIST and case.prompt:
        digest = hashlib.sha256(case.prompt.encode()).hexdigest()
        template = f"{briefing.template}-{PUBLISHED}"
        briefing = replace(briefing, prompt=case.prompt, template=template, template_sha256=digest)
    return Inquiry(record, case, variant, briefing, findings, consultation)


def asked(generalist: Generalist, inquiry: Inquiry) -> AnswerRecord:
    """The answer; one that is not made of the options is asked for once more, as by the node, and can then name nothing else.

    BadObjectError if an image cannot be read.
    """
    begun = time.perf_counter()
    pictures = inquiry.case.images.pictures()
    listener = Overheard(generalist)
    if inquiry.record.task is Task.DIAGNOSIS:
        text, labels, failure = _diagnosed(listener, inquiry, pictures)
    elif inquiry.record.task is Task.REPORT:
        text, labels, failure = _reported(listener, inquiry, pictures)
    else:
        answer = listener.answer(inquiry.briefing, pictures)
        text, labels, failure = answer.text, (), "" if answer.text else "nothing was said"
    return AnswerRecord(
        case=inquiry.record.id,
        variant=inquiry.variant,
        prompt_sha256=inquiry.prompt_sha256,
        text=text,
        labels=labels,
        failure=failure,
        calls=len(listener.answers),
        seconds=time.perf_counter() - begun,
        scores=dict(listener.answers[0].scores) if listener.answers else {},
        tokens_in=sum(answer.tokens_in for answer in listener.answers),
        tokens_out=sum(answer.tokens_out for answer in listener.answers),
        consultation_sha256=inquiry.consultation_sha256,
    )


_Read = tuple[str, tuple[str, ...], str]


def _diagnosed(generalist: Overheard, inquiry: Inquiry, pictures: Sequence[Picture]) -> _Read:
    first = generalist.answer(inquiry.briefing, pictures)
    labels, failure = _read(first, inquiry)
    if not failure:
        return first.text, labels, ""
    text = files("gsco_pacs").joinpath("prompts", f"{RETRY}.txt").read_text(encoding="utf-8")
    again = Template(text).substitute(reasons=failure)
    prompt = f"{inquiry.briefing.prompt}\n{again}"
    second = generalist.answer(replace(inquiry.briefing, prompt=prompt, constrained=True), pictures)
    labels, failure = _read(second, inquiry)
    return second.text, labels, failure


def _read(answer: Answer, inquiry: Inquiry) -> tuple[tuple[str, ...], str]:
    if not answer.finished:
        return (), "the answer was cut at its length limit"
    try:
        labels = chosen(answer.text, inquiry.briefing.options, single=inquiry.record.single)
    except NotAnOptionError as error:
        return (), str(error)
    normal = {finding.label for finding in inquiry.findings if finding.normal}
    if not inquiry.record.single and normal & set(labels) and len(labels) > 1:
        return (), "the answer names a finding and none at once"
    return labels, ""


def _reported(generalist: Overheard, inquiry: Inquiry, pictures: Sequence[Picture]) -> _Read:
    if inquiry.in_own_words:
        said = generalist.answer(inquiry.briefing, pictures).text
        return said, (), "" if said else "nothing was said"
    made = draft(inquiry.briefing, inquiry.consultation, generalist, pictures)
    return report_text(made), (), ""


def report_text(made: Draft) -> str:
    """Findings and impression as one text, as reports are compared."""
    return " ".join(statement.text for statement in (*made.findings, *made.impression))
