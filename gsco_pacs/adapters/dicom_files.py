"""A DICOM file that came over HTTP becomes what comes in over an association, under the same rules."""

from gsco_pacs.adapters.transfer_syntaxes import TRANSFER_SYNTAXES, storage_sop_classes
from gsco_pacs.domain.errors import SopClassRefusedError, TransferSyntaxRefusedError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.part10 import Part10
from gsco_pacs.domain.study import Peer

_TAKEN = frozenset(storage_sop_classes())


def incoming(file: Part10, peer: Peer) -> Incoming:
    """The object in ``file``; an error if the receiver would have refused it when the association was negotiated."""
    if file.sop_class_uid not in _TAKEN:
        raise SopClassRefusedError
    if file.transfer_syntax_uid not in TRANSFER_SYNTAXES:
        raise TransferSyntaxRefusedError
    return Incoming(*file, peer)
