"""PDUs as PS3.8 section 9.3 makes them and as it does not: requests for associations and everything else, wrong on purpose."""

import struct
from collections.abc import Callable, Mapping, Sequence
from random import Random

from gsco_pacs.adapters.transfer_syntaxes import TRANSFER_SYNTAXES, storage_sop_classes

CALLING, CALLED = b"HOSTILE", b"GSCO"
"""The titles of the peer and of the node that it attacks."""

VERIFICATION = b"1.2.840.10008.1.1"
IMPLICIT = b"1.2.840.10008.1.2"
_APPLICATION = b"1.2.840.10008.3.1.1.1"
_EXTREMES = (0, 1, 2, 3, 4, 5, 6, 255, 256, 16384, 65535, 131072, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
Context = tuple[int, bytes, Sequence[bytes]]
Maker = Callable[[Random], bytes]


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU; ``length`` instead of the true one."""
    return struct.pack(">BxL", kind, (len(body) if length is None else length) & 0xFFFFFFFF) + body


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    """An item or sub-item; ``length`` instead of the true one."""
    return struct.pack(">BxH", kind, (len(body) if length is None else length) & 0xFFFF) + body


def fragment(context_id: int, content: bytes, *, command: bool, last: bool = True) -> bytes:
    """A presentation data value item (PS3.8 section 9.3.5.1)."""
    return struct.pack(">LBB", len(content) + 2, context_id, command | last << 1) + content


def p_data(*fragments: bytes) -> bytes:
    """A P-DATA-TF PDU."""
    return pdu(4, b"".join(fragments))


RELEASE_RQ, RELEASE_RP = pdu(5, bytes(4)), pdu(6, bytes(4))
ABORT = pdu(7, bytes(4))


def context_item(context: Context, kind: int = 0x20) -> bytes:
    """A presentation context as it is proposed."""
    context_id, abstract_syntax, syntaxes = context
    items = item(0x30, abstract_syntax) + b"".join(item(0x40, syntax) for syntax in syntaxes)
    return item(kind, bytes([context_id & 0xFF, 0, 0, 0]) + items)


def request(
    contexts: bytes,
    user: bytes = b"",
    called: bytes = CALLED,
    calling: bytes = CALLING,
    application: bytes = _APPLICATION,
    kind: int = 1,
    version: int = 1,
) -> bytes:
    """An A-ASSOCIATE-RQ (or, with ``kind``, what is built alike) of encoded contexts and user information sub-items."""
    head = struct.pack(">HH", version, 0) + called[:16].ljust(16) + calling[:16].ljust(16) + bytes(32)
    information = item(0x50, item(0x51, struct.pack(">L", 131072)) + item(0x52, b"1.2.3.4") + user)
    return pdu(kind, head + item(0x10, application) + contexts + information)


def storage_request(sop_class: str) -> bytes:
    """A request as a modality makes it: Verification in context 1, then ``sop_class`` in each transfer syntax."""
    contexts = [(1, VERIFICATION, [IMPLICIT])]
    contexts += [(3 + 2 * n, sop_class.encode(), [ts.encode()]) for n, ts in enumerate(TRANSFER_SYNTAXES)]
    return request(b"".join(map(context_item, contexts)))


def context_of(transfer_syntax: str) -> int:
    """The id of the context in which ``storage_request`` proposes a transfer syntax."""
    return 3 + 2 * list(TRANSFER_SYNTAXES).index(transfer_syntax)  # type: ignore[arg-type]  # UIDs are str


PLAIN = context_item((1, VERIFICATION, [IMPLICIT]))


def _noise(rng: Random, most: int) -> bytes:
    return rng.randbytes(rng.randint(0, most))


def _uid(rng: Random) -> bytes:
    odd = (
        b"",
        b"\0",
        b"1..2",
        b"1.2.",
        b"../../etc/passwd",
        b"1." * 40 + b"1",
        b"\xff" * 20,
        b"1.2\0\0",
        b" 1.2 ",
    )
    return rng.choice(
        [*odd, VERIFICATION, IMPLICIT, b"9" * rng.choice([64, 65, 1000, 60000]), _noise(rng, 80)]
    )


def _many_contexts(rng: Random) -> bytes:
    classes = storage_sop_classes()
    count = rng.choice([129, 200, 300])
    syntaxes = [ts.encode() for ts in TRANSFER_SYNTAXES[: rng.randint(1, 11)]]
    made = [(1 + 2 * n, classes[n % len(classes)].encode(), syntaxes) for n in range(count)]
    return request(b"".join(map(context_item, made)))


def _repeated_ids(rng: Random) -> bytes:
    ids = [rng.choice([0, 1, 1, 2, 3, 254, 255]) for _ in range(rng.randint(2, 8))]
    return request(b"".join(context_item((n, VERIFICATION, [IMPLICIT])) for n in ids))


def _odd_context(rng: Random) -> bytes:
    syntaxes = [_uid(rng) for _ in range(rng.randint(0, 3))]
    odd = context_item(
        (rng.choice([0, 1, 2, 3, 255]), _uid(rng), syntaxes), rng.choice([0x20, 0x20, 0x21, 0x22])
    )
    return request(odd + (PLAIN if rng.random() < 0.5 else b""))


def _broken_context(rng: Random) -> bytes:
    body = (
        bytes([1, 0, 0, 0])
        + item(0x30, VERIFICATION, rng.choice(_EXTREMES))
        + item(0x40, IMPLICIT, rng.choice(_EXTREMES))
    )
    return request(item(0x20, body[: rng.randint(0, len(body))], rng.choice([None, *_EXTREMES])))


def _user_information(rng: Random) -> bytes:
    """Sub-items of every type (PS3.7 annex D.3.3), with bodies and lengths that need not fit."""
    count = rng.randint(1, 5)
    kinds = [rng.choice([*range(0x51, 0x5C), 0x00, 0x30, 0x50, 0xFF]) for _ in range(count)]
    return request(
        PLAIN, b"".join(item(k, _sub_item(rng, k), rng.choice([None, None, *_EXTREMES])) for k in kinds)
    )


def _sub_item(rng: Random, kind: int) -> bytes:
    uid = _uid(rng)[:60000]
    of_uid = struct.pack(">H", rng.choice([len(uid), *_EXTREMES]) & 0xFFFF) + uid
    bodies: dict[int, bytes] = {
        0x51: struct.pack(">L", rng.choice(_EXTREMES)),
        0x52: uid,
        0x53: struct.pack(">HH", rng.choice(_EXTREMES) & 0xFFFF, rng.choice(_EXTREMES) & 0xFFFF),
        0x54: of_uid + bytes([rng.choice([0, 1, 2, 255]), rng.choice([0, 1, 2, 255])]),
        0x55: uid[: rng.choice([0, 16, 17, 60000])],
        0x56: of_uid + _noise(rng, 8),
        0x57: of_uid + of_uid + _noise(rng, 8),
        0x58: _identity(rng),
        0x59: _noise(rng, 20),
    }
    return bodies.get(kind, _noise(rng, 40)) if rng.random() < 0.8 else _noise(rng, 200)


def _identity(rng: Random) -> bytes:
    first, second = _noise(rng, 60), _noise(rng, 60)
    lengths = [rng.choice([len(part), *_EXTREMES]) & 0xFFFF for part in (first, second)]
    head = bytes([rng.choice([0, 1, 2, 3, 4, 5, 6, 255]), rng.choice([0, 1, 2])])
    return head + struct.pack(">H", lengths[0]) + first + struct.pack(">H", lengths[1]) + second


def _title(rng: Random) -> bytes:
    return rng.choice(
        [b"", bytes(16), b"\xff" * 16, b"GSCO\0", b"\\" * 16, b"\n" * 16, b"hostile", rng.randbytes(16)]
    )


def mutated(rng: Random, content: bytes) -> bytes:
    """``content`` with bytes flipped, overwritten, inserted, taken away or said twice; also cut."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at, size = rng.randrange(len(changed) + 1), rng.choice([1, 1, 2, 4, 8, 100])
        new = rng.choice(
            [rng.randbytes(size), bytes(size), b"\xff" * size, bytes(changed[at : at + size]) * 2]
        )
        changed[at : at + rng.choice([0, len(new), size])] = new
    return bytes(changed[: rng.randrange(len(changed) + 1)] if rng.random() < 0.15 else changed)


REQUESTS: Mapping[str, Maker] = {
    "bytes changed": lambda rng: mutated(rng, storage_request(rng.choice(storage_sop_classes()))),
    "129 contexts and more": _many_contexts,
    "context ids repeated or even": _repeated_ids,
    "odd UIDs in a context": _odd_context,
    "broken lengths in a context": _broken_context,
    "user information": _user_information,
    "odd titles": lambda rng: request(
        PLAIN, called=rng.choice([CALLED, _title(rng)]), calling=rng.choice([CALLING, _title(rng)])
    ),
    "odd application context": lambda rng: request(PLAIN, application=_uid(rng)[:65535]),
    "other protocol version": lambda rng: request(PLAIN, version=rng.choice(_EXTREMES) & 0xFFFF),
    "no context": lambda _: request(b""),
    "no user information": lambda _: pdu(1, request(PLAIN)[6:74] + item(0x10, _APPLICATION) + PLAIN),
    "items twice": lambda rng: request(PLAIN * rng.randint(2, 5) + item(0x50, b"") * rng.randint(0, 3)),
    "unknown items": lambda rng: request(
        b"".join(item(rng.randrange(256), _noise(rng, 30)) for _ in range(5)) + PLAIN
    ),
    "shorter than its fields": lambda rng: pdu(1, request(PLAIN)[6 : 6 + rng.randint(0, 74)]),
    "length is wrong": lambda rng: pdu(1, request(PLAIN)[6:], rng.choice(_EXTREMES)),
    "long": lambda rng: request(PLAIN, item(0x5F, bytes(65000)) * rng.randint(1, 20)),
}
"""Ways to ask for an association, by name."""

OTHERS: Mapping[str, Maker] = {
    "A-ASSOCIATE-RQ": lambda rng: rng.choice(
        [storage_request("1.2.840.10008.5.1.4.1.1.2"), mutated(rng, request(PLAIN))]
    ),
    "A-ASSOCIATE-AC": lambda rng: rng.choice(
        [request(PLAIN, kind=2), mutated(rng, request(PLAIN, kind=2)), pdu(2, b"")]
    ),
    "A-ASSOCIATE-RJ": lambda rng: pdu(
        3, bytes([0, *(rng.choice([0, 1, 2, 3, 9, 255]) for _ in range(rng.randint(0, 5)))])
    ),
    "A-RELEASE-RQ": lambda rng: rng.choice(
        [RELEASE_RQ, RELEASE_RQ * 3, pdu(5, _noise(rng, 9)), RELEASE_RQ + _noise(rng, 50)]
    ),
    "A-RELEASE-RP": lambda rng: rng.choice([RELEASE_RP, RELEASE_RP * 2, pdu(6, _noise(rng, 9))]),
    "A-ABORT": lambda rng: rng.choice([ABORT, pdu(7, rng.randbytes(4)), pdu(7, _noise(rng, 9)), ABORT * 2]),
    "P-DATA-TF with broken items": lambda rng: pdu(
        4, mutated(rng, fragment(1, _noise(rng, 60), command=rng.random() < 0.5))
    ),
    "P-DATA-TF without items": lambda rng: pdu(4, b"") * rng.randint(1, 50),
    "P-DATA-TF with empty fragments": lambda rng: p_data(
        *[fragment(rng.choice([1, 3]), b"", command=rng.random() < 0.5)] * 30
    ),
    "P-DATA-TF in an unknown context": lambda rng: p_data(
        fragment(rng.choice([0, 2, 99, 255]), _noise(rng, 90), command=True)
    ),
    "P-DATA-TF with odd flags": lambda rng: p_data(
        struct.pack(">LBB", 12, 1, rng.choice([4, 0x80, 0xFF])) + rng.randbytes(10)
    ),
    "PDU that is shorter than it says": lambda rng: pdu(
        rng.randint(1, 7), _noise(rng, 50), rng.choice(_EXTREMES)
    ),
    "PDU of an unknown type": lambda rng: pdu(
        rng.choice([0, 8, 9, 0x41, 255]), _noise(rng, 50), rng.choice([None, *_EXTREMES])
    ),
    "another protocol": lambda rng: rng.choice(
        [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3", b"SSH-2.0-x\r\n", b"\0" * 99]
    ),
    "noise": lambda rng: _noise(rng, 400),
}
"""PDUs that come where nothing or something else is due, by name."""
