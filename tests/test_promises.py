"""Storage commitment towards modalities: what the node promises, on which association it says so, and how long it tries."""

import queue
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest
from pydicom import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from sqlalchemy import select, update

from gsco_pacs.adapters.commitment_messages import read_outcome, request_information
from gsco_pacs.adapters.dimse_service import COMMITMENT, COMMITMENT_INSTANCE
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.promises import SAME_ASSOCIATION_SECONDS
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.adapters.tables import InstanceRow, PromiseRow
from gsco_pacs.domain.commitment import CLASS_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE, Named, Outcome
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.intake import HEADER
from gsco_pacs.processes.promise_desk import PromiseDesk
from gsco_pacs.processes.services import services
from gsco_pacs.settings.processes import Retry
from gsco_pacs.settings.receiver import CallBack, Receiver, Sender
from gsco_pacs.steps.receive import receive
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.testing.servers import private_orthanc
from tests.recorded_node import RecordedNode


class Modality:
    """A modality that sends, asks for commitment, and listens for reports; a context manager."""

    def __init__(self, *, listens: bool = True, status: int = 0x0000) -> None:
        self.port = free_port()
        self.outcomes: queue.Queue[tuple[str, Outcome]] = queue.Queue()
        self.status = status
        self._listens = listens
        self._ae = AE("CT1")
        self._ae.acse_timeout = self._ae.dimse_timeout = 10
        self._ae.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)

    def __enter__(self) -> Self:
        if self._listens:
            handlers = [(evt.EVT_N_EVENT_REPORT, self._on("other"))]
            self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ae.shutdown()

    def associate(self, port: int) -> Association:
        contexts = [build_context(COMMITMENT)]
        handlers = [(evt.EVT_N_EVENT_REPORT, self._on("same"))]
        association = self._ae.associate(
            "127.0.0.1",
            port,
            contexts,
            ae_title="GSCO",
            evt_handlers=handlers,  # type: ignore[arg-type]
        )
        assert association.is_established
        return association

    def _on(self, which: str) -> Any:
        def take(event: evt.Event) -> tuple[int, None]:
            self.outcomes.put((which, read_outcome(event.event_information)))
            return self.status, None

        return take


def request(association: Association, transaction: str, *named: Named, action: int = 1) -> int | None:
    answer, _ = association.send_n_action(
        request_information(transaction, named), action, COMMITMENT, COMMITMENT_INSTANCE
    )
    status: int | None = answer.get("Status")
    return status


class Keeper:
    """A node's receiver and the desk of its deliver worker."""

    def __init__(self, folder: Path, database: str | None = None, **sender: Any) -> None:
        self.node = RecordedNode(folder, database=database)
        receiver = Receiver(
            host="127.0.0.1", port=free_port(), reserve_bytes=0,
            senders=(Sender(ae_title="CT1", **sender), Sender(ae_title="ORTHANC", **sender)),
        )  # fmt: skip
        retry = Retry(first_seconds=0.01, longest_seconds=0.05)
        self.config = self.node.config.model_copy(update={"receiver": receiver, "retry": retry})
        self.scp = StorageScp(
            receiver, self._take, lambda _: None,
            services(self.config, self.node.database, lambda _: None),
        )  # fmt: skip
        self.desk = PromiseDesk(self.config, self.node.database)

    def _take(self, incoming: Incoming) -> None:
        instance = receive(incoming, self.node.store, HEADER)
        self.node.ledger.register([(instance, incoming.peer)])

    def promises(self) -> list[Any]:
        with self.node.database.reading() as connection:
            return list(connection.execute(select(PromiseRow).order_by(PromiseRow.id)))

    def kept_until(self, image: Dataset) -> datetime | None:
        query = select(InstanceRow.kept_until).where(InstanceRow.sop_instance_uid == image.SOPInstanceUID)
        with self.node.database.reading() as connection:
            return connection.execute(query).scalar_one()

    def due_now(self) -> None:
        """The time for a report on the association that asked is over."""
        with self.node.database.writing() as connection:
            connection.execute(update(PromiseRow).values(due_at=datetime.now(UTC)))

    def wait(self, state: str, seconds: float = 5) -> Any:
        deadline = time.monotonic() + seconds
        while (row := self.promises()[-1]).state != state:
            assert time.monotonic() < deadline, row
            time.sleep(0.01)
        return row


@pytest.fixture
def modality() -> Iterator[Modality]:
    with Modality() as modality:
        yield modality


@pytest.fixture(params=["sqlite", "postgresql"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path, modality: Modality) -> Iterator[Keeper]:
    database = None
    if request.param == "postgresql":
        database = request.getfixturevalue("postgresql").new_database()
    keeper = Keeper(
        tmp_path, database, call_back=CallBack(host="127.0.0.1", port=modality.port, timeout_seconds=5)
    )
    keeper.scp.start()
    yield keeper
    keeper.scp.stop()


def name(image: Dataset) -> Named:
    return Named(str(image.SOPClassUID), str(image.SOPInstanceUID))


def test_the_report_comes_on_the_association_that_asked_while_it_is_open(
    keeper: Keeper, modality: Modality
) -> None:
    image = make_dx()
    keeper.node.receive(image)
    association = modality.associate(keeper.scp.port)
    assert request(association, "1.9.1", name(image)) == 0x0000
    assert modality.outcomes.get(timeout=5) == ("same", Outcome("1.9.1", (name(image),), {}))
    assert keeper.wait("reported").reported_at is not None
    association.release()
    assert not keeper.desk.work()


def test_the_report_comes_on_an_association_of_the_nodes_own_when_the_one_that_asked_is_over(
    keeper: Keeper, modality: Modality
) -> None:
    image = make_dx()
    keeper.node.receive(image)
    association = modality.associate(keeper.scp.port)
    request(association, "1.9.2", name(image))
    association.release()
    assert not keeper.desk.work(), "the association that asked has its time first"
    keeper.due_now()
    assert keeper.desk.work()
    assert modality.outcomes.get(timeout=5) == ("other", Outcome("1.9.2", (name(image),), {}))
    assert keeper.promises()[0].state == "reported"
    assert SAME_ASSOCIATION_SECONDS > 1


def test_only_what_is_whole_and_of_its_class_is_promised(keeper: Keeper, modality: Modality) -> None:
    here, other_class, lost, cut = (make_dx(instance=str(number)) for number in range(1, 5))
    keeper.node.receive(here, other_class, lost, cut)
    files = {i.sop_instance_uid: keeper.node.store.path_of(i) for i in keeper.node.ledger.study(1).instances}
    files[lost.SOPInstanceUID].unlink()
    files[cut.SOPInstanceUID].write_bytes(b"")
    wrong = Named("1.2.840.10008.5.1.4.1.1.2", str(other_class.SOPInstanceUID))
    never = Named("1.2.840.10008.5.1.4.1.1.2", "1.2.3")
    association = modality.associate(keeper.scp.port)
    assert request(association, "1.9.3", name(here), wrong, name(lost), name(cut), never) == 0x0000
    _, outcome = modality.outcomes.get(timeout=5)
    association.release()
    assert outcome.committed == (name(here),)
    assert outcome.failed == {
        wrong: CLASS_CONFLICT, name(lost): PROCESSING_FAILURE, name(cut): PROCESSING_FAILURE,
        never: NO_SUCH_INSTANCE,
    }  # fmt: skip
    week = datetime.now(UTC) + timedelta(days=keeper.config.receiver.commitment_days)
    assert abs((keeper.kept_until(here) or week) - week) < timedelta(minutes=1)
    assert keeper.kept_until(lost) is None


def test_a_transaction_uid_is_taken_once_and_what_is_no_request_is_refused(
    keeper: Keeper, modality: Modality
) -> None:
    named = Named("1.2.840.10008.5.1.4.1.1.2", "1.2.3")
    association = modality.associate(keeper.scp.port)
    assert request(association, "1.9.4", named) == 0x0000
    assert request(association, "1.9.4", named) == 0x0131
    assert request(association, "1.9.5", named, action=2) == 0x0123
    assert request(association, "1.9.6") == 0x0115
    information = request_information("1.9.7", [named])
    answer, _ = association.send_n_action(information, 1, COMMITMENT, "1.2.3.4")
    assert answer.Status == 0x0112
    association.release()
    assert len(keeper.promises()) == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"listens": False}, "cannot be reached"),
        ({"status": 0x0110}, "0x0110"),
    ],
)
def test_a_report_that_is_not_taken_is_made_again_until_nothing_is_promised_any_longer(
    tmp_path: Path, how: dict[str, Any], words: str
) -> None:
    with Modality(**how) as modality:
        keeper = Keeper(tmp_path, call_back=CallBack(host="127.0.0.1", port=modality.port, timeout_seconds=5))
        keeper.scp.start()
        association = modality.associate(keeper.scp.port)
        request(association, "1.9.8", Named("1.2.3", "1.2.4"))
        association.release()
        keeper.due_now()
        assert keeper.desk.work()
        assert words in keeper.promises()[0].reason
        assert keeper.promises()[0].state == "owed"
        keeper.due_now()
        with keeper.node.database.writing() as connection:
            long_ago = datetime.now(UTC) - timedelta(days=8)
            connection.execute(update(PromiseRow).values(asked_at=long_ago))
        assert keeper.desk.work()
        assert keeper.promises()[0].state == "unreported"
        keeper.scp.stop()


def test_a_sender_without_an_address_for_reports_is_named_in_the_reason(
    tmp_path: Path, modality: Modality
) -> None:
    keeper = Keeper(tmp_path)
    keeper.scp.start()
    association = modality.associate(keeper.scp.port)
    request(association, "1.9.9", Named("1.2.3", "1.2.4"))
    association.release()
    keeper.due_now()
    assert keeper.desk.work()
    keeper.scp.stop()
    assert keeper.promises()[0].state == "unreported"
    assert "receiver.senders has no call_back" in keeper.promises()[0].reason


def test_orthanc_as_a_modality_stores_asks_and_is_told(tmp_path: Path) -> None:
    port = free_port()
    image = make_dx()
    with private_orthanc(peers={"node": ("GSCO", "127.0.0.1", port)}) as orthanc:
        keeper = Keeper(tmp_path, call_back=CallBack(host="127.0.0.1", port=orthanc.dicom_port))
        keeper.scp = StorageScp(
            keeper.config.receiver.model_copy(update={"port": port}), keeper._take, lambda _: None,
            services(keeper.config, keeper.node.database, lambda _: None),
        )  # fmt: skip
        keeper.scp.start()
        key = httpx.post(f"{orthanc.url}/instances", content=encoded(image)).raise_for_status().json()["ID"]
        httpx.post(f"{orthanc.url}/modalities/node/store", content=key).raise_for_status()
        wanted = {"DicomInstances": [{"SOPClassUID": n.sop_class_uid, "SOPInstanceUID": n.sop_instance_uid}
                                     for n in (name(image), Named(str(image.SOPClassUID), "1.2.3"))]}  # fmt: skip
        asked = (
            httpx.post(f"{orthanc.url}/modalities/node/storage-commitment", json=wanted)
            .raise_for_status()
            .json()
        )
        keeper.due_now()
        keeper.desk.work()
        report = orthanc.get(asked["Path"])
        keeper.scp.stop()
    assert report["Status"] == "Failure"
    assert [one["SOPInstanceUID"] for one in report["Success"]] == [str(image.SOPInstanceUID)]
    assert [one["SOPInstanceUID"] for one in report["Failures"]] == ["1.2.3"]
