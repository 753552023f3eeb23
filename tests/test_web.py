"""The administrator's pages: they say what the record says, and the JSON says the same."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydicom import dcmread

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.corrections import Corrections
from gsco_pacs.adapters.fetch_ledger import Fetches
from gsco_pacs.domain.completeness import Decision
from gsco_pacs.domain.fetch import FetchState
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.domain.job import SETTLED, State
from gsco_pacs.domain.study import Peer
from gsco_pacs.intake import compare_variants
from gsco_pacs.settings.receiver import Sender
from gsco_pacs.testing.phantoms import make_dx
from gsco_pacs.web.facts import PAGE
from tests.recorded_node import MATCHING, ROUTE, RecordedNode
from tests.test_evidence import PICTURE, captured

Busy = tuple[TestClient, dict[str, str], RecordedNode]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RecordedNode]:
    recorded = RecordedNode(tmp_path)
    yield recorded
    recorded.engine.dispose()


@pytest.fixture
def client(node: RecordedNode) -> TestClient:
    return node.client()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The site of a node that nobody has sent anything to."""
    recorded = RecordedNode(tmp_path_factory.mktemp("empty"))
    yield recorded.client()
    recorded.engine.dispose()


@pytest.fixture(scope="module")
def busy(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Busy]:
    """A node with one study in each state."""
    recorded = RecordedNode(tmp_path_factory.mktemp("busy"))
    yield recorded.client(), recorded.every_state(), recorded
    recorded.engine.dispose()


def test_the_list_shows_every_job_with_its_state_and_why_it_is_there(busy: Busy) -> None:
    client, uids, _ = busy
    page = client.get("/").text
    for state, uid in uids.items():
        assert f'<span class="state {state}"' in page
        assert f'href="/studies/{uid}"' in page
    for why in (
        "Every destination took the reports.", "The specialists could read no image.", "Cancelled by the operator.",
        "(the study has OT)", "The deliver stage is tried again at ", ": pacs: The peer could not be reached or hung up.",
        "A consult worker has it.", "Waits for a free consult worker.", "Images are still arriving",
    ):  # fmt: skip
        assert why in page


@pytest.mark.parametrize("state", list(State))
def test_a_state_chip_leaves_only_the_jobs_in_that_state(busy: Busy, state: State) -> None:
    client, uids, _ = busy
    page = client.get("/", params={"state": state.value}).text
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    assert table.count("<tr>") == 1
    assert uids[state] in table


@pytest.mark.parametrize("q", ["PHANTOM-4", "A4", " A4 "])
def test_a_search_finds_a_study_by_part_of_patient_id_or_accession_number(busy: Busy, q: str) -> None:
    client, uids, _ = busy
    found = client.get("/api/jobs", params={"q": q}).json()["jobs"]
    assert [job["study_instance_uid"] for job in found] == [uids["skipped"]]


def test_a_search_finds_a_study_by_part_of_its_uid(busy: Busy) -> None:
    client, uids, _ = busy
    page = client.get("/", params={"q": uids["running"][5:]}).text
    assert f"/studies/{uids['running']}" in page[page.index("<tbody>") :]
    assert "1 job, page 1 of 1" in page


def test_paging_shows_each_job_once_newest_first(node: RecordedNode, client: TestClient) -> None:
    uids = [node.receive(make_dx(rows=2, columns=2, study=str(number))) for number in range(PAGE + 3)]
    first, second = (client.get("/api/jobs", params={"page": page}).json() for page in (1, 2))
    seen = [job["study_instance_uid"] for job in first["jobs"] + second["jobs"]]
    assert seen == uids[::-1]
    assert (first["count"], first["pages"], len(second["jobs"])) == (PAGE + 3, 2, 3)
    assert 'rel="next" href="/?state=&amp;q=&amp;page=2"' in client.get("/").text
    assert 'rel="next"' not in client.get("/?page=2").text


def test_a_page_beyond_the_last_is_empty(empty: TestClient) -> None:
    assert empty.get("/?page=1000000").status_code == 200


def test_an_empty_node_points_to_what_was_refused(empty: TestClient) -> None:
    page = empty.get("/").text
    assert "Nothing has arrived yet" in page
    assert "Nothing was refused, and nothing was odd." in page


def test_a_study_page_tells_everything_that_was_found_out(busy: Busy) -> None:
    client, uids, _ = busy
    page = client.get(f"/studies/{uids['delivered']}").text
    for words in (
        "AI DRAFT – not for diagnosis", "PHANTOM-1", "2 images from CR_ROOM1 (10.1.2.3).", "No new image for 60 s.",
        "<b>chest-ct</b> does not match: Modality is CT (the study has DX)", "<b>chest-radiograph</b> matches",
        "Consult finished", "Draft finished", "Report at pacs", "The narrative report was taken: 0x0000",
        "Every destination took the reports.", "pleural effusion", "0.83, absent below 0.25, present from 0.55",
        "View Position: the model reads AP, PA.", "Effusion, Cardiomegaly", "A specialist model says:",
        "There is a rib fracture.", "No opinion supports it.", "Pleural effusion with an enlarged heart.",
        "Atelectasis: the generalist does not mention it", "AI DRAFT - NOT VERIFIED", "ward-server:4711",
    ):  # fmt: skip
        assert words in page, words


def test_the_marks_of_a_bar_stand_at_probability_and_thresholds(busy: Busy) -> None:
    client, uids, _ = busy
    page = client.get(f"/studies/{uids['delivered']}").text
    bar = page[page.index('<svg class="bar present"') :]
    bar = bar[: bar.index("</svg>")]
    assert '<rect class="value" y="2.5" width="83.0"' in bar
    assert '<line x1="25.0"' in bar
    assert '<line x1="55.0"' in bar


@pytest.mark.parametrize("state", list(State))
def test_the_page_of_a_study_in_any_state_shows_that_state_and_its_json_says_the_same(
    busy: Busy, state: State
) -> None:
    client, uids, _ = busy
    page = client.get(f"/studies/{uids[state]}").text
    newest = client.get(f"/api/studies/{uids[state]}").json()["revisions"][0]
    assert newest["job"]["state"] == state
    assert bool(newest["job"]["settled_at"]) == (state in SETTLED)
    assert page.count('<p class="when">') == len(newest["moments"]) + len(newest["deliveries"])
    assert newest["why"].replace("'", "&#39;") in page


def test_the_json_list_says_what_the_pages_say(busy: Busy) -> None:
    client, uids, _ = busy
    listed = client.get("/api/jobs").json()
    page = client.get("/").text
    assert listed["counts"] == dict.fromkeys(listed["counts"], 1)
    assert [job["study_instance_uid"] for job in listed["jobs"]] == list(uids.values())[::-1]
    for job in listed["jobs"]:
        assert job["why"].replace("'", "&#39;") in page


def test_the_status_counts_what_is_unfinished_and_names_the_oldest(busy: Busy) -> None:
    client, uids, _ = busy
    status = client.get("/api/status").json()
    assert status["unfinished"] == 4
    assert status["oldest_unfinished"]["study_instance_uid"] == uids["waiting"]
    assert status["takes_images"] is True
    assert status["backlog"]["jobs"] == status["counts"]["queued"] + status["counts"]["waiting"] == 2
    assert status["is_behind"] is False


def test_a_backlog_above_its_limit_is_said_on_the_list(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _, node = busy
    assert "more than workers.backlog_warning" not in client.get("/").text
    workers = node.config.workers.model_copy(update={"backlog_warning": 1})
    monkeypatch.setattr(node, "config", node.config.model_copy(update={"workers": workers}))
    assert "<b>2</b> queued or waiting" in node.client().get("/").text
    assert "more than workers.backlog_warning" in node.client().get("/").text


def test_a_full_disk_is_said_on_the_list(node: RecordedNode) -> None:
    full = node.config.receiver.model_copy(update={"reserve_bytes": 10**18})
    node.config = node.config.model_copy(update={"receiver": full})
    assert "free: images are refused" in node.client().get("/").text


def test_earlier_revisions_stand_below_the_newest(node: RecordedNode, client: TestClient) -> None:
    uid = node.delivered(make_dx())
    node.receive(make_dx(instance="2"))
    page = client.get(f"/studies/{uid}").text
    assert (
        page.index("Images are still arriving")
        < page.index("Earlier revision 1")
        < page.index("What the specialists say")
    )


def test_many_images_that_were_left_out_for_one_reason_are_one_line(
    node: RecordedNode, client: TestClient
) -> None:
    lateral = [make_dx(instance=str(number), ViewPosition="LL") for number in range(2, 40)]
    page = client.get(f"/studies/{node.delivered(make_dx(), *lateral)}").text
    assert page.count("View Position: the model reads AP, PA. <b>38 images</b>") == 1


@pytest.mark.parametrize(
    ("state", "hinted"), [("failed", True), ("waiting", True), ("delivered", False), ("running", False)]
)
def test_only_a_study_that_can_be_tried_again_says_how(busy: Busy, state: str, hinted: bool) -> None:
    client, uids, _ = busy
    assert (f"gsco-pacs retry {uids[state]}" in client.get(f"/studies/{uids[state]}").text) is hinted


def test_the_picture_is_the_stored_image_as_a_specialist_read_it(busy: Busy) -> None:
    client, uids, _ = busy
    study = f"/studies/{uids['delivered']}"
    received = client.get(f"/api{study}").json()["received"]
    answer = client.get(f"{study}/images/{received[0]['sop_instance_uid']}.png")
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (112, 128)
    assert picture.getextrema()[0] < picture.getextrema()[1]  # type: ignore[operator]  # of one grey channel
    assert f'src="{study}/images/{received[0]["sop_instance_uid"]}.png"' in client.get(study).text
    # The lateral view was excluded.
    assert client.get(f"{study}/images/{received[1]['sop_instance_uid']}.png").status_code == 404


def test_of_a_volume_the_frame_that_was_read_is_shown(node: RecordedNode, client: TestClient) -> None:
    frames = np.zeros((3, 4, 4), np.uint16)
    frames[:, 0, 0] = 4095
    frames[1, :, 2:] = 4095
    volume = make_dx(
        rows=4, columns=4, Modality="MR", NumberOfFrames="3", PixelData=frames.astype("<u2").tobytes()
    )
    uid = node.receive(volume)
    node.close(uid)
    node.consult()
    answer = client.get(f"/studies/{uid}/images/{volume.SOPInstanceUID}.png")
    assert np.count_nonzero(np.asarray(Image.open(io.BytesIO(answer.content)))) == 9


def test_a_picture_is_shown_only_under_its_own_study(busy: Busy) -> None:
    client, uids, _ = busy
    image = client.get(f"/api/studies/{uids['delivered']}").json()["received"][0]["sop_instance_uid"]
    assert client.get(f"/studies/{uids['waiting']}/images/{image}.png").status_code == 404


def test_a_stored_file_that_is_gone_is_answered_with_503(node: RecordedNode, client: TestClient) -> None:
    uid = node.delivered(make_dx())
    image = client.get(f"/api/studies/{uid}").json()["received"][0]
    (node.store_dir / image["path"]).unlink()
    answer = client.get(f"/studies/{uid}/images/{image['sop_instance_uid']}.png")
    assert answer.status_code == 503
    assert client.get(f"/studies/{uid}").status_code == 200


def test_the_picture_of_a_corrected_image_is_made_of_the_file_that_took_its_place(
    node: RecordedNode, client: TestClient
) -> None:
    uid = node.delivered(make_dx())
    former = client.get(f"/api/studies/{uid}").json()["received"][0]
    node.receive(make_dx(PatientName="Right^Name"))
    compare_variants(Corrections(node.database), node.store)
    node.store.delete([former["path"]])
    assert client.get(f"/studies/{uid}/images/{former['sop_instance_uid']}.png").status_code == 200


def test_a_report_is_downloaded_to_the_byte(busy: Busy) -> None:
    client, uids, node = busy
    reports = client.get(f"/api/studies/{uids['delivered']}").json()["revisions"][0]["reports"]
    assert [report["kind"] for report in reports] == ["narrative", "coded"]
    for report in reports:
        answer = client.get(f"/reports/{report['sop_instance_uid']}.dcm")
        assert answer.content == Audit(node.database).report(report["sop_instance_uid"])
        assert answer.headers["content-type"] == "application/dicom"
        assert (
            answer.headers["content-disposition"]
            == f'attachment; filename="{report["sop_instance_uid"]}.dcm"'
        )
        assert dcmread(io.BytesIO(answer.content)).SOPInstanceUID == report["sop_instance_uid"]


def test_a_capture_is_shown_on_the_page_of_its_study_and_no_other_object_is_a_picture(
    node: RecordedNode, client: TestClient
) -> None:
    uid = node.receive(make_dx())
    node.close(uid)
    evidence, report = captured()
    node.consult(report)
    (narrative, _) = node.draft()
    answer = client.get(f"/reports/{evidence.sop_instance_uid}.png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), PICTURE)
    assert f'src="/reports/{evidence.sop_instance_uid}.png"' in client.get(f"/studies/{uid}").text
    assert client.get(f"/reports/{narrative.sop_instance_uid}.png").status_code == 404


@pytest.mark.parametrize(
    "path", ["/studies/1.2.3", "/studies/1.2.3/images/1.2.4.png", "/reports/1.2.3.dcm", "/nothing"]
)
def test_what_the_node_has_not_is_answered_with_404_and_a_page_that_helps(
    empty: TestClient, path: str
) -> None:
    answer = empty.get(path)
    assert answer.status_code == 404
    assert "what was refused lately" in answer.text
    assert "<b>GSCO</b> on port <b>11112</b>" in answer.text


def test_an_unknown_study_is_answered_with_404_in_json(empty: TestClient) -> None:
    answer = empty.get("/api/studies/1.2.3")
    assert (answer.status_code, answer.json()) == (404, {"detail": "The node has no study 1.2.3."})


def test_an_unknown_sender_is_shown_with_the_lines_that_let_it_in(tmp_path: Path) -> None:
    node = RecordedNode(tmp_path, [Sender(ae_title="CR", addresses=("10.1.0.0/16",))])
    for peer in (Peer("MG 2", "GSCO", "10.9.9.9"), Peer("MG 2", "GSCO", "10.9.9.9"), Peer("CR", "GSCO", "10.2.0.1"),
                 Peer("CR", "PACS", "10.1.0.1"), Peer("CR", "GSCO", "10.1.0.1")):  # fmt: skip
        node.ledger.refuse(Refusal(peer, "association", "it was rejected."))
    refused = node.client().get("/api/refusals").json()
    node.engine.dispose()
    told = {(r["calling_ae"], r["address"], r["called_ae"]): r for r in refused}
    assert told["MG 2", "10.9.9.9", "GSCO"]["times"] == 2
    assert told["MG 2", "10.9.9.9", "GSCO"]["lines"] == (
        "receiver:\n  senders:\n    - {ae_title: MG 2, addresses: [10.9.9.9]}"
    )
    assert "addresses: [10.1.0.0/16, 10.2.0.1]" in told["CR", "10.2.0.1", "GSCO"]["lines"]
    assert told["CR", "10.1.0.1", "PACS"]["advice"] == "Set the called AE title to GSCO at the sender."
    # The last one is let in by now: there is nothing left to advise.
    assert told["CR", "10.1.0.1", "GSCO"]["advice"] == ""


def test_a_refused_title_that_no_configuration_can_hold_gets_no_lines(
    node: RecordedNode, client: TestClient
) -> None:
    node.ledger.refuse(Refusal(Peer("a\\b", "GSCO", "10.0.0.1"), "association", "it was rejected."))
    assert client.get("/api/refusals").json()[0]["lines"] == ""


def test_health_is_the_record_and_a_dead_record_is_503(node: RecordedNode, client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    with node.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE job RENAME TO lost")
    assert client.get("/healthz").status_code == 503
    assert client.get("/").status_code == 503


def test_what_was_corrected_and_what_was_known_when_a_study_was_closed_stand_on_its_page(
    tmp_path: Path,
) -> None:
    node = RecordedNode(tmp_path)
    uid = node.receive(make_dx())
    node.receive(make_dx(PatientID="P2"))
    compare_variants(Corrections(node.database), node.store)
    (collecting,) = node.ledger.collecting()
    missing = "MPPS of CT1: 1 of 2 announced images have not come."
    decision = Decision(
        closed=True, reason=f"The deadline. Incomplete: {missing}", decided_at=datetime.now(UTC),
        evidence=("Instances here: 1.", missing), incomplete=missing,
    )  # fmt: skip
    assert node.ledger.close(collecting, decision, MATCHING, ROUTE)
    page = node.client().get(f"/studies/{uid}").text
    node.engine.dispose()
    assert "1 × came with a corrected header: PatientID &#39;PHANTOM-1&#39; → &#39;P2&#39;." in page
    assert f"The deadline. Incomplete: {missing}" in page
    assert "<li>Instances here: 1.</li>" in page


def test_a_study_page_tells_every_fetch_of_the_study_newest_first(
    node: RecordedNode, client: TestClient
) -> None:
    uid = node.receive(make_dx())
    page = client.get(f"/studies/{uid}").text
    assert "<h2>Fetched</h2>" not in page
    fetches = Fetches(node.database)
    counts = {"listed": 3, "here": 1, "completed": 1, "failed": 2, "warning": 0, "not_taken": 1, "tries": 3}
    fetches.end(fetches.begin(uid, "vna", "job 7"), FetchState.INCOMPLETE, "<vna> hung up.", counts)
    fetches.begin(uid, "web", "tester")
    page = client.get(f"/studies/{uid}").text
    row = page[page.index("<td>vna</td>") :].split("</tr>")[0]
    for words in (
        "<td>job 7</td>", "incomplete: &lt;vna&gt; hung up.", "1 of 3 here, 1 not taken", "1 completed, 2 failed<",
    ):  # fmt: skip
        assert words in row
    assert page.index("<td>web</td><td>tester</td><td>running</td>") < page.index("<td>vna</td>")
    told = client.get(f"/api/studies/{uid}").json()["fetches"]
    assert [(each["archive"], each["state"], each["here"]) for each in told] == [
        ("web", "running", 0),
        ("vna", "incomplete", 1),
    ]
