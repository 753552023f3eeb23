"""The words of a report for what an image can show, and where in a report they stand."""

from dataclasses import dataclass
from enum import IntEnum


class Section(IntEnum):
    """The order in which a radiologist reports."""

    LUNGS = 0
    PLEURA = 1
    HEART = 2
    OTHER = 3


@dataclass(frozen=True)
class Concept:
    """One thing that a report can state, with its synonyms in lower case."""

    section: Section
    synonyms: tuple[str, ...]
    denials: tuple[str, ...] = ()
    """Phrases that say by themselves that it is absent."""
    negated_first: bool = False
    """Whether its absence is worth a sentence even if nobody asked: it would change what happens next."""


_L, _P, _H, _O = Section.LUNGS, Section.PLEURA, Section.HEART, Section.OTHER

CONCEPTS = (
    Concept(
        _P,
        ("pneumothorax", "pneumothoraces", "collapsed lung", "pleural air"),
        negated_first=True,
    ),
    Concept(
        _P,
        ("pleural effusion", "effusion", "pleural fluid",
            "pleural fluid collection", "hydrothorax", "costophrenic angle blunting"),
        ("costophrenic angles are sharp", "costophrenic angles are clear"),
        negated_first=True,
    ),
    Concept(
        _L,
        ("consolidation", "airspace consolidation", "pulmonary consolidation", "lung consolidation"),
        negated_first=True,
    ),
    Concept(_L, ("atelectasis", "atelectases", "atelectatic change", "volume loss", "subsegmental collapse")),
    Concept(
        _H,
        ("cardiomegaly", "enlarged heart", "cardiac enlargement", "heart is enlarged",
         "enlarged cardiac silhouette", "cardiac silhouette is enlarged", "enlargement of the heart"),
        ("heart size is normal", "normal heart size", "heart is normal in size", "heart is of normal size",
         "heart is not enlarged", "cardiac silhouette is not enlarged", "cardiac silhouette is normal"),
    ),
    Concept(_L, ("infiltration", "infiltrate", "pulmonary infiltrate", "lung infiltrate", "pulmonary infiltration")),
    Concept(_L, ("mass", "masses", "lung mass", "lung masses", "pulmonary mass", "pulmonary masses")),
    Concept(_L, ("nodule", "lung nodule", "pulmonary nodule", "nodular lesion")),
    Concept(_L, ("pneumonia", "pneumonic change", "lung infection")),
    Concept(_L, ("bacterial pneumonia", "bacterial lung infection")),
    Concept(_L, ("viral pneumonia", "viral lung infection")),
    Concept(_L, ("covid-19 pneumonia", "covid-19", "covid")),
    Concept(
        _L,
        ("edema", "oedema", "pulmonary edema", "pulmonary oedema", "lung edema", "lung oedema"),
        negated_first=True,
    ),
    Concept(_L, ("emphysema", "pulmonary emphysema", "emphysematous change")),
    Concept(_L, ("fibrosis", "pulmonary fibrosis", "lung fibrosis", "fibrotic change")),
    Concept(_P, ("pleural thickening", "thickened pleura", "thickening of the pleura")),
    Concept(_O, ("hernia", "hiatal hernia", "hiatus hernia", "diaphragmatic hernia")),
    Concept(_O, ("fracture", "broken rib", "rib fracture")),
    Concept(_L, ("granuloma", "calcified granuloma", "granulomata")),
    Concept(_L, ("opacity", "opacities", "pulmonary opacity", "pulmonary opacities", "lung opacity", "lung opacities", "airspace disease",
                 "airspace opacity", "airspace opacities", "ground-glass opacity", "ground-glass opacities")),
    Concept(_L, ("tuberculosis", "cavity", "cavities", "cavitation")),
    Concept(_L, ("bronchiectasis", "interstitial lung disease", "hyperinflation", "lung disease")),
    Concept(_L, ("lung cancer", "lung carcinoma", "bronchial carcinoma")),
    Concept(_O, ("cancer", "carcinoma", "malignancy", "malignancies", "metastasis", "metastases", "tumor",
                 "tumour", "lesion", "neoplasm")),
    Concept(_O, ("malignant lesion", "malignant mass", "malignant tumor", "malignant tumour", "malignant nodule")),
    Concept(_O, ("benign lesion", "benign mass", "benign tumor", "benign tumour", "benign nodule")),
    Concept(_O, ("lymphadenopathy", "enlarged lymph node", "hilar enlargement")),
    Concept(_H, ("mediastinal widening", "widened mediastinum", "mediastinal shift", "mediastinal mass")),
    Concept(_H, ("pericardial effusion", "heart failure", "vascular congestion", "aneurysm", "aortic dissection")),
    Concept(_P, ("hydropneumothorax", "hemothorax", "haemothorax", "empyema")),
    Concept(_O, ("pneumoperitoneum", "free air", "subcutaneous emphysema", "pulmonary embolism")),
    Concept(_O, ("pacemaker", "catheter", "endotracheal tube", "chest tube", "central line", "surgical clip")),
    Concept(_O, ("scoliosis", "osteophyte", "joint space narrowing", "osteopenia", "dislocation")),
    Concept(_O, ("osteoarthritis", "knee osteoarthritis", "arthrosis", "gonarthrosis", "degenerative change")),
    *(
        Concept(_O, (f"{words} osteoarthritis (grade {grade})", f"{words} osteoarthritis", f"{words} knee osteoarthritis",
                     f"grade {grade} osteoarthritis", f"kellgren-lawrence grade {grade}"))
        for grade, words in enumerate(("doubtful", "mild", "moderate", "severe"), start=1)
    ),
    Concept(_O, ("joint effusion", "knee effusion", "joint fluid")),
    Concept(_O, ("calcification", "calcified lesion", "cyst", "abscess", "abscesses")),
    Concept(_O, ("hemorrhage", "haemorrhage", "bleeding", "infarct", "infarction", "stroke", "ischemia")),
    Concept(_O, ("hydrocephalus", "midline shift", "mass effect", "brain edema", "brain oedema")),
    Concept(_O, ("glioma", "glial tumor", "glial tumour", "glioblastoma")),
    Concept(_O, ("meningioma", "meningeal tumor", "meningeal tumour")),
    Concept(_O, ("pituitary tumor", "pituitary tumour", "pituitary adenoma", "pituitary")),
)  # fmt: skip
"""Every concept whose words are known; those that no specialist judges are known so that they can be refused."""


def concept_of(words: str) -> Concept | None:
    """The concept that ``words`` (a label or a report's words) name, or None if the table does not hold it."""
    plain = words.lower().replace("_", " ").strip()
    return next((concept for concept in CONCEPTS if plain in concept.synonyms), None)


def section_of(*names: str) -> Section:
    """Where a finding with these names stands in a report; after the rest if none is known."""
    concepts = (concept_of(name) for name in names)
    return next((concept.section for concept in concepts if concept), Section.OTHER)
