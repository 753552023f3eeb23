"""The parts of a multipart/related message, one by one as they come (RFC 2387, PS3.18 section 8.6.1.2)."""

from collections.abc import Sequence
from email.message import Message

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from gsco_pacs.domain.errors import BadObjectError, OversizedError

DICOM = "application/dicom"


class PartReader:
    """Takes the message in pieces and gives back the parts that are complete; holds no more than one part."""

    def __init__(self, content_type: str, most_bytes: int) -> None:
        """BadObjectError if ``content_type`` is not multipart/related of DICOM files with a boundary."""
        self._most_bytes = most_bytes
        self._part = bytearray()
        self._name, self._value = bytearray(), bytearray()
        self._type = ""
        self._complete: list[bytearray] = []
        self._ended = False
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._last,
            },
        )

    def feed(self, piece: bytes) -> Sequence[bytearray]:
        """The parts that ``piece`` completes.

        BadObjectError if the message is not made as it must be or has a part of another type; OversizedError if a
        part is longer than it may be.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise BadObjectError("The message is not made as multipart/related.") from error
        complete, self._complete = self._complete, []
        return complete

    def end(self) -> None:
        """BadObjectError if the message was cut."""
        if not self._ended:
            raise BadObjectError("The message ends before its last boundary.")

    def _begin(self) -> None:
        self._part, self._type = bytearray(), ""

    def _header(self) -> None:
        if self._name.lower() == b"content-type":
            self._type = bytes(self._value).decode("latin-1")
        self._name.clear()
        self._value.clear()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if len(self._part) + end - start > self._most_bytes:
            raise OversizedError(f"A part is longer than {self._most_bytes} bytes.")
        self._part += memoryview(data)[start:end]

    def _end(self) -> None:
        if _parsed(self._type or DICOM).get_content_type() != DICOM:
            raise BadObjectError("A part is not of the type application/dicom.")
        self._complete.append(self._part)

    def _last(self) -> None:
        self._ended = True


def _boundary(content_type: str) -> str:
    header = _parsed(content_type)
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/related" or not boundary:
        raise BadObjectError(
            'The message is not multipart/related; type="application/dicom" with a boundary.'
        )
    if str(header.get_param("type", DICOM)).lower() != DICOM:
        raise BadObjectError("The message does not hold DICOM files (application/dicom).")
    return boundary


def _parsed(content_type: str) -> Message:
    message = Message()
    message["Content-Type"] = content_type
    return message
