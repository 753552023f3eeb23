"""What a modality or an archive sends to announce images."""

from collections.abc import Iterable, Sequence

from pydicom import Dataset


def created_step(study_instance_uid: str) -> Dataset:
    """The attribute list of an MPPS N-CREATE for a scheduled step (PS3.4 table F.7.2-1)."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = study_instance_uid
    scheduled.ReferencedStudySequence, scheduled.AccessionNumber = [], "A1"
    ds = Dataset()
    ds.ScheduledStepAttributesSequence = [scheduled]
    ds.PerformedProcedureStepID, ds.PerformedStationAETitle, ds.Modality = "1", "CT1", "CT"
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = "20260105", "101500"
    ds.PerformedProcedureStepStatus = "IN PROGRESS"
    ds.PerformedSeriesSequence = []
    return ds


def finished_step(images: Iterable[tuple[str, str]], status: str = "COMPLETED") -> Dataset:
    """The modification list of an MPPS N-SET with (SOP Class UID, SOP Instance UID) of what was made."""
    series = Dataset()
    series.SeriesInstanceUID, series.ProtocolName = "1.2.3.1", "CHEST"
    series.ReferencedImageSequence = [reference(*image) for image in images]
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    ds = Dataset()
    ds.PerformedProcedureStepStatus = status
    ds.PerformedProcedureStepEndDate, ds.PerformedProcedureStepEndTime = "20260105", "102000"
    ds.PerformedSeriesSequence = [series]
    return ds


def availability(study_instance_uid: str, images: Sequence[tuple[str, str, str]]) -> Dataset:
    """The attribute list of an Instance Availability Notification (PS3.4 annex R) with the availability of each image."""
    series = Dataset()
    series.SeriesInstanceUID = "1.2.3.1"
    series.ReferencedSOPSequence = [reference(*image[:2]) for image in images]
    for item, (_, _, available) in zip(series.ReferencedSOPSequence, images, strict=True):
        item.InstanceAvailability, item.RetrieveAETitle = available, "ARCHIVE"
    ds = Dataset()
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.StudyInstanceUID = study_instance_uid
    ds.ReferencedSeriesSequence = [series]
    return ds


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """An item that names one instance."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item
