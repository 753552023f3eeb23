"""The peers of a configuration are called once, and each one's trouble is named."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gsco_pacs import cli
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.settings.receiver import Receiver
from gsco_pacs.testing.servers import OrthancServer


def echo(
    folder: Path, *words: str, **peers: dict[str, tuple[str, int]]
) -> tuple[int, str, BaseException | None]:
    """Exit code, output and error of ``gsco-pacs echo`` with these destinations and archives."""

    def settings(group: dict[str, tuple[str, int]]) -> dict[str, Any]:
        common = {"kind": "dimse", "host": "127.0.0.1", "timeout_seconds": 5}
        return {name: common | {"ae_title": title, "port": port} for name, (title, port) in group.items()}

    (folder / "config.yaml").write_text(
        yaml.safe_dump({key: settings(group) for key, group in peers.items()})
    )
    result = CliRunner().invoke(cli.app, ["--config", str(folder / "config.yaml"), "echo", *words])
    return result.exit_code, result.stdout, result.exception


def test_a_peer_that_answers_is_named_with_its_address(tmp_path: Path, orthanc: OrthancServer) -> None:
    there = {"pacs": (orthanc.ae_title, orthanc.dicom_port)}
    code, said, _ = echo(tmp_path, destinations=there, archives=there)
    assert code == 0
    assert said.splitlines() == [
        f"{group}.pacs: ORTHANC at 127.0.0.1:{orthanc.dicom_port} answers."
        for group in ("destinations", "archives")
    ]


def test_a_peer_that_is_away_and_one_that_does_not_know_us_are_told_apart(tmp_path: Path) -> None:
    stranger = StorageScp(
        Receiver(ae_title="PACS", host="127.0.0.1", port=0, reserve_bytes=0), lambda _: None, lambda _: None
    )
    stranger.start()
    try:
        code, said, _ = echo(
            tmp_path, destinations={"away": ("PACS", free_port()), "strict": ("PACS", stranger.port)}
        )
    finally:
        stranger.stop()
    away, strict = said.splitlines()
    assert code == 1
    assert away.startswith("destinations.away: ")
    assert "cannot be reached" in away
    assert "Register the AE title GSCO there" in strict


def test_one_peer_can_be_called_by_its_name(tmp_path: Path, orthanc: OrthancServer) -> None:
    there = {"pacs": (orthanc.ae_title, orthanc.dicom_port), "away": ("AWAY", free_port())}
    code, said, _ = echo(tmp_path, "pacs", destinations=there)
    assert (code, len(said.splitlines())) == (0, 1)


def test_a_name_that_nobody_has_is_an_error(tmp_path: Path) -> None:
    code, _, error = echo(tmp_path, "pasc", destinations={"pacs": ("PACS", 104)})
    assert code == 1
    assert "pasc" in str(error)


@pytest.mark.parametrize("name", ["", "pacs"])
def test_without_a_peer_by_dimse_there_is_nothing_to_call(tmp_path: Path, name: str) -> None:
    code, _, error = echo(tmp_path, *([name] if name else []))
    assert code == 1
    assert "called by DIMSE" in str(error)
