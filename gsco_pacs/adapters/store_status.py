"""What became of an object, as the status of a C-STORE (PS3.4 table B.2-1) or the failure reason of STOW-RS (PS3.18 table I.1-2)."""

from gsco_pacs.domain.errors import (
    BadObjectError,
    BadUidError,
    GscoError,
    MismatchError,
    SopClassRefusedError,
    TransferSyntaxRefusedError,
    TransientError,
)

STATUSES: tuple[tuple[type[GscoError], int, str], ...] = (
    (TransientError, 0xA700, "Out of resources, please send again"),
    (MismatchError, 0xA900, "Command and data set name different UIDs"),
    (BadUidError, 0x0117, "A UID is not valid (PS3.5 section 9.1)"),
    (SopClassRefusedError, 0x0122, "The SOP class is not supported"),
    (TransferSyntaxRefusedError, 0xC122, "The transfer syntax is not supported"),
    (BadObjectError, 0xC000, "The data set cannot be understood"),
)
_UNEXPECTED = (0xA700, "Internal error, please send again")


def status_of(error: Exception) -> tuple[int, str]:
    """The status that answers ``error``, and an Error Comment without patient data."""
    return next(((code, text) for kind, code, text in STATUSES if isinstance(error, kind)), _UNEXPECTED)
