"""Walk 2, in the workers: a claimed job becomes reports at their destinations.

    consult stage   prepare → consult (MoED) → recall (RAD) → explain, or prepare → outline
    draft stage     refer → brief → draft → compare → compose
    deliver stage   deliver

What one bundle does in the consult stage, up to ``explain``, is ``sessions.py``.
Each stage is saved before the next begins, so a retry goes on from the last finished one.
Walk 1 is ``intake.py``; the two share nothing but the job's row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from gsco_pacs import __version__
from gsco_pacs.domain.errors import NotApplicableError, PermanentError
from gsco_pacs.domain.findings import (
    Aside,
    Briefing,
    Consultation,
    Draft,
    Exclusion,
    Mode,
    Predecessor,
    Provenance,
    Receipt,
    Referral,
    Report,
)
from gsco_pacs.domain.priors import Prior
from gsco_pacs.domain.study import StoredFile, Study
from gsco_pacs.pixels.decoding import IN_PROCESS, Decoder
from gsco_pacs.ports import Asked, Destination, Generalist, InputContract, Segmenter
from gsco_pacs.sessions import outlining, sessions
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.sr.evidence import Origin
from gsco_pacs.sr.source import read_header
from gsco_pacs.steps.brief import brief
from gsco_pacs.steps.compare import compare
from gsco_pacs.steps.compose import compose
from gsco_pacs.steps.deliver import Deliveries, deliver
from gsco_pacs.steps.draft import ask, draft
from gsco_pacs.steps.explain import explain
from gsco_pacs.steps.prepare import prepare
from gsco_pacs.steps.refer import refer

SHOWN = InputContract((), (), (), (), min_rows=1, min_columns=1, max_images=4)
"""What the generalist is shown of the images that were read: at most four, evenly spread."""


def consult_stage(
    files: Sequence[StoredFile],
    specialists: Sequence[Asked],
    route: RouteSettings,
    origin: Origin,
    decoder: Decoder = IN_PROCESS,
) -> tuple[Consultation, tuple[Report, ...]]:
    """What the specialists of the route say about the study, the cases that resemble it, and the evidence they made.

    NotApplicableError with the reasons if no image meets any specialist's contract. If images do, but are strange to
    every specialist, the consultation holds no opinion: the report will say that nothing was assessed.
    """
    looking = [each for each in specialists if not isinstance(each, Segmenter)]
    held = [
        session
        for _, members in groupby(looking, key=lambda specialist: specialist.bundle)
        for session in sessions(files, list(members), route, origin.study.patient_id, decoder)
    ]
    held += [outlining(files, each, origin, decoder) for each in specialists if isinstance(each, Segmenter)]
    worked = [session for session in held if session.worked]
    exclusions = tuple(dict.fromkeys(exclusion for session in held for exclusion in session.exclusions))
    if not worked:
        raise _nothing_read(exclusions)
    viewings = [session.viewing for session in worked if session.viewing]
    headers = {file.instance.sop_instance_uid: file.path for file in files}
    maps, missing = explain(viewings, route.saliency, origin, lambda uid: read_header(headers[uid]))
    made = (*(pair for session in worked for pair in session.made), *maps)
    consultation = Consultation(
        specialists=tuple(session.identity for session in worked),
        read=tuple(dict.fromkeys(uid for session in worked for uid in session.read)),
        opinions=tuple(opinion for session in worked for opinion in session.opinions),
        cases=tuple(case for session in worked for case in session.cases),
        exclusions=(*exclusions, *missing),
        region=worked[0].examines,
        evidence=tuple(evidence for evidence, _ in made),
        measurements=tuple(one for session in worked for one in session.measurements),
        reading=tuple(dict.fromkeys(session.reading for session in worked if session.reading)),
        familiarity=tuple(session.familiarity for session in worked if session.familiarity),
    )
    return consultation, tuple(report for _, report in made)


def _nothing_read(exclusions: Sequence[Exclusion]) -> Exception:
    reasons = "; ".join(dict.fromkeys(exclusion.reason for exclusion in exclusions))
    if any(exclusion.failed for exclusion in exclusions):
        return PermanentError(f"No image could be read: {reasons}")
    return NotApplicableError(f"No image fits the specialists of the route: {reasons}")


@dataclass(frozen=True)
class Drafted:
    """The draft stage's product: what the generalist was told, what is drafted, and its answers in other modes."""

    briefing: Briefing
    draft: Draft
    also: tuple[Aside, ...] = ()


def draft_stage(
    study: Study,
    files: Sequence[StoredFile],
    consultation: Consultation,
    generalist: Generalist,
    *,
    route: RouteSettings,
    equipment: Equipment,
    predecessors: Sequence[Predecessor],
    priors: Sequence[Prior] = (),
    run: int,
    at: datetime,
    decoder: Decoder = IN_PROCESS,
) -> tuple[Drafted, tuple[Report, ...]]:
    """Brief the generalist if it is needed, draft under the grounding gate, compare with the past, compose the objects."""
    headers = [read_header(file.path) for file in files]
    read = [file for file in files if file.instance.sop_instance_uid in consultation.read]
    findings = tuple(dict.fromkeys(opinion.finding for opinion in consultation.opinions))
    referral = _referral(consultation, route)
    briefing = brief(
        consultation, findings, route.mode if referral.made else Mode.SPECIALISTS, route.template
    )
    pictures = prepare(read, SHOWN, decoder).pictures
    drafted = draft(briefing, consultation, generalist, pictures)
    also = tuple(
        ask(brief(consultation, findings, mode, route.template), consultation, generalist, pictures)
        for mode in route.also
        if consultation.opinions and mode is not briefing.mode
    )
    drafted = replace(drafted, referral=referral, comparison=compare(consultation, priors))
    provenance = Provenance(
        node_version=__version__, config_sha256=route.sha256, route=route.name, mode=route.mode,
        template=briefing.template, template_sha256=briefing.template_sha256, run=run,
        inputs=tuple((instance.sop_instance_uid, instance.sha256) for instance in study.instances),
    )  # fmt: skip
    reports = compose(
        study, headers, consultation=consultation, draft=drafted, provenance=provenance, equipment=equipment,
        predecessors=predecessors, at=at,
    )  # fmt: skip
    return Drafted(briefing, drafted, also), reports


def _referral(consultation: Consultation, route: RouteSettings) -> Referral:
    if route.mode is Mode.SPECIALISTS:
        return Referral(made=False, reasons=("the mode of the route is specialists",))
    return refer(consultation.opinions, consultation.cases, consultation.familiarity, route.gate)


def deliver_stage(
    reports: Sequence[Report], destinations: Sequence[Destination], receipts: Sequence[Receipt]
) -> Deliveries:
    """Send each object to each destination that takes its kind and has not yet; one's failure stops no other."""
    return deliver(reports, destinations, receipts)
