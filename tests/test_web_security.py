"""The administrator's pages against what others send: text stays text, nothing is changed, nothing leaves."""

import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient

from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.domain.study import Peer, Routing
from gsco_pacs.settings.processes import Web
from gsco_pacs.testing.phantoms import make_dx
from gsco_pacs.testing.private_process import program
from gsco_pacs.web.app import HEADERS
from tests.recorded_node import RecordedNode

ATTACK = "<script>alert(1)</script>"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RecordedNode]:
    recorded = RecordedNode(tmp_path)
    yield recorded
    recorded.engine.dispose()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The site of a node that nobody has sent anything to."""
    recorded = RecordedNode(tmp_path_factory.mktemp("empty"))
    yield recorded.client()
    recorded.engine.dispose()


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "page=99999999999999999999", "state=broken", "q=%00", f"q={'1' * 129}"]
)
@pytest.mark.parametrize("path", ["/", "/api/jobs"])
def test_a_question_that_makes_no_sense_is_answered_with_422(
    empty: TestClient, path: str, query: str
) -> None:
    answer = empty.get(f"{path}?{query}")
    assert answer.status_code == 422
    assert "could not be understood" in answer.text


@pytest.mark.parametrize(
    "uid", ["%2e%2e%2f%2e%2e%2fetc%2fpasswd", "1.2.03", "1." + "2" * 64, "1.2%00", "1.2 OR 1=1", ATTACK]
)
@pytest.mark.parametrize(
    "path", ["/studies/{}", "/api/studies/{}", "/reports/{}.dcm", "/studies/1.2/images/{}.png"]
)
def test_what_is_no_uid_reaches_neither_record_nor_store(empty: TestClient, path: str, uid: str) -> None:
    answer = empty.get(path.format(uid))
    assert answer.status_code in (404, 422)
    assert "<script" not in answer.text


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"])
def test_only_the_folder_of_static_files_is_served(empty: TestClient, path: str) -> None:
    assert empty.get(path).status_code == 404


def test_text_of_others_is_shown_as_text(node: RecordedNode) -> None:
    client = node.client()
    attacker = Peer("<img src=x>", "<b>", "10.0.0.9")
    uid = node.receive(make_dx(PatientID=ATTACK, AccessionNumber='"><svg>'), peer=attacker)
    node.close(uid, Routing(None, ()))
    node.ledger.refuse(Refusal(attacker, "association", f"it is not in receiver.senders: {ATTACK}"))
    for path in ("/", f"/studies/{uid}", f"/?q={ATTACK}"):
        page = client.get(path).text
        assert "<script" not in page
        assert "<img src=x" not in page
        assert "<svg>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in client.get("/").text


def test_every_answer_forbids_scripts_frames_sniffing_and_keeping(node: RecordedNode) -> None:
    client, uid = node.client(), node.delivered(make_dx())
    for path in (
        "/",
        f"/studies/{uid}",
        "/api/jobs",
        "/static/site.css",
        "/studies/1.2.3",
        "/openapi.json",
    ):
        headers = client.get(path).headers
        assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert "default-src 'self'" in HEADERS["Content-Security-Policy"]
    assert HEADERS["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/", "/studies/1.2.3", "/api/jobs", "/reports/1.2.3.dcm", "/static/site.css"]
)
def test_nothing_can_be_changed_over_the_web(empty: TestClient, method: str, path: str) -> None:
    assert empty.request(method, path).status_code == 405


def test_the_interface_is_described_but_no_page_fetches_a_foreign_script(empty: TestClient) -> None:
    paths = empty.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/api/jobs",
        "/api/studies/{study_instance_uid}",
        "/api/studies/{study_instance_uid}/questions",
        "/api/questions/{number}",
        "/api/questions/{number}/filing",
        "/api/refusals",
        "/api/status",
        "/healthz",
    }
    assert empty.get("/docs").status_code == empty.get("/redoc").status_code == 404


def test_on_loopback_a_foreign_host_name_is_refused(node: RecordedNode) -> None:
    assert node.client().get("/", headers={"Host": "evil.example:8080"}).status_code == 400
    node.config = node.config.model_copy(update={"web": Web(host="0.0.0.0")})
    assert node.client().get("/", headers={"Host": "gsco.hospital.example"}).status_code == 200


@dataclass(frozen=True)
class Site:
    """The site of a node with one study in each state, and every request that it answered: path and status."""

    address: str
    uids: dict[str, str]
    answers: list[tuple[str, int]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    node = RecordedNode(tmp_path_factory.mktemp("site"))
    uids = node.every_state()
    app = node.app()
    answers: list[tuple[str, int]] = []

    @app.middleware("http")
    async def record(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await proceed(request)
        answers.append((request.url.path, response.status_code))
        return response

    @app.get("/injected")
    def injected() -> HTMLResponse:
        return HTMLResponse("<!doctype html><p id=p>before</p><script>p.textContent = 'after'</script>")

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield Site(f"http://127.0.0.1:{port}", uids, answers)
    server.should_exit = True
    thread.join()
    node.engine.dispose()


def browse(url: str, folder: Path) -> tuple[str, list[str]]:
    """The document as Chromium sees it after loading ``url``, and what it complained of on its console."""
    command = [
        program("chromium", "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={folder}",
        "--enable-logging=stderr", "--dump-dom", url,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_loads_the_list_without_a_complaint(site: Site, tmp_path: Path) -> None:
    site.answers.clear()
    document, complaints = browse(f"{site.address}/", tmp_path)
    assert complaints == []
    assert all(uid in document for uid in site.uids.values())
    assert {("/", 200), ("/static/site.css", 200), ("/static/icon.svg", 200)} == set(site.answers)


def test_a_browser_loads_a_study_with_its_picture_without_a_complaint(site: Site, tmp_path: Path) -> None:
    site.answers.clear()
    document, complaints = browse(f"{site.address}/studies/{site.uids['delivered']}", tmp_path)
    assert complaints == []
    assert "AI DRAFT – not for diagnosis" in document
    assert "Report at pacs" in document
    assert {status for _, status in site.answers} == {200}
    assert any(path.endswith(".png") for path, _ in site.answers)


def test_a_browser_runs_no_script_that_gets_into_a_page(site: Site, tmp_path: Path) -> None:
    document, complaints = browse(f"{site.address}/injected", tmp_path)
    assert "before" in document
    assert any("Content Security Policy" in complaint for complaint in complaints)
