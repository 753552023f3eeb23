"""The coded concepts that the two documents themselves need; what is found is coded in the bundles' metadata.

Sources: PS3.16 annexes A to D (templates, context groups, DCM), LOINC for titles and headings, UCUM for units.
"""

from highdicom.sr import CodedConcept

from gsco_pacs.domain.errors import InvalidReportError
from gsco_pacs.domain.findings import Code, Presence

LOCAL_SCHEME = "99GSCO"
"""Coding scheme of the few concepts that no public scheme has; PS3.16 section 8.2 keeps 99... for local use."""

REPORT_TITLE = Code("18748-4", "LN", "Diagnostic Imaging Report")
MEASUREMENT_REPORT_TITLE = Code("126000", "DCM", "Imaging Measurement Report")

PROCEDURE_DESCRIPTIONS = Code("55111-9", "LN", "Current Procedure Descriptions")
FINDINGS = Code("59776-5", "LN", "Findings")
PREVIOUS_FINDINGS = Code("18834-2", "LN", "Previous Findings")
IMPRESSIONS = Code("19005-8", "LN", "Impressions")
BASIS = Code("basis", LOCAL_SCHEME, "Basis of this draft")

PROCEDURE_DESCRIPTION = Code("121065", "DCM", "Procedure Description")
FINDING = Code("121071", "DCM", "Finding")
PREVIOUS_FINDING = Code("121069", "DCM", "Previous Finding")
IMPRESSION = Code("121073", "DCM", "Impression")
OPINION = Code("opinion", LOCAL_SCHEME, "Specialist's opinion")
SIMILAR_CASES = Code("similar-cases", LOCAL_SCHEME, "Similar cases")
DISAGREEMENT = Code("disagreement", LOCAL_SCHEME, "Disagreement")
OBJECTION = Code("objection", LOCAL_SCHEME, "Sentence changed or dropped")
SEGMENTATION = Code("segmentation", LOCAL_SCHEME, "Segmentation")
IMAGES_READ = Code("images-read", LOCAL_SCHEME, "Images read")
NOT_READ = Code("not-read", LOCAL_SCHEME, "Not read")
PROVENANCE = Code("provenance", LOCAL_SCHEME, "Provenance")
QUESTION_AND_REPLY = Code("question-and-reply", LOCAL_SCHEME, "Question and reply")
QUESTION = Code("question", LOCAL_SCHEME, "Question of a person")
REPLY = Code("reply", LOCAL_SCHEME, "Reply of a model")

OF_INTEREST = Code("113000", "DCM", "Of Interest")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")

PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
LANGUAGE = Code("en", "RFC5646", "English")
DEVICE = Code("121007", "DCM", "Device")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
REPLACED_REPORT = Code("121360", "DCM", "Replaced report")

IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
CERTAINTY_OF_FINDING = Code("111012", "DCM", "Certainty of Finding")
PERCENT = Code("%", "UCUM", "Percent")
VOLUME = Code("118565006", "SCT", "Volume")
CUBIC_MILLIMETRE = Code("mm3", "UCUM", "cubic millimeter")
PIXELS = Code("{pixels}", "UCUM", "Pixels")
SEVERITY = Code("246112005", "SCT", "Severity")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
VISUAL_EXPLANATION = Code("130401", "DCM", "Visual explanation")
CLASS_ACTIVATION = Code("130402", "DCM", "Class activation")
NO_UNITS = Code("1", "UCUM", "no units")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
SOURCE = Code("260753009", "SCT", "Source")
MODALITY = Code("121139", "DCM", "Modality")
ROWS = Code("110910", "DCM", "Pixel Data Rows")
COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
NARRATIVE_SUMMARY = Code("111412", "DCM", "Narrative Summary")

OUTCOME = Code("111017", "DCM", "CAD Processing and Findings Summary")
ALL_WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")
ALL_WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")
SOME_WITHOUT_FINDINGS = Code("111243", "DCM", "Not all algorithms succeeded; without findings")
SOME_WITH_FINDINGS = Code("111244", "DCM", "Not all algorithms succeeded; with findings")
NONE_SUCCEEDED = Code("111245", "DCM", "No algorithms succeeded; without findings")

PRESENCE = {
    Presence.PRESENT: Code("52101004", "SCT", "Present"),
    Presence.ABSENT: Code("272519000", "SCT", "Absent"),
    Presence.UNCERTAIN: Code("373068000", "SCT", "Undetermined"),
}


def concept(code: Code) -> CodedConcept:
    """``code`` as highdicom wants it; InvalidReportError if the standard has no room for it (PS3.3 section 8)."""
    if not (code.value and code.scheme and code.meaning) or len(code.scheme) > 16:
        raise InvalidReportError(f"The code {code} is incomplete or its scheme is longer than 16 characters.")
    try:
        return CodedConcept(code.value, code.scheme, code.meaning)
    except ValueError as error:
        raise InvalidReportError(f"The code {code} does not fit a code sequence: {error}") from error
