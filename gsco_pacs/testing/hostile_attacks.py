"""Every attack by its number: the same number and seed make the same bytes, so that whatever fails can be played again."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from random import Random

from gsco_pacs.domain.part10 import part10_head
from gsco_pacs.testing.hostile_commands import c_echo, c_store, encoded, hostile_command, message
from gsco_pacs.testing.hostile_data_sets import Seed, hostile_data_set, seeds
from gsco_pacs.testing.hostile_pdus import (
    ABORT,
    OTHERS,
    PLAIN,
    RELEASE_RQ,
    REQUESTS,
    context_of,
    fragment,
    p_data,
    request,
    storage_request,
)
from gsco_pacs.testing.hostile_peer import Attack, Ending, Hear, Say

BLOCK = 25
"""So many attacks in a row are of one family, and may share an association."""

_ROUND = ("data set",) * 12 + ("command",) * 3 + ("PDU",) * 3 + ("association",) * 2 + ("slow",)
"""The families of the blocks, again and again."""

_BURST = 20
"""Connections of a burst; well below what a node admits."""


def family_of(number: int) -> str:
    """The family of the attack of this number."""
    return _ROUND[number // BLOCK % len(_ROUND)]


class Attacks:
    """All attacks of a campaign."""

    def __init__(self, seed: int, folders: Sequence[Path]) -> None:
        self._seed = seed
        self._folders = folders

    def __getitem__(self, number: int) -> Attack:
        """The attack of this number."""
        rng = Random(f"{self._seed} {number}")
        makers: Mapping[str, Callable[[Random, int], Attack]] = {
            "data set": self._data_set,
            "command": self._command,
            "PDU": self._pdu,
            "association": _association,
            "slow": self._slow,
        }
        return makers[family_of(number)](rng, number)

    @cached_property
    def _seeds(self) -> list[Seed]:
        return seeds(self._folders)

    def _seed_of(self, number: int) -> Seed:
        # One block keeps to one seed, so that its association can stay open.
        block = number // BLOCK
        return self._seeds[block % len(self._seeds)].numbered(self._seed * 10**9 + number)

    def _data_set(self, rng: Random, number: int) -> Attack:
        seed = self._seed_of(number)
        what, data_set = hostile_data_set(rng, seed, rng.choice(self._seeds))
        command = encoded(c_store(seed.sop_class_uid, seed.sop_instance_uid, 1 + number % 60000))
        said = message(context_of(seed.transfer_syntax_uid), command, data_set, rng.choice([1000, 65536]))
        return Attack(
            number, "data set", f"{seed.name}: {what}", storage_request(seed.sop_class_uid),
            (Say(said), Hear()), Ending.GO_ON, sha256=_hash(seed, data_set),
        )  # fmt: skip

    def _command(self, rng: Random, number: int) -> Attack:
        seed = self._seed_of(number)
        store = rng.random() < 0.7
        elements = c_store(seed.sop_class_uid, seed.sop_instance_uid) if store else c_echo()
        what, command = hostile_command(rng, elements)
        context_id = context_of(seed.transfer_syntax_uid) if store else 1
        context_id = rng.choice([context_id] * 8 + [0, 2, 255])
        data_set = (
            rng.choice([seed.data_set, seed.data_set, b"", None]) if store else rng.choice([None, None, b"x"])
        )
        said = message(context_id, command, data_set, rng.choice([50, 65536, 65536])) * rng.choice(
            [1, 1, 1, 5]
        )
        return Attack(number, "command", what, storage_request(seed.sop_class_uid), (Say(said),))

    def _pdu(self, rng: Random, number: int) -> Attack:
        seed = self._seed_of(number)
        whole = message(
            context_of(seed.transfer_syntax_uid),
            encoded(c_store(seed.sop_class_uid, seed.sop_instance_uid)),
            seed.data_set,
            500,
        )
        command, data_set = whole[: whole.index(b"\4\0", 4)], whole[whole.index(b"\4\0", 4) :]
        opening = storage_request(seed.sop_class_uid)
        states: Mapping[str, tuple[bytes, bytes]] = {
            "before the association": (b"", b""),
            "before its answer": (b"", opening),
            "after a rejection": (b"", request(PLAIN, called=b"SOMEBODY")),
            "in the association": (opening, b""),
            "between command and data set": (opening, command),
            "within the data set": (opening, command + data_set[: rng.randrange(len(data_set))]),
            "after an object": (opening, whole),
            "after the release": (opening, RELEASE_RQ),
            "after an abort": (opening, ABORT),
        }
        when, (first, before) = rng.choice(list(states.items()))
        name = rng.choice(list(OTHERS))
        said = before + b"".join(OTHERS[name](rng) for _ in range(rng.choice([1, 1, 1, 3])))
        said += rng.choice([b"", b"", message(1, encoded(c_echo()), None), whole, RELEASE_RQ])
        ending = rng.choice([Ending.SHUT, Ending.SHUT, Ending.SHUT, Ending.LEAVE, Ending.RESET])
        return Attack(number, "PDU", f"{name} {when}", first, (Say(said),), ending)

    def _slow(self, rng: Random, number: int) -> Attack:
        seed = self._seed_of(number)
        opening = storage_request(seed.sop_class_uid)
        command = encoded(c_store(seed.sop_class_uid, seed.sop_instance_uid))
        whole = message(context_of(seed.transfer_syntax_uid), command, seed.data_set, 2000)
        echo = request(PLAIN)
        cut = whole[: rng.randrange(1, len(whole))]
        gone = rng.choice([Ending.LEAVE, Ending.RESET])
        cut_pdu = p_data(fragment(1, bytes(50), command=True))[: rng.randint(6, 50)]
        cut_echo = echo[: rng.randrange(1, len(echo))]
        ways: Mapping[str, tuple[bytes, tuple[Say | Hear, ...], Ending, int]] = {
            "a byte at a time": (
                b"",
                (Say(echo, 1, 0.001), Hear(), Say(RELEASE_RQ, 1, 0.01)),
                Ending.SHUT,
                1,
            ),
            "an object in small pieces": (
                opening,
                (Say(whole, max(100, len(whole) // 100), 0.005), Hear()),
                Ending.SHUT,
                1,
            ),
            "a stall within an object": (opening, (Say(cut),), Ending.STALL, 1),
            "a stall within a PDU": (opening, (Say(cut_pdu),), Ending.STALL, 1),
            "silence": (opening, (), Ending.STALL, 1),
            "gone within an object": (opening, (Say(cut),), gone, 1),
            "a burst of requests": (b"", (Say(echo),), Ending.SHUT, _BURST),
            "a burst of silent connections": (b"", (), Ending.SHUT, _BURST),
            "a burst that is gone": (b"", (Say(cut_echo),), Ending.RESET, _BURST),
        }
        name = rng.choice(list(ways))
        first, steps, ending, connections = ways[name]
        return Attack(number, "slow", name, first, steps, ending, connections, _hash(seed, seed.data_set))


def _association(rng: Random, number: int) -> Attack:
    name = rng.choice(list(REQUESTS))
    more = rng.choice([b"", b"", message(1, encoded(c_echo()), None), RELEASE_RQ, ABORT])
    return Attack(number, "association", name, b"", (Say(REQUESTS[name](rng) + more),))


def _hash(seed: Seed, data_set: bytes) -> str:
    head = part10_head(seed.sop_class_uid, seed.sop_instance_uid, seed.transfer_syntax_uid)
    return hashlib.sha256(head + data_set).hexdigest()
