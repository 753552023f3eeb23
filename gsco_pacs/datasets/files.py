"""Reading what a data set is distributed in; whatever is missing or malformed is a ConfigError that names the file."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring

from gsco_pacs.datasets.cases import Split
from gsco_pacs.domain.errors import ConfigError

Row = dict[str, str]


def expected(*candidates: Path) -> Path:
    """The first of these files or folders that exists."""
    for path in candidates:
        if path.exists():
            return path
    raise ConfigError(f"{' or '.join(map(str, candidates))} is missing; the data set is expected there.")


def rows_of(file: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV file, packed with gzip or not, that has at least these columns."""
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(expected(file), "rt", newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(f"{file} has no column {', '.join(missing)}.")
            return list(reader)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise ConfigError(f"{file} is not a readable CSV file ({type(error).__name__}).") from error


def lines_of(file: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    try:
        text = expected(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not a readable text file ({type(error).__name__}).") from error
    return [line for line in map(str.strip, text.splitlines()) if line]


def json_of(file: Path) -> Any:
    """What a JSON file holds."""
    try:
        return json.loads(expected(file).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} is not a readable JSON file ({type(error).__name__}).") from error


def xml_of(file: Path) -> Element:
    """The root of an XML file; one with a document type is refused, because that may define entities that grow."""
    try:
        text = expected(file).read_text(encoding="utf-8-sig")
        if "<!DOCTYPE" in text:
            raise ConfigError(f"{file} has a document type, which no report needs.")
        return fromstring(text)  # noqa: S314 - entities of its own cannot be defined without a document type
    except (OSError, UnicodeDecodeError, ParseError) as error:
        raise ConfigError(f"{file} is not a readable XML file ({type(error).__name__}).") from error


def entries(file: Path, items: Any, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The items of a list of objects that have at least these keys."""
    if not isinstance(items, list):
        raise ConfigError(f"{file} does not hold a list.")
    for item in items:
        missing = [key for key in keys if not isinstance(item, dict) or key not in item]
        if missing:
            raise ConfigError(f"{file} has an entry without {', '.join(missing)}.")
        yield item


def drawn_split(group: str, val: int = 10, test: int = 20) -> Split:
    """A split of ours where the data set has none: by a checksum of the patient, so it is the same everywhere."""
    place = zlib.crc32(group.encode()) % 100
    return "test" if place < test else "val" if place < test + val else "train"


def drawn_from_train(split: Split, group: str) -> bool:
    """Whether a case of the official training split belongs to ``split``, if a tenth of it is val."""
    return drawn_split(group, test=0) == split
