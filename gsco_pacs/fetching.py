"""What the node does with archives: it asks what they hold."""

from gsco_pacs.domain.archive import Criteria
from gsco_pacs.ports import Archive


def count_instances(archive: Archive, study_instance_uid: str) -> int:
    """How many objects the archive holds of a study; 0 if it does not know it.

    Where it does not count (the attribute is optional in C-FIND and QIDO-RS), its objects are listed and counted.
    Errors as in ports.Archive.
    """
    found = archive.find_studies(Criteria(study_instance_uid=study_instance_uid))
    if not found:
        return 0
    if found[0].instances is not None:
        return found[0].instances
    return len(archive.list_instances(study_instance_uid, archive.list_series(study_instance_uid)))
