"""explain: shows where each specialist looked for what it holds present, as captures and, if the route wants, as maps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from gsco_pacs.domain.errors import NotApplicableError, PermanentError
from gsco_pacs.domain.findings import Exclusion, Opinion, Presence, percent
from gsco_pacs.pixels.heat import heat_page, stretched
from gsco_pacs.ports import Explaining, Look, Picture, Specialist
from gsco_pacs.settings.routes import Saliency
from gsco_pacs.sr.capture import capture
from gsco_pacs.sr.evidence import Made, Origin, Part
from gsco_pacs.sr.frames import image_name
from gsco_pacs.sr.parametric_map import parametric_map
from gsco_pacs.sr.wording import NO_PROOF

_BANNER = "AI DRAFT - NOT FOR DIAGNOSIS"
_BLOCK = 100
"""Instance Numbers that each specialist has for itself, so that all captures of a study have different ones."""


@dataclass(frozen=True, eq=False)
class Viewing:
    """One specialist's work on a study: what it saw in which picture, and what it said."""

    specialist: Specialist
    looks: tuple[tuple[Picture, Look], ...]
    opinions: tuple[Opinion, ...]


def explain(
    viewings: Sequence[Viewing], wanted: Saliency, origin: Origin, header_of: Callable[[str], Dataset]
) -> tuple[tuple[Made, ...], tuple[Exclusion, ...]]:
    """A capture, and a map if ``wanted``, of the likeliest findings; and why there is none where there could be one.

    Each is drawn on the picture in which the finding is likeliest. Of several members of one bundle the one draws that
    is surest of the finding; a specialist that is not ``Explaining`` draws none. ``header_of`` reads an image's header by its SOP Instance UID.
    """
    if wanted == "none":
        return (), ()
    made: list[Made] = []
    missing: list[Exclusion] = []
    for place, viewing in enumerate(viewings):
        if not isinstance(viewing.specialist, Explaining):
            continue
        name = viewing.specialist.identity.name
        wished = _to_explain(viewing, viewings)[: viewing.specialist.most_maps]
        for number, opinion in enumerate(wished, start=1 + _BLOCK * place):
            try:
                made += _objects(viewing.specialist, viewing, opinion, number, wanted, origin, header_of)
            except NotApplicableError as error:
                missing.append(Exclusion(name, f"No heat map of {opinion.finding.text}. {error}"))
            except PermanentError as error:
                missing.append(
                    Exclusion(name, f"No heat map of {opinion.finding.text}. {error}", failed=True)
                )
    return tuple(made), tuple(missing)


def _to_explain(viewing: Viewing, viewings: Sequence[Viewing]) -> list[Opinion]:
    rivals = [
        opinion
        for other in viewings
        if other is not viewing and other.specialist.bundle == viewing.specialist.bundle
        for opinion in _held(other)
    ]
    surest = [
        opinion
        for opinion in _held(viewing)
        if not any(r.finding == opinion.finding and r.probability > opinion.probability for r in rivals)
    ]
    return sorted(surest, key=lambda opinion: -opinion.probability)


def _held(viewing: Viewing) -> Iterator[Opinion]:
    """What is held present, and of findings that exclude one another the likeliest; never that all is normal."""
    likeliest = max((opinion.probability for opinion in viewing.opinions), default=0)
    for opinion in viewing.opinions:
        leads = opinion.finding.exclusive and opinion.probability == likeliest
        if not opinion.finding.normal and (leads or opinion.presence is Presence.PRESENT):
            yield opinion


def _objects(
    explaining: Explaining,
    viewing: Viewing,
    opinion: Opinion,
    number: int,
    wanted: Saliency,
    origin: Origin,
    header_of: Callable[[str], Dataset],
) -> Iterator[Made]:
    model, finding = viewing.specialist.identity, opinion.finding
    picture = _shown(viewing, opinion)
    heat = explaining.explain(picture, finding.label)
    source = header_of(picture.sop_instance_uid)
    part = Part(model, (finding.label,), (picture.sop_instance_uid,), number)
    where = image_name(source, picture.frame)
    described = f"Where {model.name} {model.version} looked for {finding.text}"
    title = f"{finding.text[:1].upper()}{finding.text[1:]} {percent(opinion.probability)}"
    lines = (
        f"{model.name} {model.version} read {where}. Colours show what moved the network towards this finding, from "
        f"nothing (0) to the strongest place in this picture (1).",
        NO_PROOF,
    )
    page = heat_page(picture.pixels, heat, _BANNER, title, lines)
    yield capture(
        page, f"{described}: gradient-weighted class activation.", part, origin, source, picture.frame
    )
    if wanted == "capture+map":
        values = stretched(heat, *picture.pixels.shape[:2])
        yield parametric_map(values, described, part, origin, source, picture.frame)


def _shown(viewing: Viewing, opinion: Opinion) -> Picture:
    """The picture (of several frames the frame) that the opinion names."""
    named = (opinion.sop_instance_uid, opinion.frame)
    return next(picture for picture, _ in viewing.looks if (picture.sop_instance_uid, picture.frame) == named)
