"""Fetches objects of a study from an archive by C-MOVE or C-GET (PS3.4 C.4.2 and C.4.3)."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import cast

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get  # type: ignore[attr-defined]
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move  # type: ignore[attr-defined]

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.retrieve_status import PENDING, REMEDIES, must_be_carried_out
from gsco_pacs.adapters.store_status import status_of
from gsco_pacs.adapters.transfer_syntaxes import TRANSFER_SYNTAXES, storage_sop_classes
from gsco_pacs.domain.archive import Suboperations, Wanted
from gsco_pacs.domain.errors import GscoError, PeerUnavailableError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.study import Peer

_AT_A_TIME = 100
"""UIDs in one identifier, when single objects are fetched."""
_CONTEXTS = 128
"""As many as an association can have (PS3.8 section 9.3.2.2: odd numbers up to 255)."""

Progress = Callable[[Suboperations], None]
Responses = Iterator[tuple[Dataset, Dataset | None]]


def move(peer: CalledPeer, wanted: Wanted, seconds: float, progress: Progress) -> Suboperations:
    """Have the archive send the objects to our AE title, where the receiver takes them in like any others."""
    contexts = [build_context(Move, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    with peer.association(contexts, f"moves nothing: {REMEDIES[0x0122]}.") as association:
        association.dimse_timeout = seconds
        return _carry_out(
            peer, wanted, lambda keys: association.send_c_move(keys, peer.calling_ae, Move), progress
        )


def get(
    peer: CalledPeer,
    wanted: Wanted,
    seconds: float,
    take: Callable[[Incoming], None],
    progress: Progress,
) -> Suboperations:
    """Fetch the objects over the association that asks; each is answered with its status only when ``take`` returns."""
    contexts, classes = _storage(wanted)
    contexts.insert(0, build_context(Get, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]))
    archive = Peer(peer.ae_title, peer.calling_ae, peer.host)

    def on_store(event: evt.Event) -> int:
        try:
            take(_incoming(event, archive))
        except GscoError as error:
            return status_of(error)[0]
        return 0x0000

    with peer.association(
        contexts,
        f"gives nothing: {REMEDIES[0x0122]}.",
        handlers=[(evt.EVT_C_STORE, on_store)],
        roles=[build_role(sop_class, scp_role=True) for sop_class in classes],
    ) as association:
        association.dimse_timeout = seconds
        return _carry_out(peer, wanted, lambda keys: _send_c_get(association, keys), progress)


def _send_c_get(association: Association, keys: Dataset) -> Responses:
    return association.send_c_get(keys, Get)


def _storage(wanted: Wanted) -> tuple[list[PresentationContext], Sequence[str]]:
    """The presentation contexts for the objects, and their SOP classes.

    One context for each transfer syntax, so that the archive can send every object as it is stored; where there would
    be too many, one for each class, in which the archive chooses one for all.
    """
    told = {instance.sop_class_uid for instance in wanted.instances}
    classes = sorted(storage_sop_classes() if "" in told else told.intersection(storage_sop_classes()))
    if len(classes) * len(TRANSFER_SYNTAXES) < _CONTEXTS:
        return [build_context(c, syntax) for c in classes for syntax in TRANSFER_SYNTAXES], classes
    return [build_context(c, list(TRANSFER_SYNTAXES)) for c in classes], classes


def _incoming(event: evt.Event, archive: Peer) -> Incoming:
    request = cast("C_STORE", event.request)
    return Incoming(
        sop_class_uid=str(request.AffectedSOPClassUID),
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        data_set=request.DataSet.getvalue() if request.DataSet else b"",
        peer=archive,
    )


def _carry_out(
    peer: CalledPeer, wanted: Wanted, send: Callable[[Dataset], Responses], progress: Progress
) -> Suboperations:
    """Send each identifier and follow its responses; the sum of the sub-operations of all."""
    done = Suboperations()
    for keys in _identifiers(wanted):
        last = Suboperations()
        try:
            for answer, _failed in send(keys):
                last = _counted(answer, last)
                progress(done + last)
                if answer.get("Status") not in PENDING:
                    must_be_carried_out(peer, answer, "the retrieval")
        except RuntimeError as error:
            raise PeerUnavailableError(f"{peer} hung up in the midst of the retrieval.") from error
        done = done + last
    return done


def _counted(answer: Dataset, before: Suboperations) -> Suboperations:
    """The counts of a response; each of them is optional there, but for the final one (PS3.4 C.4.2.1.5)."""

    def count(kind: str, known: int) -> int:
        value = answer.get(f"NumberOf{kind}Suboperations")
        return known if value is None else int(value)

    return Suboperations(
        count("Completed", before.completed),
        count("Failed", before.failed),
        count("Warning", before.warning),
    )


def _identifiers(wanted: Wanted) -> Iterator[Dataset]:
    """One for a whole study, else some for the objects of each series."""
    if wanted.whole:
        yield _keys("STUDY", StudyInstanceUID=wanted.study_instance_uid)
        return
    ordered = sorted(wanted.instances, key=lambda instance: instance.series_instance_uid)
    for series, group in groupby(ordered, key=lambda instance: instance.series_instance_uid):
        uids = [instance.sop_instance_uid for instance in group]
        for start in range(0, len(uids), _AT_A_TIME):
            yield _keys(
                "IMAGE",
                StudyInstanceUID=wanted.study_instance_uid,
                SeriesInstanceUID=series,
                SOPInstanceUID=uids[start : start + _AT_A_TIME],
            )


def _keys(level: str, **uids: str | list[str]) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = level
    for keyword, value in uids.items():
        setattr(keys, keyword, value)
    return keys
