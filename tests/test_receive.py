"""Step receive: what is stored is what came, what can't be understood is refused, and odd text is nobody's failure."""

import re
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, uid
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble

from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.adapters.transfer_syntaxes import TRANSFER_SYNTAXES, storage_sop_classes
from gsco_pacs.domain.encoded import MAXIMUM_DEPTH
from gsco_pacs.domain.errors import BadObjectError, BadUidError, MismatchError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.part10 import IMPLEMENTATION_CLASS_UID
from gsco_pacs.domain.study import Instance, Peer
from gsco_pacs.steps.receive import receive
from gsco_pacs.testing.phantoms import make_ct, make_dx

PEER = Peer("MODALITY", "GSCO", "127.0.0.1")
KEYWORDS = frozenset(
    ["Modality", "PatientID", "PatientName", "ImageType", "Rows", "KVP", "StudyDescription", "PixelSpacing"]
)
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
UNDEFINED = 0xFFFFFFFF


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store", reserve_bytes=0)


def stored_files(store: FileStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


def data_set_of(ds: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> bytes:
    file = BytesIO()
    bare = Dataset(ds)
    bare.save_as(file, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    return file.getvalue()


def sent(ds: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian, **changes: Any) -> Incoming:
    content: dict[str, Any] = {
        "sop_class_uid": str(ds.SOPClassUID),
        "sop_instance_uid": str(ds.SOPInstanceUID),
        "transfer_syntax_uid": str(syntax),
        "data_set": data_set_of(ds, syntax),
        "peer": PEER,
    }
    return Incoming(**(content | changes))


def with_raw(ds: Dataset, *elements: bytes) -> bytes:
    """The data set of ``ds`` with encoded elements in front of it."""
    return b"".join(elements) + data_set_of(ds)


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)
def test_the_file_is_the_data_set_byte_for_byte_behind_a_clean_head(
    store: FileStore, syntax: uid.UID
) -> None:
    incoming = sent(make_dx(), syntax)
    instance = receive(incoming, store, KEYWORDS)
    content = store.path_of(instance).read_bytes()
    assert content.startswith(bytes(128) + b"DICM")
    assert content.endswith(incoming.data_set)
    ds = dcmread(store.path_of(instance))
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert ds.file_meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid == ds.SOPInstanceUID
    assert ds.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert ds.pixel_array.shape == (128, 112)
    assert instance.size == len(content)


def test_the_head_is_what_pydicom_would_write(store: FileStore) -> None:
    instance = receive(sent(make_dx()), store, KEYWORDS)
    content = store.path_of(instance).read_bytes()
    meta = dcmread(BytesIO(content)).file_meta
    again = BytesIO()
    ds = dcmread(BytesIO(content))
    ds.file_meta = FileMetaDataset(meta)
    ds.save_as(again, enforce_file_format=True)
    assert (
        again.getvalue()[: len(content) - instance.size + 400]
        == content[: len(content) - instance.size + 400]
    )


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)
def test_routing_gets_its_header_as_text_and_no_empty_values(store: FileStore, syntax: uid.UID) -> None:
    header = receive(sent(make_ct(StudyDescription=""), syntax), store, KEYWORDS).header
    assert header == {
        "Modality": "CT",
        "PatientID": "PHANTOM-1",
        "PatientName": "Phantom^Chest",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Rows": "64",
        "KVP": "120",
        "PixelSpacing": ["5.625", "5.625"],
    }


def test_names_are_read_in_the_character_set_of_the_data_set(store: FileStore) -> None:
    ds = make_dx(
        SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう"
    )
    assert receive(sent(ds), store, KEYWORDS).header["PatientName"] == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_a_character_set_that_nobody_knows_loses_nothing(store: FileStore) -> None:
    ds = make_dx()
    del ds.SpecificCharacterSet, ds.PatientID
    odd = [element(0x0008, 0x0005, b"CS", b"KLINGON "), element(0x0010, 0x0020, b"LO", b"\xff\xfe\x1b$)Q7\0")]
    incoming = sent(ds, data_set=with_raw(ds, *odd))
    instance = receive(incoming, store, KEYWORDS)
    assert store.path_of(instance).read_bytes().endswith(incoming.data_set)
    assert "7" in instance.header["PatientID"]
    assert "\0" not in instance.header["PatientID"]


@pytest.mark.parametrize(
    ("terms", "value"),
    [(b"utf-7 ", b"+2AA-7"), (b"ISO_IR 192", b"\xef\xbf\xbf7"), (b"ISO_IR 192" + bytes(300), b"8 7 ")],
)
def test_what_no_database_and_no_xml_takes_is_left_out_of_the_header(
    store: FileStore, terms: bytes, value: bytes
) -> None:
    ds = make_dx()
    del ds.SpecificCharacterSet, ds.PatientID
    odd = [element(0x0008, 0x0005, b"CS", terms), element(0x0010, 0x0020, b"LO", value)]
    shown = receive(sent(ds, data_set=with_raw(ds, *odd)), store, KEYWORDS).header["PatientID"]
    assert str(shown).endswith("7")
    assert not re.search("[\ud800-\udfff\ufffe\uffff\0]", str(shown))


def test_a_number_of_odd_length_is_left_out_of_the_header(store: FileStore) -> None:
    ds = make_dx()
    del ds.Rows
    instance = receive(
        sent(ds, data_set=with_raw(ds, element(0x0028, 0x0010, b"US", b"abc"))), store, KEYWORDS
    )
    assert "Rows" not in instance.header


def test_zeros_behind_the_last_element_are_padding(store: FileStore) -> None:
    ds = make_dx()
    receive(sent(ds, data_set=data_set_of(ds) + bytes(100)), store, KEYWORDS)


@pytest.mark.parametrize("undefined", [False, True], ids=["defined", "undefined"])
@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)
def test_sequences_of_either_length_are_walked_over(
    store: FileStore, syntax: uid.UID, undefined: bool
) -> None:
    ds = make_dx()
    for sequence in (
        ds.ViewCodeSequence,
        ds.AnatomicRegionSequence,
        ds.ViewCodeSequence[0].ViewModifierCodeSequence,
    ):
        sequence.is_undefined_length = undefined
        for item in sequence:
            item.is_undefined_length_sequence_item = undefined
    for elem in ds:
        if elem.VR == "SQ":
            elem.is_undefined_length = undefined
    incoming = sent(ds, syntax)
    assert (struct.pack("<HHL", *SEQUENCE_END, 0) in incoming.data_set) is undefined
    assert receive(incoming, store, KEYWORDS).header["PatientID"] == "PHANTOM-1"


def test_an_unknown_element_of_undefined_length_is_implicit_inside(store: FileStore) -> None:
    inner = struct.pack("<HHL", *ITEM, UNDEFINED) + struct.pack("<HHL4s", 9, 0x1001, 4, b"abcd")
    unknown = struct.pack("<HH2s2xL", 9, 0x1000, b"UN", UNDEFINED) + inner
    unknown += struct.pack("<HHL", *ITEM_END, 0) + struct.pack("<HHL", *SEQUENCE_END, 0)
    ds = make_dx()
    receive(sent(ds, data_set=with_raw(ds, unknown)), store, KEYWORDS)


def test_a_data_set_that_is_cut_anywhere_is_refused(store: FileStore) -> None:
    ds = make_dx(rows=64, columns=64)
    whole = data_set_of(ds)
    cuts = [*range(1, 400, 7), len(whole) // 2, len(whole) - 1]
    for cut in cuts:
        with pytest.raises(BadObjectError):
            receive(sent(ds, data_set=whole[:cut]), store, KEYWORDS)
    assert stored_files(store) == []


def test_compressed_frames_without_their_end_are_refused(store: FileStore) -> None:
    ds = make_dx()
    ds.compress(uid.RLELossless)
    whole = data_set_of(ds, uid.RLELossless)
    receive(sent(ds, uid.RLELossless, data_set=whole), store, KEYWORDS)
    with pytest.raises(BadObjectError):
        receive(sent(ds, uid.RLELossless, data_set=whole[:-8]), store, KEYWORDS)


def test_a_length_that_promises_gigabytes_is_refused_at_once(store: FileStore) -> None:
    bomb = struct.pack("<HH2s2xL", 9, 0x1000, b"OB", 0xFFFFFFF0)
    with pytest.raises(BadObjectError, match=r"ends in \(0009,1000\)"):
        receive(sent(make_dx(), data_set=with_raw(make_dx(), bomb)), store, KEYWORDS)


@pytest.mark.parametrize("depth", [MAXIMUM_DEPTH + 1, 100_000])
def test_sequences_that_nest_without_end_are_refused(store: FileStore, depth: int) -> None:
    level = struct.pack("<HH2s2xL", 8, 0x1140, b"SQ", UNDEFINED) + struct.pack("<HHL", *ITEM, UNDEFINED)
    end = struct.pack("<HHL", *ITEM_END, 0) + struct.pack("<HHL", *SEQUENCE_END, 0)
    with pytest.raises(BadObjectError, match="nest deeper"):
        receive(sent(make_dx(), data_set=with_raw(make_dx(), depth * level, depth * end)), store, KEYWORDS)


def test_a_data_set_must_not_bring_file_meta_information(store: FileStore) -> None:
    """(0002,0010) in the data set would make readers take the stored file for a deflated one."""
    smuggled = element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1.99")
    with pytest.raises(BadObjectError, match="0002,0010"):
        receive(sent(make_dx(), data_set=with_raw(make_dx(), smuggled)), store, KEYWORDS)


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_an_object_without_one_of_its_identifiers_is_refused(store: FileStore, keyword: str) -> None:
    ds = make_dx()
    whole = sent(ds)
    delattr(ds, keyword)
    with pytest.raises(BadObjectError):
        receive(Incoming(**(vars(whole) | {"data_set": data_set_of(ds)})), store, KEYWORDS)


@pytest.mark.parametrize("changed", ["sop_class_uid", "sop_instance_uid"])
def test_a_command_that_names_another_object_is_a_mismatch(store: FileStore, changed: str) -> None:
    other: dict[str, Any] = {changed: "1.2.3"}
    with pytest.raises(MismatchError):
        receive(sent(make_dx(), **other), store, KEYWORDS)


@pytest.mark.parametrize(
    "odd", ["../../etc/passwd", "1.2.03", "1" + 32 * ".1" + "1", "", "1.2.3\n", "x" * 64]
)
def test_a_uid_that_is_none_is_refused_before_anything_is_written(store: FileStore, odd: str) -> None:
    with pytest.raises(BadUidError):
        receive(sent(make_dx(), sop_instance_uid=odd), store, KEYWORDS)
    ds = make_dx(StudyInstanceUID=None)
    study = element(0x0020, 0x000D, b"UI", odd.encode())
    with pytest.raises(BadUidError):
        receive(sent(ds, data_set=with_raw(ds, study)), store, KEYWORDS)
    assert stored_files(store) == []


def test_uids_of_64_characters_are_valid(store: FileStore) -> None:
    longest = "1." + 62 * "9"
    ds = make_dx()
    ds.SOPInstanceUID = ds.StudyInstanceUID = longest
    assert receive(sent(ds), store, KEYWORDS).study_instance_uid == longest


def header_only(ds: Dataset) -> bytes:
    return data_set_of(ds)[: -(len(ds.PixelData) + 12)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data_set=st.binary(max_size=300), explicit=st.booleans())
@example(data_set=b"", explicit=True)
def test_no_bytes_crash_it_and_none_become_an_instance_without_a_file(
    store: FileStore, data_set: bytes, explicit: bool
) -> None:
    syntax = uid.ExplicitVRLittleEndian if explicit else uid.ImplicitVRLittleEndian
    check_one(store, sent(make_dx(rows=8, columns=8), syntax, data_set=data_set))


HEAD = header_only(make_dx(rows=8, columns=8))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, len(HEAD) - 1), noise=st.binary(min_size=1, max_size=12))
@example(position=9, noise=b"\0")  # inside the character set's name
def test_damage_anywhere_in_a_header_gives_a_file_or_a_refusal(
    store: FileStore, position: int, noise: bytes
) -> None:
    damaged = HEAD[:position] + noise + HEAD[position + len(noise) :]
    check_one(store, sent(make_dx(rows=8, columns=8), data_set=damaged))


def check_one(store: FileStore, incoming: Incoming) -> None:
    try:
        instance: Instance = receive(incoming, store, KEYWORDS)
    except BadObjectError:
        return
    assert store.path_of(instance).read_bytes().endswith(incoming.data_set)


def test_every_real_object_is_stored_with_its_data_set_as_it_was(store: FileStore, shared_data: Path) -> None:
    taken = set(storage_sop_classes())
    count = 0
    for path in sorted((shared_data / "dicom").rglob("*.dcm")):
        ds = dcmread(path, defer_size=1024)
        syntax = ds.file_meta.TransferSyntaxUID
        if syntax not in TRANSFER_SYNTAXES or ds.SOPClassUID not in taken:
            continue
        with path.open("rb") as file:
            read_preamble(file, force=False)
            _read_file_meta_info(file)  # one file's group length is wrong
            data_set = file.read()
        incoming = Incoming(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(syntax), data_set, PEER)
        instance = receive(incoming, store, KEYWORDS)
        assert store.path_of(instance).read_bytes().endswith(data_set), path
        assert instance.header.get("Modality", "") == ds.get("Modality", "")
        count += 1
    assert count > 150
