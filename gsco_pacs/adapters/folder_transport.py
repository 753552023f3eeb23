"""The broker without a server: kombu's folder of messages, with messages that appear whole."""

import os
import uuid
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps, loads

NAME = "wholefolder"


class Channel(filesystem.Channel):
    """Writes a message under a hidden name and renames it; kombu's own may be read while it is still being written."""

    def _put(  # type: ignore[override]  # the two base classes disagree about names
        self, queue: str, payload: Any, **_options: Any
    ) -> None:
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        folder = Path(self.data_folder_out)
        unfinished = folder / f".{name}.part"
        unfinished.write_text(dumps(payload), encoding="utf-8")
        unfinished.rename(folder / name)

    def _get(self, queue: str, timeout: Any = None) -> Any:  # noqa: ARG002 - kombu's signature
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):
            if name.endswith(f".{queue}.msg") and not name.startswith("."):
                taken = folder / f".{name}.{os.getpid()}.taken"
                try:
                    (folder / name).rename(taken)
                except FileNotFoundError:
                    continue  # another worker was quicker
                content = taken.read_bytes()
                taken.unlink()
                if content:  # empty after a power cut: the housekeeper sends it again
                    return loads(content)
        raise Empty


class Transport(filesystem.Transport):
    """kombu's filesystem transport with the channel above."""

    Channel = Channel


def register() -> str:
    """Make the transport known to kombu and return its URL."""
    TRANSPORT_ALIASES[NAME] = f"{__name__}:Transport"
    return f"{NAME}://localhost"
