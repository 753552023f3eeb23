"""The consult stage of one bundle: its members look at the same images, prepared once, one after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gsco_pacs.domain.errors import PermanentError
from gsco_pacs.domain.familiarity import Familiarity
from gsco_pacs.domain.findings import Exclusion, Measurement, ModelIdentity, Opinion, SimilarCase
from gsco_pacs.domain.study import StoredFile
from gsco_pacs.pixels.decoding import IN_PROCESS, Decoder
from gsco_pacs.ports import Segmenter, Specialist
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.sr.evidence import Made, Origin
from gsco_pacs.steps.consult import consult
from gsco_pacs.steps.explain import Viewing
from gsco_pacs.steps.outline import outline
from gsco_pacs.steps.prepare import Prepared, prepare, prepare_volumes
from gsco_pacs.steps.recall import recall


@dataclass(frozen=True)
class Session:
    """One specialist's part of the consultation."""

    identity: ModelIdentity
    examines: str
    exclusions: tuple[Exclusion, ...]
    read: tuple[str, ...] = ()
    opinions: tuple[Opinion, ...] = ()
    cases: tuple[SimilarCase, ...] = ()
    viewing: Viewing | None = None
    made: tuple[Made, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    reading: str = ""
    familiarity: Familiarity | None = None

    @property
    def worked(self) -> bool:
        """Whether it looked at something, be it that it must not assess it; False also if it failed."""
        return bool(self.read) or any(exclusion.strange_to for exclusion in self.exclusions)


def sessions(
    files: Sequence[StoredFile],
    members: Sequence[Specialist],
    route: RouteSettings,
    patient_id: str,
    decoder: Decoder = IN_PROCESS,
) -> Iterator[Session]:
    """One session for each member of a bundle; what is strange to one member, none after it assesses."""
    prepared = prepare(files, members[0].contract, decoder)
    for member in members:
        session = _session(prepared, member, route, patient_id)
        yield session
        strange = {(one.subject, one.frame) for one in session.exclusions if one.strange_to}
        known = (one for one in prepared.pictures if (one.sop_instance_uid, one.frame) not in strange)
        prepared = replace(prepared, pictures=tuple(known))


def _session(prepared: Prepared, specialist: Specialist, route: RouteSettings, patient_id: str) -> Session:
    identity, examines = specialist.identity, specialist.examines
    if not prepared.pictures:
        return Session(identity, examines, prepared.exclusions)
    try:
        consulted = consult(specialist, prepared.pictures, patient_id)
        cases = recall(specialist, consulted.looks, k=route.similar_cases, patient_id=patient_id)
    except PermanentError as error:
        broken = Exclusion(identity.name, str(error), failed=True)
        return Session(identity, examines, (*prepared.exclusions, broken))
    return Session(
        identity,
        examines,
        (*prepared.exclusions, *consulted.strange),
        read=tuple(picture.sop_instance_uid for picture, _ in consulted.looks),
        opinions=consulted.opinions,
        cases=cases,
        viewing=Viewing(specialist, consulted.looks, consulted.opinions) if consulted.looks else None,
        reading=f"{examines}: {prepared.how}; {consulted.how}." if prepared.how else "",
        familiarity=consulted.familiarity,
    )


def outlining(
    files: Sequence[StoredFile], segmenter: Segmenter, origin: Origin, decoder: Decoder = IN_PROCESS
) -> Session:
    """The session of one who outlines structures in volumes instead of looking at pictures."""
    prepared = prepare_volumes(files, segmenter.volume_contract, decoder)
    read, measurements, made, exclusions = outline(segmenter, prepared.volumes, files, origin)
    left = (*prepared.exclusions, *exclusions)
    return Session(segmenter.identity, segmenter.examines, left, read, made=made, measurements=measurements)
