"""Certificate authorities and certificates for tests on loopback, made by OpenSSL's command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from gsco_pacs.testing.private_process import program


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    private_key: Path


class Authority:
    """An authority that lives in ``folder`` and signs what it is asked to."""

    def __init__(self, folder: Path, name: str = "Test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        own = _make(folder, "ca", [f"/CN={name}"], "basicConstraints=critical,CA:TRUE")
        self.certificate = own.certificate
        self._key = own.private_key

    def issue(self, name: str, alternative: str = "IP:127.0.0.1,DNS:localhost") -> Certificate:
        """A certificate of the common name ``name``, valid for a day."""
        signed = ["-CA", str(self.certificate), "-CAkey", str(self._key)]
        extensions = ("basicConstraints=critical,CA:FALSE", f"subjectAltName={alternative}")
        return _make(self._folder, name, [f"/CN={name}", *signed], *extensions)


def _make(folder: Path, file: str, subject: list[str], *extensions: str) -> Certificate:
    made = Certificate(folder / f"{file}.pem", folder / f"{file}.key")
    (folder / "openssl.cnf").write_text("[req]\ndistinguished_name=dn\n[dn]\n")
    command = [
        program("openssl", "openssl"),
        "req",
        "-x509",
        "-config",
        str(folder / "openssl.cnf"),
        "-nodes",
    ]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "1", "-subj", *subject]
    command += ["-keyout", str(made.private_key), "-out", str(made.certificate)]
    for extension in extensions:
        command += ["-addext", extension]
    subprocess.run(command, check=True, capture_output=True)
    return made
