"""DCMTK's small archive, dcmqrscp, in a process of a test's own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.testing.private_process import listens, program, running

_CONFIGURATION = """
NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 16
HostTable BEGIN
node = ({node}, 127.0.0.1, {node_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQRSCP {folder} RW (100, 1024mb) ANY
AETable END
"""


@dataclass(frozen=True)
class Dcmqrscp:
    """An archive that takes everything from everybody and moves to one AE title."""

    ae_title: str
    port: int


@contextmanager
def private_dcmqrscp(node: str, node_port: int) -> Iterator[Dcmqrscp]:
    """A fresh dcmqrscp that knows the AE title ``node`` at ``node_port`` of loopback."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="gsco-pacs-") as name:
        folder = Path(name)
        images = folder / "images"
        images.mkdir()
        configuration = folder / "dcmqrscp.cfg"
        configuration.write_text(
            _CONFIGURATION.format(port=port, node=node, node_port=node_port, folder=images)
        )
        serve = [program("dcmqrscp", "dcmtk"), "--config", str(configuration)]
        # Without TCP_NODELAY every message waits 40 ms.
        with running(serve, folder, lambda: listens(port), environment={"TCP_NODELAY": "1"}):
            yield Dcmqrscp("DCMQRSCP", port)
