"""Every failure has one of three classes: it may pass by itself, a person is needed, or nothing is wrong.

    GscoError
    ├── TransientError        may pass by itself: try again later
    │   ├── OutOfResourcesError
    │   ├── PeerUnavailableError
    │   └── PeerBusyError
    ├── PermanentError        a person is needed
    │   ├── ConfigError
    │   ├── BrokenBundleError
    │   ├── BadObjectError
    │   │   ├── BadUidError
    │   │   ├── DecoderEndedError
    │   │   ├── MismatchError
    │   │   ├── OversizedError
    │   │   ├── SopClassRefusedError
    │   │   └── TransferSyntaxRefusedError
    │   ├── RejectedByPeerError
    │   ├── InvalidReportError
    │   ├── IllegalMoveError
    │   └── LostLeaseError
    └── NotApplicableError    nothing is wrong: there is nothing for us to do here

The docstring of a class is its default message. Messages carry no patient data: they are logged and stored.
"""


def cause(error: Exception) -> str:
    """The first line of what a library's ``error`` says, or its kind if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


class GscoError(Exception):
    """Something went wrong in the node."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class TransientError(GscoError):
    """It did not work this time; trying again later may help."""


class OutOfResourcesError(TransientError):
    """Disk, memory or database can take no more at present."""


class PeerUnavailableError(TransientError):
    """The peer could not be reached or hung up."""


class PeerBusyError(TransientError):
    """The peer is out of resources and asks to be tried again."""


class PermanentError(GscoError):
    """It will fail again in the same way until a person changes something."""


class ConfigError(PermanentError):
    """The configuration is not usable."""


class BrokenBundleError(PermanentError):
    """A model bundle is incomplete, changed or not loadable."""


class BadObjectError(PermanentError):
    """The DICOM object cannot be understood."""


class BadUidError(BadObjectError):
    """A UID is not made as PS3.5 section 9.1 demands."""


class DecoderEndedError(BadObjectError):
    """The decoder crashed on the image, or needed more time or memory than it may."""


class MismatchError(BadObjectError):
    """The C-STORE command names another SOP Class or Instance than the data set."""


class OversizedError(BadObjectError):
    """The object is longer than the configuration allows."""


class SopClassRefusedError(BadObjectError):
    """The node takes no objects of this SOP class."""


class TransferSyntaxRefusedError(BadObjectError):
    """The node takes no objects in this transfer syntax."""


class RejectedByPeerError(PermanentError):
    """The peer refused the object for good."""


class InvalidReportError(PermanentError):
    """A report did not pass validation and must not leave the node."""


class IllegalMoveError(PermanentError):
    """The job's state does not allow this event."""


class LostLeaseError(PermanentError):
    """Another worker owns the job by now; this worker's result is dropped."""


class NotApplicableError(GscoError):
    """No model of the node fits this input."""
