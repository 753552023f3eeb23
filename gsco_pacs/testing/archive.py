"""An archive on loopback that answers queries by script: too much, too little, or not at all."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find  # type: ignore[attr-defined]
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get  # type: ignore[attr-defined]

from gsco_pacs.adapters.node_process import free_port

PENDING = 0xFF00


@dataclass(frozen=True)
class Scripted:
    """What is answered to every query: these data sets, one by one, and then the status."""

    matches: Sequence[Dataset] = ()
    status: int | None = 0x0000
    """None: the association is aborted instead."""
    delay_seconds: float = 0.0
    """Before each match."""


@dataclass
class ScriptedArchive:
    """A C-FIND and C-GET SCP on a free port; a context manager. ``queries`` are those that were asked.

    ``gets`` are used up one for each C-GET: what is sent, and the final status.
    """

    script: Scripted
    gets: Sequence[tuple[Sequence[Dataset], int]] = ()
    ae_title: str = "ARCHIVE"
    host: str = "127.0.0.1"
    port: int = 0
    queries: list[Dataset] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._ae = AE(ae_title=self.ae_title)
        self._ae.add_supported_context(Find)
        self._ae.add_supported_context(Get)
        for sop_class in {ds.SOPClassUID for sent, _ in self.gets for ds in sent}:
            self._ae.add_supported_context(sop_class, scu_role=False, scp_role=True)
        self._left = iter(self.gets)
        self.port = free_port()
        self._ae.start_server(
            (self.host, self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get)],
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # shutdown() aborts what is still ending, which pynetdicom's own thread does not always survive.
        deadline = time.monotonic() + 5
        while self._ae.active_associations and time.monotonic() < deadline:
            time.sleep(0.01)
        self._ae.shutdown()

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        self.queries.append(event.identifier)
        for match in self.script.matches:
            time.sleep(self.script.delay_seconds)
            yield PENDING, match
        if self.script.status is None:
            event.assoc.abort()
        else:
            yield self.script.status, None

    def _get(self, event: evt.Event) -> Iterator[int | tuple[int, Dataset | None]]:
        self.queries.append(event.identifier)
        sent, status = next(self._left)
        yield len(sent) + (status != 0x0000)
        for ds in sent:
            yield PENDING, ds
        yield status, None
