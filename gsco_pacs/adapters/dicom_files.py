"""A DICOM file that came over HTTP becomes what comes in over an association, under the same rules."""

from pydicom.uid import ImplicitVRLittleEndian

from gsco_pacs.adapters.transfer_syntaxes import TRANSFER_SYNTAXES, storage_sop_classes
from gsco_pacs.domain.encoded import top_level_elements
from gsco_pacs.domain.errors import MismatchError, SopClassRefusedError, TransferSyntaxRefusedError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.part10 import Part10
from gsco_pacs.domain.study import Peer

_STUDY = 0x0020000D
_TAKEN = frozenset(storage_sop_classes())


def incoming(file: Part10, peer: Peer, study_instance_uid: str = "") -> Incoming:
    """The object in ``file``; an error if the receiver would have refused it when the association was negotiated.

    MismatchError if it is not of the study that is named.
    """
    if file.sop_class_uid not in _TAKEN:
        raise SopClassRefusedError
    if file.transfer_syntax_uid not in TRANSFER_SYNTAXES:
        raise TransferSyntaxRefusedError
    if study_instance_uid and _study_of(file) != study_instance_uid:
        raise MismatchError("The object is not of the study that the request names.")
    return Incoming(*file, peer)


def _study_of(file: Part10) -> str:
    explicit = file.transfer_syntax_uid != ImplicitVRLittleEndian
    elements = top_level_elements(file.data_set, explicit=explicit, wanted={_STUDY})
    return elements.get(_STUDY, ("", b""))[1].decode("latin-1").rstrip("\0 ")
