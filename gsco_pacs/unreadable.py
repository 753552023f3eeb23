"""What pydicom and the decoders raise on bytes that the receiver rightly took, since it looks at lengths only."""

import struct

from pydicom.errors import BytesLengthException, InvalidDicomError

UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""Named one by one, since a MemoryError or an interrupt says nothing of the bytes; NotImplementedError (an unknown VR)
and RecursionError are each a RuntimeError."""
