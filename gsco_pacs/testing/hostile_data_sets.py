"""Data sets mutated byte by byte and element by element, from phantoms and from every odd file that can be found."""

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from random import Random

import pydicom.data
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from gsco_pacs.adapters.transfer_syntaxes import TRANSFER_SYNTAXES, storage_sop_classes
from gsco_pacs.domain.encoded import top_level_elements
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.testing.hostile_pdus import mutated
from gsco_pacs.testing.phantoms import make_ct, make_dx

_LONGEST = 400_000
"""Bytes of a file that is taken as a start: what is wrong with a larger one is wrong with its first bytes, too."""

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS = (*_LONG, *b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LENGTHS = (0, 1, 2, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@dataclass(frozen=True)
class Seed:
    """A data set to start from, and what a C-STORE command would say of it."""

    name: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes

    def numbered(self, number: int) -> "Seed":
        """The same object with a SOP Instance UID of its own, if it is a phantom."""
        own = self.sop_instance_uid
        if not own.startswith("2.25."):
            return self
        other = f"2.25.1{number:0{len(own) - 6}d}"
        return replace(
            self, sop_instance_uid=other, data_set=self.data_set.replace(own.encode(), other.encode())
        )


@dataclass(frozen=True)
class Element:
    """An element as it is encoded; ``length`` need not be that of ``value``."""

    tag: int
    vr: bytes
    length: int
    value: bytes

    def encoded(self, *, explicit: bool) -> bytes:
        """Its bytes (PS3.5 section 7.1), little endian."""
        head = struct.pack("<HH", self.tag >> 16, self.tag & 0xFFFF)
        length = self.length & 0xFFFFFFFF
        if not explicit or not self.vr:
            return head + struct.pack("<L", length) + self.value
        if self.vr in _LONG:
            return head + self.vr + struct.pack("<HL", 0, length) + self.value
        return head + self.vr + struct.pack("<H", length & 0xFFFF) + self.value


Change = Callable[[Random, list[Element]], list[Element]]


def seeds(folders: Sequence[Path]) -> list[Seed]:
    """Phantoms in every transfer syntax that the node takes, and the files that lie in ``folders``."""
    return [*_phantoms(), *_found(folders)]


def odd_files() -> Path:
    """The test files that come with pydicom."""
    return Path(pydicom.data.__file__).parent / "test_files"


def hostile_data_set(rng: Random, seed: Seed, other: Seed) -> tuple[str, bytes]:
    """What is wrong and the data set, made of ``seed`` by one to three changes; ``other`` may be mixed in."""
    kind = rng.random()
    if kind < 0.02:
        return "as it is", seed.data_set
    if kind < 0.3:
        return "bytes changed", mutated(rng, seed.data_set)
    if kind < 0.4:
        name = rng.choice(list(_WHOLE))
        return name, _WHOLE[name](rng, seed.data_set, other.data_set)
    explicit = seed.transfer_syntax_uid != uid.ImplicitVRLittleEndian
    elements = list(elements_of(seed.data_set, explicit=explicit))
    names = rng.choices(list(CHANGES), k=rng.choice([1, 1, 2, 3]))
    for name in names:
        elements = CHANGES[name](rng, elements)
    return ", ".join(names), b"".join(element.encoded(explicit=explicit) for element in elements)


def elements_of(data_set: bytes, *, explicit: bool) -> Iterator[Element]:
    """The top-level elements as far as they can be told apart; the rest is the value of the last one."""
    position = 0
    while position + 8 <= len(data_set):
        group, number = struct.unpack_from("<HH", data_set, position)
        vr = data_set[position + 4 : position + 6] if explicit and group != 0xFFFE else b""
        long = vr in _LONG
        if vr and not long and not vr.isalpha():
            vr = b""
        start = position + (12 if long else 8)
        at, form = (position + 8, "<L") if long else (position + 6, "<H") if vr else (position + 4, "<L")
        if start > len(data_set):
            return
        (length,) = struct.unpack_from(form, data_set, at)
        end = len(data_set) if length == 0xFFFFFFFF else start + length
        yield Element(group << 16 | number, vr, length, data_set[start:end])
        position = end


def _phantoms() -> Iterator[Seed]:
    for n, syntax in enumerate(TRANSFER_SYNTAXES):
        for ds in (make_ct(16, 16, study=f"fuzz {n}"), make_dx(16, 14, study=f"fuzz DX {n}")):
            if syntax.is_encapsulated:
                # The receiver decodes nothing, so the fragments need not be pictures.
                ds.PixelData = encapsulate([bytes(range(256))] * 2)
                ds["PixelData"].is_undefined_length = True
                ds["PixelData"].VR = "OB"
            encoded = _encoded(ds, implicit=syntax == uid.ImplicitVRLittleEndian)
            yield Seed(f"{ds.Modality} in {syntax.name}", ds.SOPClassUID, ds.SOPInstanceUID, syntax, encoded)


def _encoded(ds: Dataset, *, implicit: bool) -> bytes:
    file = BytesIO()
    Dataset(ds).save_as(file, implicit_vr=implicit, little_endian=True)
    return file.getvalue()


def _found(folders: Sequence[Path]) -> Iterator[Seed]:
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = file.read(_LONGEST)
        syntax, data_set = _without_head(content)
        explicit = syntax != uid.ImplicitVRLittleEndian
        sop_class, sop_instance = _identity(data_set, explicit=explicit)
        yield Seed(path.name, sop_class, sop_instance, syntax, data_set)


def _without_head(content: bytes) -> tuple[str, bytes]:
    """The transfer syntax, or what comes nearest to it, and the data set behind a file's head."""
    if content[128:132] != b"DICM":
        return uid.ExplicitVRLittleEndian, content
    position, syntax = 132, b""
    while content[position : position + 2] == b"\2\0" and position + 12 <= len(content):
        long = content[position + 4 : position + 6] in _LONG
        form, at = ("<L", position + 8) if long else ("<H", position + 6)
        (length,) = struct.unpack_from(form, content, at)
        start = position + (12 if long else 8)
        if content[position + 2 : position + 4] == b"\x10\0":
            syntax = content[start : start + length].rstrip(b"\0")
        position = start + length
    known = syntax.decode("latin-1")
    return known if known in TRANSFER_SYNTAXES else uid.ExplicitVRLittleEndian, content[position:]


def _identity(data_set: bytes, *, explicit: bool) -> tuple[str, str]:
    try:
        found = top_level_elements(data_set, explicit=explicit, wanted={_SOP_CLASS, _SOP_INSTANCE})
    except BadObjectError:
        found = {}
    texts = [
        found.get(tag, ("", b""))[1].decode("latin-1").rstrip("\0 ") for tag in (_SOP_CLASS, _SOP_INSTANCE)
    ]
    taken = texts[0] in storage_sop_classes()
    return texts[0] if taken else uid.CTImageStorage, texts[1] or "1.2.3"


def _pick(rng: Random, elements: list[Element]) -> int:
    return rng.randrange(len(elements))


def _changed(rng: Random, elements: list[Element], **fields: object) -> list[Element]:
    if not elements:
        return elements
    at = _pick(rng, elements)
    return [*elements[:at], replace(elements[at], **fields), *elements[at + 1 :]]  # type: ignore[arg-type]


def _length(rng: Random, elements: list[Element]) -> list[Element]:
    if not elements:
        return elements
    at = _pick(rng, elements)
    true = elements[at].length
    lie = rng.choice([true + 1, true - 1, true * 2, rng.randrange(1 << 16), *_LENGTHS])
    return [*elements[:at], replace(elements[at], length=lie), *elements[at + 1 :]]


def _value(rng: Random, elements: list[Element]) -> list[Element]:
    values = (
        b"", b"\0", b"\xff" * 7, b"\x1b$B" * 30, b"\x1b$)C\xb1\xe8", b"\\" * 3000, b"A" * 65534, b"../../x", b"<script>",
        b"' OR 1=1 --", b"%s%n{0}", b"\r\nINFO x", b"\xc3\x28", b"ISO 2022 IR 87\\ISO 2022 IR 159", b"ISO_IR 192\\\\GB18030",
        b"99999999999999999999", b"NaN", b"1e999", b"-", b"1.2.3\0\0\0", rng.randbytes(33),
    )  # fmt: skip
    value = rng.choice(values)
    return _changed(rng, elements, value=value, length=len(value))


def _tag(rng: Random, elements: list[Element]) -> list[Element]:
    group = rng.choice([0, 1, 2, 3, 4, 6, 7, 8, 9, 0x10, 0x20, 0x28, 0x6000, 0x7FE0, 0xFFFC, 0xFFFE, 0xFFFF])
    return _changed(
        rng,
        elements,
        tag=group << 16 | rng.choice([0, 5, 0x10, 0x16, 0x18, 0xD, 0xE, 0xE000, 0xE00D, 0xE0DD]),
    )


def _nested(rng: Random, elements: list[Element]) -> list[Element]:
    """A sequence in a sequence, some of them deeper than anybody needs, some without their ends."""
    depth, ended = rng.choice([1, 3, 60, 63, 64, 65, 100, 5000]), rng.random() < 0.7
    open_item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    begin = Element(0x00081140, b"SQ", 0xFFFFFFFF, b"").encoded(explicit=rng.random() < 0.8)
    end = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    value = (
        (open_item + begin) * (depth - 1) + open_item + (end * depth if ended else end * rng.randrange(depth))
    )
    return _with(rng, elements, Element(0x00081140, b"SQ", 0xFFFFFFFF, value))


def _items(rng: Random, elements: list[Element]) -> list[Element]:
    """Items and delimiters where none belong, or with lengths that run over each other."""
    tags = rng.choices([_ITEM, _ITEM_END, _SEQUENCE_END], k=rng.choice([1, 3, 40]))
    junk = b"".join(
        Element(tag, b"", rng.choice(_LENGTHS), rng.randbytes(rng.choice([0, 4]))).encoded(explicit=False)
        for tag in tags
    )
    odd = Element(
        rng.choice([0x00081140, 0x7FE00010, 0x00091010]),
        rng.choice([b"SQ", b"UN", b"OB"]),
        rng.choice([0xFFFFFFFF, len(junk)]),
        junk,
    )
    return _with(rng, elements, rng.choice([odd, Element(tags[0], b"", rng.choice(_LENGTHS), b"")]))


def _private(rng: Random, elements: list[Element]) -> list[Element]:
    vr, value = rng.choice([*_VRS, b"??"]), rng.randbytes(rng.choice([0, 1, 8, 300]))
    return _with(rng, elements, Element(0x00290000 | rng.randrange(1 << 16), vr, len(value), value))


def _with(rng: Random, elements: list[Element], more: Element) -> list[Element]:
    at = rng.randrange(len(elements) + 1)
    return [*elements[:at], more, *elements[at:]]


CHANGES: Mapping[str, Change] = {
    "a length is wrong": _length,
    "another VR": lambda rng, es: _changed(
        rng, es, vr=rng.choice([*_VRS, b"XX", b"??", b"\0\0", b"ob", b"U\0"])
    ),
    "odd values": _value,
    "another tag": _tag,
    "an element is missing": lambda rng, es: [
        e for n, e in enumerate(es) if n != rng.randrange(len(es) or 1)
    ],
    "elements repeated": lambda rng, es: [*es, *rng.choices(es, k=rng.choice([1, 3, 200]))] if es else es,
    "elements out of order": lambda rng, es: rng.sample(es, len(es)),
    "sequences nested": _nested,
    "items where none belong": _items,
    "private junk": _private,
    "nothing at all": lambda _rng, _es: [],
}
"""Ways to spoil the elements of a data set, by name."""

_WHOLE: Mapping[str, Callable[[Random, bytes, bytes], bytes]] = {
    "cut": lambda rng, ds, _: ds[: rng.randrange(len(ds) + 1)],
    "spliced": lambda rng, ds, other: (
        ds[: rng.randrange(len(ds) + 1)] + other[rng.randrange(len(other) + 1) :]
    ),
    "two in one": lambda _, ds, other: ds + other,
    "deflated": lambda _, ds, __: zlib.compress(ds, wbits=-15),
    "zipped": lambda _, ds, __: gzip.compress(ds, mtime=0),
    "a bomb": lambda rng, _, __: zlib.compress(bytes(rng.choice([100_000, 5_000_000])), wbits=-15),
    "a file with its head": lambda _, ds, __: bytes(128) + b"DICM" + ds,
    "padded": lambda rng, ds, _: ds + rng.choice([bytes(1000), b"\xff" * 9, b"\0\0\0", b" "]),
    "zeros": lambda rng, _, __: bytes(rng.choice([1, 8, 100_000])),
    "noise": lambda rng, _, __: rng.randbytes(rng.choice([1, 7, 8, 12, 5000])),
    "bytes swapped": lambda _, ds, __: bytes(
        b for pair in zip(ds[1::2], ds[::2], strict=False) for b in pair
    ),
}
