"""The private servers of the tests: they work, they are private and they end."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest
import redis as redis_client
from kombu.connection import Connection
from pydicom import Dataset
from pynetdicom import AE

from gsco_pacs.sr.validate import errors_in
from gsco_pacs.testing import servers
from gsco_pacs.testing.pacs import LoopbackPacs
from gsco_pacs.testing.phantoms import encoded, make_ct, make_dx
from gsco_pacs.testing.private_process import listens, program, running
from gsco_pacs.testing.servers import OrthancServer, PostgresqlServer, RabbitmqServer, RedisServer

Start = Callable[[], AbstractContextManager[object]]


@pytest.fixture
def open_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder that other users can enter and that every process started from here knows."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(name)


def of_this_test(folder: Path) -> list[str]:
    """The command lines of the processes that work in ``folder`` or were started with it in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # Some servers write their title over their environment, and some change their directory.
            started_here = f"TMPDIR={folder}".encode() in (process / "environ").read_bytes()
            if started_here or str((process / "cwd").readlink()).startswith(str(folder)):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def test_postgresql_gives_each_caller_an_empty_database(postgresql: PostgresqlServer) -> None:
    urls = [postgresql.new_database().replace("+psycopg", "") for _ in range(2)]
    for url in urls:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE job (id integer)")
            assert connection.execute("SELECT count(*) FROM job").fetchone() == (0,)


def test_redis_keeps_a_value(redis: RedisServer) -> None:
    with redis_client.Redis.from_url(redis.url) as client:
        client.set("job", "1")
        assert client.get("job") == b"1"


def test_rabbitmq_passes_a_message_on(rabbitmq: RabbitmqServer) -> None:
    with Connection(rabbitmq.url) as connection, connection.SimpleQueue("jobs") as queue:
        queue.put({"job": 1})
        message = queue.get(timeout=10)
        message.ack()
    assert message.payload == {"job": 1}


def test_orthanc_answers_over_http_and_dicom(orthanc: OrthancServer) -> None:
    assert orthanc.get("/system")["DicomAet"] == orthanc.ae_title
    ae = AE(ae_title="GSCO")
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", orthanc.dicom_port, ae_title=orthanc.ae_title)
    assert association.send_c_echo().Status == 0
    association.release()


@pytest.mark.parametrize("phantom", [make_dx(), make_ct()], ids=["dx", "ct"])
def test_a_phantom_is_a_valid_object_that_orthanc_can_show(orthanc: OrthancServer, phantom: Dataset) -> None:
    content = encoded(phantom)
    assert errors_in(content) == []
    key = httpx.post(f"{orthanc.url}/instances", content=content).raise_for_status().json()["ID"]
    preview = httpx.get(f"{orthanc.url}/instances/{key}/preview")
    assert preview.headers["content-type"] == "image/png"


def test_the_same_seeds_make_the_same_phantom_and_other_seeds_other_ones() -> None:
    assert encoded(make_dx(study="7")) == encoded(make_dx(study="7"))
    others = [make_dx(), make_dx(study="2"), make_dx(series="2"), make_dx(instance="2")]
    assert len({ds.SOPInstanceUID for ds in others}) == 4
    assert make_dx(study="2").StudyInstanceUID != make_dx().StudyInstanceUID


def test_an_attribute_of_a_phantom_can_be_changed_and_taken_away() -> None:
    ds = make_dx(BodyPartExamined="KNEE", ViewPosition=None)
    assert (ds.BodyPartExamined, "ViewPosition" in ds) == ("KNEE", False)


@pytest.mark.parametrize(
    "start",
    [servers.private_postgresql, servers.private_redis, servers.private_rabbitmq, servers.private_orthanc],
)
def test_a_private_server_leaves_no_process_and_no_file_behind(start: Start, open_folder: Path) -> None:
    with start():
        assert of_this_test(open_folder)
        assert list(open_folder.iterdir())
    assert of_this_test(open_folder) == []
    assert list(open_folder.iterdir()) == []


def test_private_servers_end_with_a_test_process_that_is_killed(open_folder: Path) -> None:
    program_text = """
import time
from gsco_pacs.testing.servers import private_orthanc, private_postgresql, private_rabbitmq, private_redis
with private_postgresql(), private_redis(), private_rabbitmq(), private_orthanc():
    print("up", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program_text], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        assert len(of_this_test(open_folder)) > 5
        child.kill()
    deadline = time.monotonic() + 20
    while of_this_test(open_folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert of_this_test(open_folder) == []


def test_a_program_that_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(
        FileNotFoundError, match="no-such-server is not installed: apt-get install that-package"
    ):
        program("no-such-server", "that-package")


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no room; exit 3"]
    with pytest.raises(RuntimeError, match=r"exit 3\):\nno room"), running(command, tmp_path, lambda: False):
        pass


def test_a_server_that_is_never_ready_is_ended(tmp_path: Path, open_folder: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="did not start"),
        running(["sleep", "600"], tmp_path, lambda: False, seconds=0.2),
    ):
        pass
    assert of_this_test(open_folder) == []


def test_a_loopback_pacs_is_gone_when_its_block_is_left() -> None:
    with LoopbackPacs() as pacs:
        assert listens(pacs.port)
    assert not listens(pacs.port)
