"""What both reports of a result are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from pydicom import Dataset

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.findings import Consultation, Draft, Exclusion, ModelIdentity, Predecessor, Provenance
from gsco_pacs.domain.study import Instance, Study
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.sr.equipment import Maker
from gsco_pacs.sr.frames import image_name
from gsco_pacs.sr.identity import result_key


@dataclass(frozen=True, eq=False)
class Material:
    """A finished draft with its study; BadObjectError if ``headers`` are not those of the study's images."""

    study: Study
    headers: Sequence[Dataset]
    consultation: Consultation
    draft: Draft
    provenance: Provenance
    equipment: Equipment
    predecessors: Sequence[Predecessor]
    at: datetime

    def __post_init__(self) -> None:
        held = [instance.sop_instance_uid for instance in self.study.instances]
        if not held or held != [str(header.get("SOPInstanceUID", "")) for header in self.headers]:
            raise BadObjectError(
                "The headers are not those of the study's images, one for each and in their order."
            )

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What the UIDs of the result are made from."""
        return result_key(self.study, self.consultation, self.draft, self.provenance)

    @cached_property
    def failures(self) -> tuple[Exclusion, ...]:
        """What broke; the reports are PARTIAL if anything did."""
        return tuple(exclusion for exclusion in self.consultation.exclusions if exclusion.failed)

    @property
    def compared(self) -> tuple[str, ...]:
        """What is said of the change since an earlier study, if there is one."""
        return self.draft.comparison.sentences if self.draft.comparison else ()

    @cached_property
    def models(self) -> tuple[ModelIdentity, ...]:
        """Every model that took part, each once: the specialists, then the generalist."""
        return tuple(dict.fromkeys((*self.consultation.specialists, self.draft.generalist)))

    @cached_property
    def maker(self) -> Maker:
        """The node and the models that the reports are signed with."""
        return Maker(self.equipment, self.provenance.node_version, self.models, self.at)

    @cached_property
    def images(self) -> dict[str, tuple[Instance, Dataset]]:
        """SOP Instance UID -> the study's instance and its header."""
        pairs = zip(self.study.instances, self.headers, strict=True)
        return {instance.sop_instance_uid: (instance, header) for instance, header in pairs}

    def image(self, sop_instance_uid: str) -> tuple[Instance, Dataset]:
        """One image of the study; BadObjectError for any other, so that no report points outside its study."""
        if sop_instance_uid not in self.images:
            raise BadObjectError("The result refers to an image that is not in its study.")
        return self.images[sop_instance_uid]

    def image_name(self, sop_instance_uid: str, frame: int | None = None) -> str:
        """What a person calls an image of the study."""
        return image_name(self.image(sop_instance_uid)[1], frame)

    def subject(self, exclusion: Exclusion) -> str:
        """What a person calls that which was left out: an image, a frame of one, or a specialist."""
        known = exclusion.subject in self.images
        return self.image_name(exclusion.subject, exclusion.frame) if known else exclusion.subject
