"""The web process as an operator starts it."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx

from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.testing.phantoms import make_dx
from gsco_pacs.testing.private_process import listens, running
from tests.recorded_node import RecordedNode

SEARCHED = "PHANTOM-SECRET"


def test_the_command_serves_the_pages_and_writes_no_patient_data_to_its_log(tmp_path: Path) -> None:
    node = RecordedNode(tmp_path)
    uid = node.receive(make_dx(PatientID=SEARCHED))
    node.engine.dispose()
    port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(f"state: state\nweb: {{port: {port}}}\n")
    command = [sys.executable, "-m", "gsco_pacs", "--config", str(config), "web"]
    with running(command, tmp_path, lambda: listens(port), stop=signal.SIGTERM):
        page = httpx.get(f"http://127.0.0.1:{port}/", params={"q": SEARCHED})
    log = next(tmp_path.glob("*.log")).read_text()
    assert uid in page.text
    assert f"The pages are at http://127.0.0.1:{port}/" in log
    assert SEARCHED not in log


def test_the_command_refuses_a_database_that_was_not_migrated(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("state: state\n")
    command = [sys.executable, "-m", "gsco_pacs", "--config", str(config), "web"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "gsco-pacs migrate" in done.stderr
