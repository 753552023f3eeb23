"""A study, a consultation and a draft to compose reports from; each test changes what it is about."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset

from gsco_pacs.domain.findings import (
    Answer,
    Code,
    Consultation,
    Draft,
    Evidence,
    Exclusion,
    Finding,
    Mode,
    ModelIdentity,
    ObjectKind,
    Opinion,
    Predecessor,
    Provenance,
    Report,
    SimilarCase,
)
from gsco_pacs.domain.study import Instance, Study
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.steps.brief import brief
from gsco_pacs.steps.compose import compose
from gsco_pacs.steps.draft import draft
from tests.briefing_material import ScriptedGeneralist

AT = datetime(2026, 3, 4, 15, 16, 17)  # noqa: DTZ001 - reports are dated in local time
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SC = "1.2.840.10008.5.1.4.1.1.7"
PM = "1.2.840.10008.5.1.4.1.1.30"

EFFUSION = Finding(
    "Effusion",
    "pleural effusion",
    Code("60046008", "SCT", "Pleural effusion"),
    Code("3120008", "SCT", "Pleural structure"),
)
CARDIOMEGALY = Finding("Cardiomegaly", "cardiomegaly", Code("8186001", "SCT", "Cardiomegaly"))
EDEMA = Finding("Edema", "pulmonary edema", Code("19242006", "SCT", "Pulmonary edema"))
NORMAL = Finding("No Finding", "no finding", Code("111286", "DCM", "No abnormality"), normal=True)

CXR = ModelIdentity("cxr_findings", "1.0.0", "ab" * 32, ("calibration=Platt",))
GENERALIST = ModelIdentity("radiologist_lm", "2.1", "cd" * 32)


def header(series: int = 1, image: int = 1, **attributes: Any) -> Dataset:
    """The header of a chest radiograph; an attribute that is given as None is missing."""
    dataset = Dataset()
    values = {
        "SOPClassUID": DX,
        "SOPInstanceUID": f"{STUDY_UID}.{series}.{image}",
        "StudyInstanceUID": STUDY_UID,
        "SeriesInstanceUID": f"{STUDY_UID}.{series}",
        "PatientName": "Example^Chest",
        "PatientID": "EX-1",
        "IssuerOfPatientID": "EXAMPLE",
        "PatientBirthDate": "19600102",
        "PatientSex": "F",
        "StudyDate": "20260304",
        "StudyTime": "101112",
        "StudyID": "S1",
        "AccessionNumber": "ACC1",
        "ReferringPhysicianName": "Referrer^Example",
        "StudyDescription": "Chest two views",
        "Modality": "DX",
        "SeriesNumber": series,
        "InstanceNumber": image,
        "Rows": 2048,
        "Columns": 1536,
    }
    for keyword, value in {**values, **attributes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


@dataclass(frozen=True)
class Parts:
    """The arguments of ``compose`` but for the study, which is made from the headers."""

    headers: Sequence[Dataset]
    consultation: Consultation
    draft: Draft
    provenance: Provenance
    predecessors: Sequence[Predecessor] = ()
    at: datetime = AT
    revision: int = 1
    incomplete: str = ""

    def composed(self) -> tuple[Report, Report]:
        """The two SRs."""
        narrative, coded, *_ = self.all_composed()
        return narrative, coded

    def key_objects(self) -> tuple[Report, ...]:
        return self.all_composed()[2:]

    def all_composed(self) -> tuple[Report, ...]:
        return compose(
            replace(study_of(self.headers, self.revision), incomplete=self.incomplete),
            deepcopy(list(self.headers)),
            consultation=self.consultation,
            draft=self.draft,
            provenance=self.provenance,
            equipment=Equipment(),
            predecessors=self.predecessors,
            at=self.at,
        )


def study_of(headers: Sequence[Dataset], revision: int) -> Study:
    instances = tuple(
        Instance(
            study_instance_uid=str(ds.StudyInstanceUID),
            series_instance_uid=str(ds.SeriesInstanceUID),
            sop_instance_uid=str(ds.SOPInstanceUID),
            sop_class_uid=str(ds.SOPClassUID),
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            sha256="11" * 32,
            size=1,
            path="11/11",
        )
        for ds in headers
    )
    return Study(STUDY_UID, revision, instances)


def parts(*headers: Dataset, **changes: Any) -> Parts:
    """A chest study of two images, of which the lateral one was not read, with one finding that is present."""
    held = headers or (header(1, 1), header(1, 2))
    uids = [str(ds.SOPInstanceUID) for ds in held]
    first = uids[0]
    consultation = Consultation(
        specialists=(CXR,),
        read=(first,),
        opinions=(
            Opinion("cxr_findings", EFFUSION, 0.832, 0.10, 0.41, first),
            Opinion("cxr_findings", CARDIOMEGALY, 0.30, 0.12, 0.55, first),
            Opinion("cxr_findings", EDEMA, 0.004, 0.08, 0.33, first),
            Opinion("cxr_findings", NORMAL, 0.05, 0.20, 0.60, first),
        ),
        cases=(
            SimilarCase("cxr_findings", "c-7f3a", ("Effusion", "Cardiomegaly"), 0.91, first),
            SimilarCase("cxr_findings", "c-0b11", (), 0.87, first),
        ),
        exclusions=tuple(Exclusion(uid, "the view is lateral") for uid in uids[1:]),
        region="chest X-ray",
        evidence=(
            Evidence(
                ObjectKind.CAPTURE, SC, "2.25.90", "2.25.91", 1, "cxr_findings", ("Effusion",), (first,)
            ),
            Evidence(
                ObjectKind.PARAMETRIC_MAP,
                PM,
                "2.25.92",
                "2.25.93",
                1,
                "cxr_findings",
                ("Effusion",),
                (first,),
            ),
        ),
    )
    made = drafted(
        consultation, "There is a pleural effusion. There is no cardiomegaly. There is a rib fracture."
    )
    provenance = Provenance(
        node_version="0.1.0",
        config_sha256="ef" * 32,
        route="chest-radiograph",
        mode=Mode.MOED_RAD,
        template="briefed",
        template_sha256="12" * 32,
        inputs=tuple((uid, "11" * 32) for uid in uids),
    )
    return replace(Parts(held, consultation, made, provenance), **changes)


def drafted(consultation: Consultation, answer: str) -> Draft:
    """What the node drafts if the generalist answers so."""
    findings = tuple(opinion.finding for opinion in consultation.opinions)
    briefing = brief(consultation, findings, Mode.MOED_RAD, "briefed")
    said = Answer(answer, GENERALIST, image_seen=True)
    return replace(draft(briefing, consultation, ScriptedGeneralist(said), ()), generalist=GENERALIST)


def dcmtk(program: str, report: Report, folder: Path, *options: str) -> str:
    """What DCMTK's program says about the report; pynetdicom's scripts of the same names are passed over."""
    own = str(Path(sys.prefix) / "bin")
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if str(Path(p).resolve()) != own)
    found = shutil.which(program, path=path)
    assert found, f"{program} is missing: install dcmtk"
    file = folder / f"{report.kind}.dcm"
    file.write_bytes(report.content)
    ended = subprocess.run([found, *options, str(file)], capture_output=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode("utf-8", "replace")
