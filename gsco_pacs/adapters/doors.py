"""What the processes of one receiver share: the sockets that they listen on, and how many associations each has.

One socket that all of them accept from gives a connection to whoever is free; SO_REUSEPORT would choose by a hash of the
addresses, busy or not.
"""

import socket
import time
from mmap import mmap
from struct import Struct

from gsco_pacs.domain.errors import ConfigError

_COUNTS = Struct("LL")
_BACKLOG = 128
_COURTESY_SECONDS = 0.003


class Doors:
    """Made before the processes are forked; each takes a seat."""

    def __init__(self, processes: int = 1) -> None:
        self._counts = mmap(-1, processes * _COUNTS.size)
        self._sockets: dict[tuple[str, int], socket.socket] = {}

    def open(self, host: str, port: int) -> None:
        """Listen for all processes; ConfigError if the address can't be used."""
        self._sockets[host, port] = _listening(host, port)

    def door(self, host: str, port: int) -> socket.socket:
        """The listening socket, for one process to close; a new one if it is not open yet."""
        shared = self._sockets.get((host, port))
        return shared.dup() if shared else _listening(host, port)

    def write(self, process: int, connections: int, associations: int) -> None:
        """Note what ``process`` has."""
        _COUNTS.pack_into(self._counts, process * _COUNTS.size, connections, associations)

    def read(self) -> list[tuple[int, int]]:
        """Connections and established associations of each process."""
        return list(_COUNTS.iter_unpack(self._counts[:]))


class Seat:
    """One process's view of the doors."""

    def __init__(self, doors: Doors, process: int = 0) -> None:
        self._doors = doors
        self._process = process
        self.door = doors.door
        self.count(0, 0)

    def count(self, connections: int, associations: int) -> None:
        """Tell the others how much this process has to do."""
        self._doors.write(self._process, connections, associations)

    def associations_of_others(self) -> int:
        """How many established associations the other processes have together."""
        return sum(count for process, (_, count) in enumerate(self._doors.read()) if process != self._process)

    def be_courteous(self) -> None:
        """Leave a new connection for a moment to a process with fewer of them."""
        connections = [count for count, _ in self._doors.read()]
        if connections[self._process] > min(connections):
            time.sleep(_COURTESY_SECONDS)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.socket(family, kind)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(_BACKLOG)
    except OSError as error:
        raise ConfigError(f"receiver: can't listen on {host} port {port}: {error.strerror}.") from error
    door.settimeout(0)  # another process may be quicker to accept
    return door
