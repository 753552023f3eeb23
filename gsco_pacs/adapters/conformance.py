"""The DICOM Conformance Statement of the node as it is configured (PS3.2), from the same values that negotiate."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from gsco_pacs import __version__
from gsco_pacs.adapters.arrivals import is_image
from gsco_pacs.adapters.dimse_service import COMMITMENT, Operation, Service
from gsco_pacs.adapters.store_status import STATUSES
from gsco_pacs.adapters.transfer_syntaxes import TRANSFER_SYNTAXES, VERIFICATION, storage_sop_classes
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import TransferSyntaxRefusedError
from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.domain.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gsco_pacs.settings.archives import DicomwebArchive, DimseArchive
from gsco_pacs.settings.destinations import DicomwebDestination, DimseDestination

SENT: Mapping[ObjectKind, UID] = {
    ObjectKind.NARRATIVE: EnhancedSRStorage,
    ObjectKind.CODED: Comprehensive3DSRStorage,
    ObjectKind.CAPTURE: SecondaryCaptureImageStorage,
    ObjectKind.SEGMENTATION: SegmentationStorage,
    ObjectKind.PARAMETRIC_MAP: ParametricMapStorage,
    ObjectKind.KEY_OBJECTS: KeyObjectSelectionDocumentStorage,
}
"""The SOP Class of each kind of object that the node makes."""

_TEMPLATE = Path(__file__).parents[1] / "conformance" / "statement.md"
_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
_MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")
_GET = UID("1.2.840.10008.5.1.4.1.2.2.3")
_LITTLE_ENDIAN = "Explicit VR Little Endian, Implicit VR Little Endian"
_PROFILE = "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12): TLS 1.2 or 1.3"
_KEY_OBJECTS = "KeyObjectSelectionDocumentStorage"

Row = dict[str, str]


def conformance_statement(config: Config, services: Sequence[Service]) -> str:
    """Markdown; ``services`` are those that the receiver is started with."""
    page = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701 - Markdown
    initiated = list(_initiated(config))
    return page.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        product="gsco_pacs",
        version=__version__,
        receiver=config.receiver,
        audit=config.audit,
        retry=config.retry,
        overview=list(_overview(config, services)),
        initiated=initiated,
        storage=[_row(sop_class, use=_use(UID(sop_class))) for sop_class in storage_sop_classes()],
        syntaxes=[_row(syntax) for syntax in TRANSFER_SYNTAXES],
        services=[_service(service) for service in services],
        statuses=[
            {"code": f"{code:04X}", "meaning": meaning, "remedy": _remedy(code)}
            for kind, code, meaning in STATUSES
            if kind is not TransferSyntaxRefusedError  # of files over STOW-RS: here it was negotiated
        ],
        senders=_cell(_senders(config)) or "nobody",
        settings=list(_settings(config)),
        interfaces=_interfaces(config),
        security=_security(config),
        user_identity=_user_identity(config),
        dicomweb=_dicomweb(config),
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
    )


def _row(uid: str, **more: str) -> Row:
    return {"name": UID(uid).name, "uid": str(uid), **more}


def _use(sop_class: UID) -> str:
    if sop_class.keyword == _KEY_OBJECTS:
        return "kept; says which images are the key ones, for specialists that read those"
    return "kept, and read where a route matches" if is_image(sop_class) else "kept and shown, never read"


def _remedy(status: int) -> str:
    if status == 0x0122:
        return "do not send it"
    return "send again later" if status >> 8 == 0xA7 else "correct the object"


def _overview(config: Config, services: Sequence[Service]) -> Iterator[Row]:
    dimse = [d for d in config.destinations.values() if isinstance(d, DimseDestination)]
    sent = {SENT[kind] for destination in dimse for kind in destination.objects}
    fetched = any(
        isinstance(archive, DimseArchive) and archive.retrieve == "get"
        for archive in config.archives.values()
    )
    yield _row(VERIFICATION, scu="no", scp="yes")
    for sop_class in storage_sop_classes():
        yield _row(sop_class, scu=_yes(sop_class in sent), scp="yes, also by C-GET" if fetched else "yes")
    asked = {sop_class for row in _activities(config) for sop_class in row[2]} - sent
    for sop_class in sorted(asked | {service.sop_class_uid for service in services}):
        provided = next((s for s in services if s.sop_class_uid == sop_class), None)
        as_provider = provided is not None and (sop_class != COMMITMENT or len(provided.operations) > 1)
        yield _row(sop_class, scu=_yes(sop_class in asked), scp=_yes(as_provider))


def _yes(holds: bool) -> str:  # noqa: FBT001 - the only argument
    return "yes" if holds else "no"


def _service(service: Service) -> Row:
    role = (
        "both"
        if service.both_roles and len(service.operations) > 1
        else "SCU"
        if service.both_roles
        else "SCP"
    )
    return _row(service.sop_class_uid, role=role, operations=", ".join(map(_operation, service.operations)))


def _operation(operation: Operation) -> str:
    return operation.__name__.replace("_", "-")


def _activities(config: Config) -> Iterator[tuple[str, str, tuple[UID, ...]]]:
    """What for, to whom, and with which SOP Classes the node opens associations."""
    for name, destination in config.destinations.items():
        if isinstance(destination, DimseDestination):
            yield "results", name, tuple(SENT[kind] for kind in ObjectKind if kind in destination.objects)
            if destination.confirm:
                by_query = destination.confirm.by == "query"
                yield "confirmation", name, (_FIND,) if by_query else (COMMITMENT, _FIND)
    for name, archive in config.archives.items():
        if isinstance(archive, DimseArchive):
            yield "queries", name, (_FIND,)
            yield "retrieval", name, (_MOVE,) if archive.retrieve == "move" else (_GET,)


def _initiated(config: Config) -> Iterator[Row]:
    for activity, peer, sop_classes in _activities(config):
        more = " and all storage classes of 4.2.3 as SCP" if _GET in sop_classes else ""
        yield {
            "activity": activity,
            "peer": _cell([peer]),
            "sop_classes": ", ".join(f"{sop_class.name} ({sop_class})" for sop_class in sop_classes) + more,
            "syntaxes": _LITTLE_ENDIAN,
        }


def _senders(config: Config) -> Iterator[str]:
    for sender in config.receiver.senders:
        proof = ", over TLS with its certificate" if sender.certificates else ""
        proof += ", with a user name and passcode" if sender.users else ""
        yield f"{sender.ae_title} from {', '.join(map(str, sender.addresses)) or 'any address'}{proof}"


def _cell(words: Iterable[str]) -> str:
    """Text for a table's cell: a bar would end it."""
    return "; ".join(words).replace("|", "\\|")


def _settings(config: Config) -> Iterator[Row]:
    receiver = config.receiver
    yield {"key": "AE title", "value": _cell([receiver.ae_title])}
    if receiver.further_ae_titles:
        yield {"key": "Further AE titles that may be called", "value": _cell(receiver.further_ae_titles)}
    for name, peer in {**config.destinations, **config.archives}.items():
        if isinstance(peer, DimseDestination | DimseArchive):
            where = f"{peer.ae_title} at {peer.host}:{peer.port}{', over TLS' if peer.tls else ''}"
            yield {"key": _cell([name]), "value": _cell([where])}
    yield {"key": "Silence that ends an association", "value": f"{receiver.idle_seconds:g} s"}
    yield {
        "key": "Associations of one AE title at one address",
        "value": str(receiver.limits.associations_per_peer),
    }
    yield {"key": "Longest association", "value": f"{receiver.limits.association_seconds:g} s"}
    yield {"key": "Objects in an association", "value": str(receiver.limits.objects_per_association)}
    yield {"key": "Quiet time that closes a study", "value": f"{config.settle.quiet_seconds:g} s"}
    yield {"key": "Deadline that closes a study", "value": f"{config.settle.deadline_seconds:g} s"}


def _interfaces(config: Config) -> str:
    receiver = config.receiver
    ports = [f"port {receiver.port} without TLS"] if receiver.plain else []
    ports += [f"port {receiver.tls.port} with TLS"] if receiver.tls else []
    return f"The node listens on {receiver.host}, {' and '.join(ports)}."


def _security(config: Config) -> str:
    """Section 7 in sentences."""
    tls, bound = config.receiver.tls, [s.ae_title for s in config.receiver.senders if s.certificates]
    called = {**config.destinations, **config.archives}
    over_tls = [
        name
        for name, peer in called.items()
        if isinstance(peer, DimseDestination | DimseArchive) and peer.tls
    ]
    sentences = []
    if tls:
        shows = "must show a certificate" if tls.ask_for_certificate else "need not show a certificate"
        sentences.append(f"Port {tls.port} follows the {_PROFILE}. A peer {shows}; ")
        sentences.append(f"AE titles that only their certificates prove: {_cell(bound) or 'none'}. ")
    if over_tls:
        sentences.append(f"Called over TLS by the same profile: {_cell(over_tls)}. ")
    if config.receiver.plain:
        sentences.append(
            "On the port without TLS an AE title and an address are claims: keep it in a network that you trust."
        )
    return "".join(sentences).strip()


def _user_identity(config: Config) -> str:
    users = bool(config.receiver.users)
    return "user name with passcode, over TLS only" if users else "nobody is known: a passcode is rejected"


def _dicomweb(config: Config) -> str:
    web = (DicomwebDestination, DicomwebArchive)
    peers = [
        name for name, peer in {**config.destinations, **config.archives}.items() if isinstance(peer, web)
    ]
    said = [f"user agent of {_cell(peers)} (STOW-RS, QIDO-RS, WADO-RS)"] if peers else []
    own = config.dicomweb
    if own:
        said.append(
            f"origin server of STOW-RS on {own.host} port {own.port}, {'https' if own.tls else 'http'}"
        )
    return f"{'; '.join(said) or 'not used'}."
