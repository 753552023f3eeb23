"""Servers, phantoms and data that several tests need; each server starts when the first test asks for it."""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from pydicom import Dataset

from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.domain.findings import (
    Code,
    Consultation,
    Draft,
    Finding,
    Mode,
    ModelIdentity,
    Opinion,
    Presence,
    Provenance,
    Report,
    Statement,
)
from gsco_pacs.domain.study import Instance, Study
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.sr.source import read_header
from gsco_pacs.steps.compose import compose
from gsco_pacs.testing.pacs import LoopbackPacs
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.testing.servers import (
    OrthancServer,
    PostgresqlServer,
    RabbitmqServer,
    RedisServer,
    private_orthanc,
    private_postgresql,
    private_rabbitmq,
    private_redis,
)

# How long an example takes says nothing on a machine that has other work.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL of this test run; ``new_database()`` gives each test its own database."""
    with private_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind that the ledger may live in."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    server = request.getfixturevalue("postgresql")
    return str(server.new_database())


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A ledger's database at the schema of this version, of each kind."""
    migrate(url)
    engine = open_engine(url)
    yield Database(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A Redis of this test run."""
    with private_redis() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitmqServer]:
    """A RabbitMQ of this test run."""
    with private_rabbitmq() as server:
        yield server


@pytest.fixture(scope="session")
def orthanc() -> Iterator[OrthancServer]:
    """An Orthanc of this test run."""
    with private_orthanc() as server:
        yield server


@pytest.fixture
def loopback_pacs() -> Iterator[LoopbackPacs]:
    """A PACS that takes everything and records it."""
    with LoopbackPacs() as pacs:
        yield pacs


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; the only reason for which a test may be skipped."""
    named = os.environ.get("GSCO_PACS_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: set GSCO_PACS_SHARED_DATA")
    return folder


@pytest.fixture
def chest_dx(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two views of one chest, PA and lateral, as files of one DX series."""
    return _chest(tmp_path_factory.mktemp("chest_dx"))


@pytest.fixture(scope="session")
def chest_reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Report]:
    """The narrative and the coded report of a consultation on the images of ``chest_dx``."""
    files = _chest(tmp_path_factory.mktemp("chest_reports"))
    headers = [read_header(path) for path in files]
    instances = [_instance(path, header) for path, header in zip(files, headers, strict=True)]
    read = tuple(instance.sop_instance_uid for instance in instances)
    model = ModelIdentity("phantom_findings", "1.0", "0" * 64)
    effusion = Finding("Effusion", "pleural effusion", Code("60046008", "SCT", "Pleural effusion"))
    opinion = Opinion(model.name, effusion, 0.83, 0.2, 0.6, read[0])
    statement = Statement("Pleural effusion.", ("Effusion",), Presence.PRESENT, (f"{model.name} 0.83",))
    narrative, coded, _ = compose(
        Study(instances[0].study_instance_uid, 1, tuple(instances)),
        headers,
        consultation=Consultation((model,), read, (opinion,), (), (), "chest X-ray"),
        draft=Draft((statement,), (statement,), (), (), model, None, "structured"),
        provenance=Provenance(
            "0", "0" * 64, "chest", Mode.SPECIALISTS, "briefed", "0" * 64, ((read[0], "0" * 64),)
        ),
        equipment=Equipment(),
        predecessors=(),
        at=datetime(2026, 1, 5, 10, 30, tzinfo=UTC),
    )
    return narrative, coded


def _chest(folder: Path) -> tuple[Path, ...]:
    views = {
        "pa.dcm": make_dx(instance="1"),
        "ll.dcm": make_dx(instance="2", ViewPosition="LL", InstanceNumber="2"),
    }
    for name, ds in views.items():
        (folder / name).write_bytes(encoded(ds))
    return tuple(folder / name for name in views)


def _instance(path: Path, header: Dataset) -> Instance:
    return Instance(
        study_instance_uid=str(header.StudyInstanceUID),
        series_instance_uid=str(header.SeriesInstanceUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        sop_class_uid=str(header.SOPClassUID),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size=path.stat().st_size,
        path=path.name,
    )
