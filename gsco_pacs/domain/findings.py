"""What is said about a study: opinions of specialists, similar cases, the briefing, the draft and its reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gsco_pacs.domain.familiarity import Familiarity
from gsco_pacs.domain.priors import Comparison


class Presence(StrEnum):
    """What an opinion or a statement says about a finding."""

    PRESENT = "present"
    UNCERTAIN = "uncertain"
    ABSENT = "absent"


def percent(probability: float) -> str:
    """A probability in words: "83 %"; never "100 %" or "0 %", which no model knows."""
    if probability > 0.99:
        return "above 99 %"
    return f"{100 * probability:.0f} %" if probability >= 0.01 else "below 1 %"


class Mode(StrEnum):
    """Who works together on a study (GSCo: MoED = opinions in the prompt, RAD = similar cases in the prompt)."""

    SPECIALISTS = "specialists"
    GENERALIST = "generalist"
    MOED = "moed"
    RAD = "rad"
    MOED_RAD = "moed+rad"

    @property
    def opinions_shown(self) -> bool:
        """Whether the generalist is told the specialists' opinions."""
        return self in (Mode.MOED, Mode.MOED_RAD)

    @property
    def cases_shown(self) -> bool:
        """Whether the generalist is told the similar cases."""
        return self in (Mode.RAD, Mode.MOED_RAD)


@dataclass(frozen=True)
class Code:
    """A coded concept: value, coding scheme designator and meaning (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Finding:
    """What a specialist may find: the label of its data set, the words of a report, its code and its site."""

    label: str
    text: str
    code: Code
    site: Code | None = None
    normal: bool = False
    """True for the label that says that nothing was found ("No Finding")."""
    exclusive: bool = False
    """True if exactly one finding of its specialist applies (the task is multi-class)."""
    severity: Code | None = None
    """How severe it is, where labels grade one finding."""


@dataclass(frozen=True)
class Segment:
    """What a segmenter outlines: its name and codes, how it may be shown, and which volumes are plausible."""

    finding: Finding
    category: Code
    site_modifier: Code | None
    colour: tuple[int, int, int]
    plausible_mm3: tuple[float, float]


@dataclass(frozen=True)
class ModelIdentity:
    """Which model said it: name, version, hash of the weights and the parameters that mattered."""

    name: str
    version: str
    sha256: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opinion:
    """One specialist's calibrated probability for one finding in a study, with the thresholds chosen on validation data."""

    specialist: str
    finding: Finding
    probability: float
    absent_below: float
    present_from: float
    sop_instance_uid: str
    """The image with the highest probability."""
    frame: int = 1
    """Its frame."""

    @property
    def presence(self) -> Presence:
        """Present, absent, or uncertain between the two thresholds."""
        if self.probability >= self.present_from:
            return Presence.PRESENT
        return Presence.ABSENT if self.probability < self.absent_below else Presence.UNCERTAIN


@dataclass(frozen=True)
class SimilarCase:
    """A reference case that lies near an image in a specialist's feature space."""

    specialist: str
    key: str
    """Opaque: never a UID, a file name or a patient's identifier."""
    labels: tuple[str, ...]
    similarity: float
    """Cosine, 1 = identical."""
    sop_instance_uid: str
    """The study's image that the case resembles."""


@dataclass(frozen=True)
class Exclusion:
    """An image that was not read, or a specialist that could not work, and why."""

    subject: str
    """SOP Instance UID, or the specialist's name."""
    reason: str
    failed: bool = False
    """True if something broke (the report is then PARTIAL); False if the input simply did not fit."""
    strange_to: str = ""
    """The bundle that must not assess the image, which is unlike its reference images; empty for any other reason."""
    frame: int | None = None
    """The one frame of the image that this is about."""


class ObjectKind(StrEnum):
    """What a result may consist of, in the order of their Series Numbers: two SRs, evidence, the images that count."""

    NARRATIVE = "narrative"
    CODED = "coded"
    CAPTURE = "capture"
    SEGMENTATION = "segmentation"
    PARAMETRIC_MAP = "parametric_map"
    KEY_OBJECTS = "key_objects"

    @property
    def is_evidence(self) -> bool:
        """Whether the consult stage makes it, and the SRs may point at it."""
        return self not in (ObjectKind.NARRATIVE, ObjectKind.CODED, ObjectKind.KEY_OBJECTS)

    @property
    def words(self) -> str:
        """What a person calls it: "narrative report", "parametric map"."""
        words = self.replace("objects", "object_selection").replace("_", " ")
        return words + (" report" if self in (self.NARRATIVE, self.CODED) else "")


@dataclass(frozen=True)
class Evidence:
    """A reference to an object that the consult stage made: what it is, who made it, and of what."""

    kind: ObjectKind
    sop_class_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    number: int
    """Instance Number in its series."""
    specialist: str
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    """SOP Instance UIDs of the study's images that it was made from."""


@dataclass(frozen=True)
class Referral:
    """Whether the case is referred to the generalist, and why or why not."""

    made: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Measurement:
    """The volume of one segment that a segmenter outlined."""

    specialist: str
    segment: Segment
    volume_mm3: float
    segmentation: str
    """SOP Instance UID of the Segmentation, which is among the evidence."""
    number: int
    """Of the segment in it."""


@dataclass(frozen=True)
class Consultation:
    """Everything that the consult stage found out: who looked, at what, what they said, and what resembles it."""

    specialists: tuple[ModelIdentity, ...]
    read: tuple[str, ...]
    """SOP Instance UIDs of the images that were read."""
    opinions: tuple[Opinion, ...]
    cases: tuple[SimilarCase, ...]
    exclusions: tuple[Exclusion, ...]
    region: str = ""
    """Words of the bundle for what is examined, such as "chest X-ray"."""
    familiarity: tuple[Familiarity, ...] = ()
    """One for each specialist with a case index that assessed something."""
    evidence: tuple[Evidence, ...] = ()
    """The objects that stand beside the SRs, in the order of their making."""
    reading: tuple[str, ...] = ()
    """Where several images fit: what was read of them and how that became one opinion, a sentence each."""
    measurements: tuple[Measurement, ...] = ()

    def shown(self, specialist: str, label: str) -> tuple[Evidence, ...]:
        """The captures and maps of where ``specialist`` looked for the finding ``label``."""
        heat = (ObjectKind.CAPTURE, ObjectKind.PARAMETRIC_MAP)
        return tuple(
            e for e in self.evidence if e.kind in heat and e.specialist == specialist and label in e.labels
        )

    @property
    def unassessed(self) -> tuple[Exclusion, ...]:
        """The images that are strange to a bundle of which no member assessed anything of the study."""
        speakers = {opinion.specialist for opinion in self.opinions}
        bundles = {speaker for name in speakers for speaker in (name, name.rpartition(".")[0])}
        return tuple(e for e in self.exclusions if e.strange_to and e.strange_to not in bundles)


@dataclass(frozen=True)
class Briefing:
    """What the generalist is told: the finished prompt and where it comes from."""

    mode: Mode
    prompt: str
    template: str
    template_sha256: str
    options: tuple[str, ...]
    """The closed list of findings that the answer may name."""
    normal: str = ""
    """The option that says that nothing was found; empty if there is none."""
    constrained: bool = False
    """True for the second try of a diagnosis: the answer is decoded among the options and can be nothing else."""

    @property
    def closed(self) -> bool:
        """Whether the answer must consist of options (a diagnosis) and not of sentences."""
        return self.template.startswith(("gsco", "options"))

    @property
    def single(self) -> bool:
        """Whether it must be exactly one option."""
        return self.template.startswith(("gsco-single", "options-single"))

    @property
    def by_likelihood(self) -> bool:
        """Whether the answer is chosen by the likelihoods of the options where a backend knows them."""
        return self.constrained or self.template.startswith("options")


@dataclass(frozen=True)
class Answer:
    """What the generalist said, word for word."""

    text: str
    model: ModelIdentity
    image_seen: bool
    finished: bool = True
    """False if the answer was cut at its length limit."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Option -> probability, by the model's likelihoods; empty if no option was asked for or the backend cannot say.
    They sum to 1 where exactly one option applies; else each stands for itself."""
    tokens_in: int = 0
    """Of the prompt, those of the pictures included; 0 if the backend does not count."""
    tokens_out: int = 0


@dataclass(frozen=True)
class Aside:
    """What the generalist answered in one mode beside the route's own; no draft is made of it."""

    briefing: Briefing
    answers: tuple[Answer, ...]
    """The first, and the second if the first could not be used."""
    named: tuple[str, ...]
    """Labels that the last answer holds present or possible."""
    failures: int
    """Answers that could not be read, or were not made of the options."""
    seconds: float


@dataclass(frozen=True)
class Statement:
    """One sentence of the draft, what it is about and what it rests on."""

    text: str
    labels: tuple[str, ...]
    presence: Presence
    basis: tuple[str, ...]
    """Such as "cxr_findings 0.83 (present from 0.41)" or "worded by the generalist"."""


@dataclass(frozen=True)
class Objection:
    """A sentence of the generalist that the grounding gate changed or dropped, and why."""

    sentence: str
    reason: str


@dataclass(frozen=True)
class Draft:
    """The draft report in words: findings, impression, disagreements, and what the gate objected to."""

    findings: tuple[Statement, ...]
    impression: tuple[Statement, ...]
    disagreements: tuple[str, ...]
    objections: tuple[Objection, ...]
    generalist: ModelIdentity
    answer: Answer | None
    wording: str
    """"generalist" if its sentences stand, "structured" if the wording was made from the opinions alone."""
    failures: int = 0
    """Answers of the generalist that could not be read, or were not made of the options."""
    referral: Referral | None = None
    """Why the generalist was asked or was not; None in drafts from before there was a gate."""
    comparison: Comparison | None = None
    """With an earlier study of the patient, if the node has read one."""


@dataclass(frozen=True)
class Report:
    """One object of a result, an SR or its evidence, encoded once; the same UID always means the same bytes."""

    kind: ObjectKind
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    content: bytes
    """A whole DICOM Part 10 file."""
    sha256: str


@dataclass(frozen=True)
class Predecessor:
    """The report of an earlier revision that a new one supersedes."""

    kind: ObjectKind
    sop_class_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Receipt:
    """A destination's word that it took a report."""

    destination: str
    sop_instance_uid: str
    status: str
    """DIMSE status such as "0x0000", or the path of a file."""


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from, beside its models."""

    node_version: str
    config_sha256: str
    route: str
    mode: Mode
    template: str
    template_sha256: str
    inputs: tuple[tuple[str, str], ...]
    """(SOP Instance UID, sha256 of the stored file) of every image instance of the study."""
    run: int = 0
    """Counts forced repetitions of the same job, so that each has UIDs of its own."""
