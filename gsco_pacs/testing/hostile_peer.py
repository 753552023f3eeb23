"""A peer that does everything wrong: plays scripted attacks on a node over a raw socket and notes how each one ended."""

import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

_HEAD = struct.Struct(">BxL")
_ELEMENT = struct.Struct("<HHL")
_ASSOCIATE_RJ, _P_DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = 3, 4, 5, 6, 7
_C_STORE_RSP = 0x8001
_PAUSE_SECONDS = 0.2
"""How long a script waits where the node need not answer."""


@dataclass(frozen=True)
class Say:
    """Send ``content``, ``piece`` bytes at a time (0: all at once) with ``pause`` seconds between the pieces."""

    content: bytes
    piece: int = 0
    pause: float = 0.0


@dataclass(frozen=True)
class Hear:
    """Wait for one PDU; without ``needed``, only for a moment."""

    needed: bool = True


class Ending(StrEnum):
    """What the peer does when its script is over."""

    GO_ON = "go on"
    """The association stays open for the next attack that opens in the same way."""
    SHUT = "shut"
    """It says nothing more, and the node must hang up at once."""
    LEAVE = "leave"
    """It is gone without a word."""
    RESET = "reset"
    """It is gone with a TCP reset."""
    STALL = "stall"
    """It neither speaks nor hangs up: the node must, by its idle time."""


@dataclass(frozen=True)
class Attack:
    """One hostile input: the bytes in their order, and what the peer does in the end."""

    number: int
    family: str
    what: str
    opening: bytes
    """What stands in the place of the A-ASSOCIATE-RQ; the peer waits for the answer to it."""
    steps: tuple[Say | Hear, ...] = ()
    ending: Ending = Ending.SHUT
    connections: int = 1
    """So many connections are opened at the same time and do the same."""
    sha256: str = ""
    """Hash of the file that must be there if the object is acknowledged; empty if the attack changes what arrives."""


@dataclass(frozen=True)
class Outcome:
    """How an attack ended."""

    attack: Attack
    ended: str
    """`stored`, `refused` (a failure status), `rejected`, `aborted`, `released`, `hung up`, `answered` or `left`."""
    acknowledged: tuple[str, ...]
    """SOP Instance UIDs that were answered with 0x0000."""
    seconds: float
    fault: str = ""
    """What the node did that it must never do."""


class HostilePeer:
    """Plays one attack after the other at a node on loopback."""

    def __init__(self, port: int, patience: float) -> None:
        self._port = port
        self._patience = patience
        """Seconds that the node may take to answer or to hang up."""
        self._open: tuple[bytes, socket.socket] | None = None

    def play(self, attack: Attack) -> Outcome:
        """Play the attack to its end; the outcome names a fault if the node neither answers nor hangs up in time."""
        began = time.monotonic()
        heard: list[bytes] = []
        try:
            connections = [self._opened(attack, heard) for _ in range(attack.connections)]
            for connection in connections:
                self._act(attack, connection, heard)
            for connection in connections:
                self._end(attack, connection, heard)
        except TimeoutError:
            self.close()
            return self._outcome(attack, heard, began, f"no answer and no end within {self._patience:g} s")
        except ConnectionRefusedError:
            return self._outcome(attack, heard, began, "the node does not listen")
        except OSError:  # the node has hung up, which is its right
            self._open = None
        return self._outcome(attack, heard, began)

    def close(self) -> None:
        """Hang up."""
        if self._open:
            self._open[1].close()
            self._open = None

    def _opened(self, attack: Attack, heard: list[bytes]) -> socket.socket:
        if self._open and self._open[0] == attack.opening and attack.connections == 1:
            return self._open[1]
        self.close()
        connection = socket.create_connection(("127.0.0.1", self._port), self._patience)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if attack.connections == 1:
            self._open = (attack.opening, connection)
        if attack.opening:
            connection.sendall(attack.opening)
            self._hear(connection, heard, Hear(needed=attack.ending is Ending.GO_ON))
        return connection

    def _act(self, attack: Attack, connection: socket.socket, heard: list[bytes]) -> None:
        for step in attack.steps:
            if isinstance(step, Hear):
                self._hear(connection, heard, step)
                continue
            for start in range(0, len(step.content), step.piece or len(step.content) or 1):
                connection.sendall(step.content[start : start + (step.piece or len(step.content))])
                time.sleep(step.pause)

    def _end(self, attack: Attack, connection: socket.socket, heard: list[bytes]) -> None:
        if attack.ending is Ending.GO_ON:
            if heard[-1][0] == _ABORT:
                self.close()
            return
        self._open = None
        with connection:
            if attack.ending is Ending.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if attack.ending is Ending.SHUT:
                connection.shutdown(socket.SHUT_WR)
            if attack.ending in (Ending.SHUT, Ending.STALL):
                while pdu := _next_pdu(connection):
                    heard.append(pdu)

    def _hear(self, connection: socket.socket, heard: list[bytes], step: Hear) -> None:
        connection.settimeout(self._patience if step.needed else _PAUSE_SECONDS)
        try:
            pdu = _next_pdu(connection)
        except TimeoutError:
            if step.needed:
                raise
            return
        finally:
            connection.settimeout(self._patience)
        if not pdu:
            raise ConnectionResetError
        heard.append(pdu)

    def _outcome(self, attack: Attack, heard: list[bytes], began: float, fault: str = "") -> Outcome:
        answers = [answer for pdu in heard for answer in _store_responses(pdu)]
        if not self._open:
            self.close()
        acknowledged = tuple(uid for uid, status in answers if status == 0)
        return Outcome(attack, _ended(heard, answers), acknowledged, time.monotonic() - began, fault)


def _next_pdu(connection: socket.socket) -> bytes:
    """One PDU; empty if the node has hung up."""
    head = _exactly(connection, _HEAD.size)
    if len(head) < _HEAD.size:
        return b""
    return head + _exactly(connection, _HEAD.unpack(head)[1])


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    with suppress(ConnectionResetError):
        while len(content) < size and (more := connection.recv(size - len(content))):
            content += more
    return content


def _ended(heard: list[bytes], answers: list[tuple[str, int]]) -> str:
    if answers:
        return "stored" if answers[-1][1] == 0 else "refused"
    last = heard[-1][0] if heard else 0
    kinds = {_ASSOCIATE_RJ: "rejected", _P_DATA: "answered", _RELEASE_RP: "released", _ABORT: "aborted"}
    return kinds.get(last, "hung up")


def _store_responses(pdu: bytes) -> list[tuple[str, int]]:
    """SOP Instance UID and status of the C-STORE response in a P-DATA-TF PDU; the node's commands fill one each."""
    if pdu[0] != _P_DATA:
        return []
    command = _command(pdu[12:])
    if command.get(0x0100) != struct.pack("<H", _C_STORE_RSP):
        return []
    (status,) = struct.unpack("<H", command[0x0900])
    return [(command.get(0x1000, b"").decode("latin-1").rstrip("\0 "), status)]


def _command(encoded: bytes) -> dict[int, bytes]:
    """Element number -> value of a command set (Implicit VR Little Endian)."""
    elements, position = {}, 0
    while position + _ELEMENT.size <= len(encoded):
        _, element, length = _ELEMENT.unpack_from(encoded, position)
        position += _ELEMENT.size + length
        elements[element] = encoded[position - length : position]
    return elements
