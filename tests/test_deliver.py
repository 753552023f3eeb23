"""Reports on their way to destinations: a PACS, a folder, and several of them."""

import errno
import gc
import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.folder import Folder
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.store_scu import StoreScu, failure
from gsco_pacs.domain.errors import (
    BadUidError,
    GscoError,
    OutOfResourcesError,
    PeerBusyError,
    PeerUnavailableError,
    PermanentError,
    RejectedByPeerError,
    TransientError,
)
from gsco_pacs.domain.findings import ObjectKind, Receipt, Report
from gsco_pacs.settings.destinations import FolderDestination
from gsco_pacs.steps.deliver import deliver
from gsco_pacs.testing.pacs import BUSY, UNKNOWN_CALLER, Answer, HangUp, LoopbackPacs, Refusal
from gsco_pacs.testing.phantoms import encoded, make_dx

Reports = tuple[Report, Report]


def sender(pacs: LoopbackPacs, seconds: float = 10) -> StoreScu:
    return at_port(pacs.port, seconds)


def at_port(port: int, seconds: float = 10, host: str = "127.0.0.1") -> StoreScu:
    return StoreScu("pacs", CalledPeer("LOOPBACK", host, port, "GSCO", seconds), frozenset(ObjectKind))


def data_set_of(report: Report) -> bytes:
    """What stands behind preamble, prefix and file meta information, whose group length says where they end."""
    length = int.from_bytes(report.content[140:144], "little")
    return report.content[144 + length :]


def test_both_reports_arrive_in_one_association_with_the_bytes_that_were_stored(
    loopback_pacs: LoopbackPacs, chest_reports: Reports
) -> None:
    receipts = sender(loopback_pacs).send(chest_reports)

    assert receipts == tuple(Receipt("pacs", report.sop_instance_uid, "0x0000") for report in chest_reports)
    assert loopback_pacs.associations == 1
    assert [arrival.calling_ae for arrival in loopback_pacs.arrivals] == ["GSCO", "GSCO"]
    assert [arrival.sop_class_uid for arrival in loopback_pacs.arrivals] == [
        EnhancedSRStorage,
        Comprehensive3DSRStorage,
    ]
    assert [arrival.data_set for arrival in loopback_pacs.arrivals] == [data_set_of(r) for r in chest_reports]


def test_bytes_that_our_own_library_would_write_in_another_way_arrive_unchanged(
    loopback_pacs: LoopbackPacs, chest_reports: Reports
) -> None:
    # A name in Latin 1 that claims to be UTF-8, and a sex that the standard does not know.
    odd = chest_reports[0].content
    for right, wrong in ((b"Phantom^Chest ", b"Phant\xf6m^Chest "), (b"CS\x02\x00O ", b"CS\x02\x00?\x00")):
        assert odd.count(right) == 1
        odd = odd.replace(right, wrong)
    report = replace(chest_reports[0], content=odd)
    sender(loopback_pacs).send([report])
    assert loopback_pacs.arrivals[0].data_set == data_set_of(report)


def test_a_pacs_that_knows_only_implicit_vr_gets_the_same_content_in_implicit_vr(
    chest_reports: Reports,
) -> None:
    with LoopbackPacs(transfer_syntaxes=[ImplicitVRLittleEndian]) as pacs:
        sender(pacs).send(chest_reports)
    for arrival, report in zip(pacs.arrivals, chest_reports, strict=True):
        assert arrival.transfer_syntax_uid == ImplicitVRLittleEndian
        assert dcmread(BytesIO(arrival.data_set), force=True) == dcmread(BytesIO(report.content))


def test_a_pacs_that_knows_both_gets_explicit_vr(loopback_pacs: LoopbackPacs, chest_reports: Reports) -> None:
    sender(loopback_pacs).send(chest_reports)
    assert {arrival.transfer_syntax_uid for arrival in loopback_pacs.arrivals} == {ExplicitVRLittleEndian}


def test_an_object_of_another_sop_class_is_sent_too(
    loopback_pacs: LoopbackPacs, chest_reports: Reports
) -> None:
    ds = make_dx()
    picture = replace(
        chest_reports[0],
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        content=encoded(ds),
    )
    assert sender(loopback_pacs).send([picture])[0].status == "0x0000"


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111])
def test_a_warning_and_a_duplicate_count_as_taken_and_the_receipt_says_which(
    chest_reports: Reports, status: int
) -> None:
    with LoopbackPacs(answers=[Answer(status)]) as pacs:
        receipts = sender(pacs).send(chest_reports)
    assert [receipt.status for receipt in receipts] == [f"0x{status:04X}", "0x0000"]


@pytest.mark.parametrize(
    ("status", "error", "advice"),
    [
        (0xA700, PeerBusyError, "no resources"),
        (0xA7FF, PeerBusyError, "no resources"),
        (0x0110, PeerBusyError, "no resources"),
        (0x0122, RejectedByPeerError, "switch on the SOP class"),
        (0x0124, RejectedByPeerError, "allow our AE title"),
        (0x0117, RejectedByPeerError, "UID"),
        (0xA900, RejectedByPeerError, "log"),
        (0xC000, RejectedByPeerError, "log"),
    ],
)
def test_a_refusal_is_told_with_its_status_and_with_what_to_do(
    chest_reports: Reports, status: int, error: type[GscoError], advice: str
) -> None:
    with (
        LoopbackPacs(answers=[Answer(status)]) as pacs,
        pytest.raises(error, match=rf"(?s)Enhanced SR.*0x{status:04X}.*{advice}"),
    ):
        sender(pacs).send(chest_reports)


@given(status=st.integers(min_value=0, max_value=0xFFFF))
def test_every_status_is_either_taken_or_one_of_two_errors(status: int) -> None:
    answer = failure(status, "SR")
    if status in (0, 0x0111) or 0xB000 <= status <= 0xBFFF:
        assert answer is None
    elif 0xA700 <= status <= 0xA7FF or status == 0x0110:
        assert isinstance(answer, PeerBusyError)
    else:
        assert isinstance(answer, RejectedByPeerError)


def test_a_report_that_is_refused_does_not_keep_the_other_one_back(chest_reports: Reports) -> None:
    with LoopbackPacs(answers=[Answer(0xC000)]) as pacs, pytest.raises(RejectedByPeerError):
        sender(pacs).send(chest_reports)
    assert [arrival.sop_instance_uid for arrival in pacs.taken] == [chest_reports[1].sop_instance_uid]


def test_one_refusal_for_now_and_one_for_good_is_tried_again(chest_reports: Reports) -> None:
    with LoopbackPacs(answers=[Answer(0xC000), Answer(0xA700)]) as pacs, pytest.raises(PeerBusyError):
        sender(pacs).send(chest_reports)


def test_a_pacs_without_the_coded_kind_gets_the_narrative_and_the_error_names_the_class(
    chest_reports: Reports,
) -> None:
    with (
        LoopbackPacs(sop_classes=[EnhancedSRStorage]) as pacs,
        pytest.raises(RejectedByPeerError, match=r"Comprehensive 3D SR.*switch on the SOP class"),
    ):
        sender(pacs).send(chest_reports)
    assert [arrival.sop_class_uid for arrival in pacs.taken] == [EnhancedSRStorage]


def test_a_pacs_that_takes_none_of_our_objects_refuses_for_good(chest_reports: Reports) -> None:
    with (
        LoopbackPacs(sop_classes=["1.2.840.10008.5.1.4.1.1.2"]) as pacs,
        pytest.raises(RejectedByPeerError, match="none of our objects"),
    ):
        sender(pacs).send(chest_reports)


def test_an_association_that_is_rejected_for_now_is_a_reason_to_come_back(chest_reports: Reports) -> None:
    with LoopbackPacs(refusals=[BUSY]) as pacs:
        with pytest.raises(PeerUnavailableError, match=r"(?i)congestion"):
            sender(pacs).send(chest_reports)
        assert len(sender(pacs).send(chest_reports)) == 2


@pytest.mark.parametrize("refusal", [UNKNOWN_CALLER, Refusal(0x01, 0x01, 0x07)])
def test_an_association_that_is_rejected_for_good_names_our_ae_title(
    chest_reports: Reports, refusal: Refusal
) -> None:
    with (
        LoopbackPacs(refusals=[refusal]) as pacs,
        pytest.raises(RejectedByPeerError, match="Register the AE title GSCO"),
    ):
        sender(pacs).send(chest_reports)


@pytest.mark.parametrize("how", list(HangUp))
@pytest.mark.parametrize("before", [0, 1])
def test_a_pacs_that_hangs_up_is_unavailable_and_a_second_sending_completes_the_set(
    chest_reports: Reports, how: HangUp, before: int
) -> None:
    with LoopbackPacs(answers=[*[Answer()] * before, Answer(how)]) as pacs:
        with pytest.raises(PeerUnavailableError, match="hung up"):
            sender(pacs).send(chest_reports)
        sender(pacs).send(chest_reports)
    got = {arrival.sop_instance_uid: arrival.data_set for arrival in pacs.arrivals}
    assert got == {report.sop_instance_uid: data_set_of(report) for report in chest_reports}


def test_a_pacs_that_is_down_is_unavailable(chest_reports: Reports) -> None:
    with pytest.raises(PeerUnavailableError, match="cannot be reached"):
        at_port(free_port()).send(chest_reports)


def test_a_host_that_nobody_knows_is_unavailable(chest_reports: Reports) -> None:
    with pytest.raises(PeerUnavailableError, match="looked up"):
        at_port(104, host="pacs.invalid").send(chest_reports)


def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up_in_time(
    chest_reports: Reports,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(PeerUnavailableError, match="does not answer"):
            at_port(silent.getsockname()[1], seconds=0.5).send(chest_reports)
    assert time.monotonic() - began < 5


def test_a_pacs_that_is_too_slow_to_answer_is_unavailable(chest_reports: Reports) -> None:
    with (
        LoopbackPacs(answers=[Answer(delay_seconds=2)]) as pacs,
        pytest.raises(PeerUnavailableError, match="did not answer"),
    ):
        sender(pacs, seconds=0.5).send(chest_reports)


def test_a_report_does_not_wait_for_a_delayed_acknowledgement(chest_reports: Reports) -> None:
    with LoopbackPacs(answers=[Answer(delay_seconds=1)]) as pacs:
        sending = threading.Thread(target=sender(pacs).send, args=(chest_reports,))
        sending.start()
        while not pacs.arrivals:
            time.sleep(0.01)
        options = [
            connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for connection in gc.get_objects()
            if isinstance(connection, socket.socket) and _goes_to(connection, pacs.port)
        ]
        sending.join()
    assert len(options) == 1
    assert options[0] != 0


def _goes_to(connection: socket.socket, port: int) -> bool:
    try:
        return bool(connection.getpeername()[1] == port)
    except OSError:
        return False


def test_a_folder_gets_one_file_for_each_report_under_its_study(
    tmp_path: Path, chest_reports: Reports
) -> None:
    receipts = Folder("results", tmp_path / "new").send(chest_reports)

    for receipt, report in zip(receipts, chest_reports, strict=True):
        file = tmp_path / "new" / report.study_instance_uid / f"{report.kind}-{report.sop_instance_uid}.dcm"
        assert receipt == Receipt("results", report.sop_instance_uid, str(file))
        assert file.read_bytes() == report.content


def test_a_folder_that_gets_the_reports_twice_holds_them_once(tmp_path: Path, chest_reports: Reports) -> None:
    first = Folder("results", tmp_path).send(chest_reports)
    assert Folder("results", tmp_path).send(chest_reports) == first
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


@pytest.mark.parametrize("uid", ["../../etc", "/etc", "1.2/../3", ""])
def test_a_study_uid_that_is_a_path_writes_nothing(tmp_path: Path, chest_reports: Reports, uid: str) -> None:
    with pytest.raises(BadUidError):
        Folder("results", tmp_path / "in").send([replace(chest_reports[0], study_instance_uid=uid)])
    assert list(tmp_path.rglob("*.dcm")) == []


def test_a_folder_whose_name_is_taken_by_a_file_needs_a_person(
    tmp_path: Path, chest_reports: Reports
) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(RejectedByPeerError, match="change the destination's path"):
        Folder("results", tmp_path / "results").send(chest_reports)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, OutOfResourcesError),
        (errno.EDQUOT, OutOfResourcesError),
        (errno.EIO, PeerUnavailableError),
        (errno.ESTALE, PeerUnavailableError),
        (errno.EROFS, RejectedByPeerError),
    ],
)
def test_a_disk_that_fails_leaves_no_part_of_a_file(
    tmp_path: Path,
    chest_reports: Reports,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[GscoError],
) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(error, match=os.strerror(number)):
        Folder("results", tmp_path).send(chest_reports)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Recorder:
    """A destination that keeps what it is sent, or fails."""

    def __init__(
        self, name: str, error: GscoError | None = None, objects: Iterable[ObjectKind] = ObjectKind
    ) -> None:
        self.name = name
        self.objects = frozenset(objects)
        self.error = error
        self.sent: list[str] = []

    def send(self, reports: Sequence[Report]) -> tuple[Receipt, ...]:
        if self.error:
            raise self.error
        self.sent += [report.sop_instance_uid for report in reports]
        return tuple(Receipt(self.name, report.sop_instance_uid, "ok") for report in reports)


def test_a_destination_that_fails_holds_up_none_of_the_others(chest_reports: Reports) -> None:
    first, down, last = Recorder("first"), Recorder("down", PeerUnavailableError()), Recorder("last")
    deliveries = deliver(chest_reports, [first, down, last])

    assert {receipt.destination for receipt in deliveries.receipts} == {"first", "last"}
    assert len(deliveries.receipts) == 4
    assert [failed.destination for failed in deliveries.failures] == ["down"]
    assert isinstance(deliveries.error, TransientError)
    assert "down: The peer could not be reached" in str(deliveries.error)


def test_what_was_taken_in_an_earlier_attempt_is_not_sent_again(chest_reports: Reports) -> None:
    up, down = Recorder("up"), Recorder("down", PeerBusyError())
    receipts = deliver(chest_reports, [up, down]).receipts
    down.error = None
    second = deliver(chest_reports, [up, down], receipts)

    uids = [report.sop_instance_uid for report in chest_reports]
    assert (up.sent, down.sent) == (uids, uids)
    assert {receipt.destination for receipt in second.receipts} == {"down"}
    assert second.error is None


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([PeerBusyError(), RejectedByPeerError()], TransientError),
        ([RejectedByPeerError(), BadUidError()], PermanentError),
    ],
)
def test_the_error_of_several_is_permanent_only_if_trying_again_helps_nobody(
    chest_reports: Reports, errors: list[GscoError], expected: type[GscoError]
) -> None:
    error = deliver(chest_reports, [Recorder(str(n), error) for n, error in enumerate(errors)]).error
    assert isinstance(error, expected)


def test_all_is_well_when_every_destination_took_everything(chest_reports: Reports, tmp_path: Path) -> None:
    with LoopbackPacs() as pacs:
        deliveries = deliver(chest_reports, [sender(pacs), Folder("results", tmp_path)])
    assert deliveries.error is None
    assert [receipt.destination for receipt in deliveries.receipts] == ["pacs", "pacs", "results", "results"]


def with_evidence(reports: Reports) -> tuple[Report, ...]:
    capture = replace(reports[0], kind=ObjectKind.CAPTURE, sop_instance_uid="1.2.3.9003")
    return (*reports, capture)


def test_evidence_goes_before_the_reports_that_point_at_it(chest_reports: Reports) -> None:
    narrative, coded, capture = with_evidence(chest_reports)
    pacs = Recorder("pacs")
    deliver([narrative, coded, capture], [pacs])
    assert pacs.sent == [capture.sop_instance_uid, narrative.sop_instance_uid, coded.sop_instance_uid]


def test_only_the_kinds_that_a_destination_takes_are_sent_and_the_rest_is_not_owed(
    chest_reports: Reports,
) -> None:
    reader = Recorder("reader", objects=[ObjectKind.NARRATIVE])
    deliveries = deliver(with_evidence(chest_reports), [reader])
    assert reader.sent == [chest_reports[0].sop_instance_uid]
    assert deliveries.error is None


def test_a_key_object_selection_goes_only_where_it_is_named_and_after_the_evidence(
    chest_reports: Reports, tmp_path: Path
) -> None:
    *_, capture = with_evidence(chest_reports)
    selection = replace(chest_reports[0], kind=ObjectKind.KEY_OBJECTS, sop_instance_uid="1.2.3.9006")
    silent = FolderDestination(kind="folder", path=tmp_path)
    named = FolderDestination(kind="folder", path=tmp_path, objects=(*silent.objects, ObjectKind.KEY_OBJECTS))
    viewer, archive = (
        Recorder(name, objects=d.objects) for name, d in (("viewer", silent), ("archive", named))
    )
    assert deliver([*chest_reports, selection, capture], [viewer, archive]).error is None
    uids = [report.sop_instance_uid for report in (capture, *chest_reports, selection)]
    assert (viewer.sent, archive.sent) == (uids[:-1], uids)


class Choosy(Recorder):
    """A destination that fails at evidence only."""

    def send(self, reports: Sequence[Report]) -> tuple[Receipt, ...]:
        error, self.error = self.error, self.error if reports[0].kind.is_evidence else None
        try:
            return super().send(reports)
        finally:
            self.error = error


def test_evidence_that_is_taken_later_holds_the_reports_back_and_refused_evidence_does_not(
    chest_reports: Reports,
) -> None:
    busy, strict = Choosy("busy", PeerBusyError()), Choosy("strict", RejectedByPeerError())
    deliveries = deliver(with_evidence(chest_reports), [busy, strict])
    assert busy.sent == []
    assert strict.sent == [report.sop_instance_uid for report in chest_reports]
    assert [failure.destination for failure in deliveries.failures] == ["busy", "strict"]


@pytest.fixture
def every_kind(chest_reports: Reports) -> tuple[Report, ...]:
    """One object of each kind, each of the SOP class that the node makes."""
    classes = {
        ObjectKind.CAPTURE: "1.2.840.10008.5.1.4.1.1.7",
        ObjectKind.SEGMENTATION: "1.2.840.10008.5.1.4.1.1.66.4",
        ObjectKind.PARAMETRIC_MAP: "1.2.840.10008.5.1.4.1.1.30",
        ObjectKind.KEY_OBJECTS: "1.2.840.10008.5.1.4.1.1.88.59",
    }
    made: list[Report] = list(chest_reports)
    for number, (kind, sop_class) in enumerate(classes.items()):
        ds = make_dx(instance=str(90 + number))
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
        made.append(
            replace(
                made[0],
                kind=kind,
                sop_class_uid=sop_class,
                sop_instance_uid=str(ds.SOPInstanceUID),
                content=encoded(ds),
            )
        )
    return tuple(made)


@given(sets=st.lists(st.sets(st.sampled_from(ObjectKind)), min_size=1, max_size=4))
def test_each_destination_of_a_route_gets_its_own_set_of_kinds(sets: list[set[ObjectKind]]) -> None:
    reports = [
        Report(kind, "1.2.3", "1.2.4", "1.2.5", f"1.2.6.{n}", b"", "") for n, kind in enumerate(ObjectKind)
    ]
    destinations = [Recorder(str(n), objects=kinds) for n, kinds in enumerate(sets)]
    deliveries = deliver(reports, destinations)
    for destination, kinds in zip(destinations, sets, strict=True):
        assert set(destination.sent) == {r.sop_instance_uid for r in reports if r.kind in kinds}
    assert len(deliveries.receipts) == sum(map(len, sets))


def test_every_kind_goes_to_a_pacs_by_c_store_and_the_shares_of_two_differ(
    every_kind: tuple[Report, ...],
) -> None:
    assert {report.kind for report in every_kind} == set(ObjectKind)
    with LoopbackPacs() as archive, LoopbackPacs() as viewer:
        shares: list[tuple[LoopbackPacs, set[ObjectKind]]] = [
            (archive, set(ObjectKind)), (viewer, {ObjectKind.NARRATIVE, ObjectKind.SEGMENTATION}),
        ]  # fmt: skip
        destinations = [
            StoreScu(
                f"pacs{pacs.port}", CalledPeer("LOOPBACK", pacs.host, pacs.port, "GSCO", 10), frozenset(kinds)
            )
            for pacs, kinds in shares
        ]
        assert deliver(every_kind, destinations).error is None
    for pacs, kinds in shares:
        wanted = {report.sop_class_uid for report in every_kind if report.kind in kinds}
        assert {arrival.sop_class_uid for arrival in pacs.taken} == wanted
