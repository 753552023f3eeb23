"""The recipes of docs/recipes.md, as they stand there: a study goes to a PACS, and its drafts are found in the PACS."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from subprocess import run
from typing import Any

import httpx
import pytest
import yaml
from pynetdicom import build_context

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.tls import tls_arguments
from gsco_pacs.adapters.transfer_syntaxes import VERIFICATION
from gsco_pacs.domain.errors import PeerUnavailableError
from gsco_pacs.settings.tls import ClientTls
from gsco_pacs.testing.certificates import Authority
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.testing.private_process import listens, program, running
from gsco_pacs.testing.servers import OrthancServer, private_orthanc
from tests.running_node import Node

PAGE = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text()


def recipe(language: str, contains: str) -> str:
    """The one script of the page in this language that contains the words."""
    (found,) = (
        block
        for block in re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
        if contains in block
    )
    return str(found)


class Ward:
    """Three Orthancs and a dcmqrscp that follow the recipes, and a node that is brought up later than they are."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "node.log"
        gsco = {"gsco": ("GSCO", "127.0.0.1", self.port)}
        (folder / "to_gsco.lua").write_text(recipe("lua", "OnStableSeries"))
        script = recipe("python", "RegisterOnChangeCallback")
        (folder / "to_gsco.py").write_text(script.replace("AGAIN_SECONDS = 30", "AGAIN_SECONDS = 1"))
        self.lua = stack.enter_context(
            private_orthanc(gsco, LuaScripts=[str(folder / "to_gsco.lua")], StableAge=1)
        )
        self.python = stack.enter_context(
            private_orthanc(
                gsco,
                ["orthanc-python"],
                PythonScript=str(folder / "to_gsco.py"),
                StableAge=1,
                OverwriteInstances=True,
            )
        )
        self.tls_port = free_port()
        self._issue(folder / "tls")
        self.tls = stack.enter_context(private_orthanc(**self._orthanc_over_tls()))
        self.archive = free_port()
        configuration = (
            recipe("text", "AETable BEGIN")
            .replace("4242", str(self.archive))
            .replace("11112", str(self.port))
            .replace("/var/lib/dcmqrscp", str(folder / "archive"))
        )
        (folder / "archive").mkdir()
        (folder / "dcmqrscp.cfg").write_text(configuration)
        serve = [program("dcmqrscp", "dcmtk"), "--config", str(folder / "dcmqrscp.cfg")]
        stack.enter_context(
            running(serve, folder, lambda: listens(self.archive), environment={"TCP_NODELAY": "1"})
        )

    def _issue(self, folder: Path) -> None:
        """The certificates that the page names; the node's and Orthanc's for loopback, too, where both are."""
        authority = Authority(folder)
        authority.certificate.rename(folder / "authority.pem")
        authority.certificate = folder / "authority.pem"
        for name in ("node", "orthanc"):
            authority.issue(name, f"DNS:{name}.hospital,IP:127.0.0.1")

    def _orthanc_over_tls(self) -> dict[str, Any]:
        """The page's settings, with another AE title than the other Orthancs', and a modality as which it calls as CT1."""
        page = recipe("json", "DicomTlsEnabled").replace("/etc/orthanc/tls", str(self.folder / "tls"))
        settings: dict[str, Any] = json.loads(f"{{{page.replace('2762', str(self.tls_port))}}}")
        gsco = settings["DicomModalities"]["gsco"]
        settings["DicomModalities"]["pretended"] = gsco | {"LocalAet": "CT1"}
        lua = [str(self.folder / "to_gsco.lua")]
        return settings | {"DicomAet": "ORTHANC_TLS", "LuaScripts": lua, "StableAge": 1}

    def _node_over_tls(self) -> dict[str, Any]:
        page = recipe("yaml", "ae_title: ORTHANC, addresses: [127.0.0.1], certificates")
        for here, there in (
            ("ORTHANC", "ORTHANC_TLS"),
            ("2762", str(self.tls_port)),
            ("4242", str(self.tls.dicom_port)),
            ("tls/", f"{self.folder}/tls/"),
        ):
            page = page.replace(here, there)
        settings: dict[str, Any] = yaml.safe_load(page)
        return settings

    def node(self) -> Node:
        """The node with the lines that the page asks for."""
        tls = self._node_over_tls()
        receiver = {"ae_title": "GSCO", "host": "127.0.0.1", "port": self.port, "reserve_bytes": 0}
        receiver["tls"] = tls["receiver"]["tls"]
        senders = [
            {"ae_title": title, "addresses": ["127.0.0.1"]} for title in ("ORTHANC", "GSCO_SEND", "ARCHIVE")
        ]
        senders += tls["receiver"]["senders"]
        senders += [{"ae_title": "CT1", "certificates": ["ct1.hospital"]}]
        places = {"lua": self.lua.dicom_port, "python": self.python.dicom_port}
        destinations: dict[str, Any] = {name: _destination("ORTHANC", port) for name, port in places.items()}
        destinations["pacs"] = _destination("ARCHIVE", self.archive)
        destinations["tls"] = tls["destinations"]["pacs"]
        (route,) = Node(self.folder / "plain").config.routes
        routes = [route.model_dump(mode="json", by_alias=True) | {"destinations": list(destinations)}]
        return Node(
            self.folder / "node", receiver=receiver | {"senders": senders}, destinations=destinations, routes=routes
        )  # fmt: skip


def _destination(ae_title: str, port: int) -> dict[str, Any]:
    return {
        "kind": "dimse",
        "ae_title": ae_title,
        "host": "127.0.0.1",
        "port": port,
        "confirm": {"by": "query"},
    }


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def said(log: Path) -> str:
    """The end of a log, for a failure's message."""
    return log.read_text()[-3000:] if log.is_file() else "no log"


def study(name: str) -> tuple[str, bytes]:
    """Study Instance UID and file of a chest radiograph."""
    ds = make_dx(320, 280, study=name)
    return str(ds.StudyInstanceUID), encoded(ds)


def store(orthanc: OrthancServer, file: bytes) -> None:
    httpx.post(f"{orthanc.url}/instances", content=file).raise_for_status()


def drafts(orthanc: OrthancServer, uid: str) -> int:
    """How many SRs are in the study at Orthanc."""
    return len(orthanc.find("Series", {"StudyInstanceUID": uid, "Modality": "SR"}))


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Everything is up; the study of the Python recipe was stored while the node was still down."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("ward")
        for name in ("plain", "node"):
            (folder / name).mkdir()
        ward = Ward(folder, stack)
        store(ward.python, study("python")[1])
        failed = within(
            30, lambda: any(_job(ward.python, key)["State"] == "Failure" for key in ward.python.get("/jobs"))
        )
        assert failed, "Orthanc was to find nobody"
        node = ward.node()
        stack.enter_context(node.running())
        ward.log = node.log
        yield ward


def _job(orthanc: OrthancServer, key: str) -> Any:
    return orthanc.get(f"/jobs/{key}")


def test_orthancs_lua_script_sends_a_study_and_its_drafts_come_back(ward: Ward) -> None:
    uid, file = study("lua")
    store(ward.lua, file)
    assert within(60, lambda: drafts(ward.lua, uid) == 2), said(ward.log)


def test_over_tls_orthanc_sends_a_study_and_its_drafts_come_back(ward: Ward) -> None:
    uid, file = study("tls")
    store(ward.tls, file)
    assert within(60, lambda: drafts(ward.tls, uid) == 2), said(ward.log)


def test_orthanc_takes_nobody_without_a_certificate(ward: Ward) -> None:
    believed = ClientTls(authorities=ward.folder / "tls" / "authority.pem")
    arguments = partial(tls_arguments, believed, "127.0.0.1", "tls", Path.absolute)
    for tls, words in ((arguments, "asks for a certificate"), (None, "does not answer")):
        peer = CalledPeer("ORTHANC_TLS", "127.0.0.1", ward.tls.dicom_port, "GSCO", 5, tls)
        with (
            pytest.raises(PeerUnavailableError, match=words),
            peer.association([build_context(VERIFICATION)], ""),
        ):
            pass


def test_orthanc_is_refused_under_an_ae_title_that_is_bound_to_another_certificate(ward: Ward) -> None:
    for modality, taken in (("gsco", True), ("pretended", False)):
        answer = httpx.post(f"{ward.tls.url}/modalities/{modality}/echo", json={}, timeout=30)
        assert answer.is_success == taken, answer.text
    assert within(10, lambda: "binds it to a certificate" in ward.log.read_text()), said(ward.log)
    assert "'CT1'" in ward.log.read_text()


def test_orthancs_python_script_tries_again_until_the_node_is_there(ward: Ward) -> None:
    assert within(120, lambda: drafts(ward.python, study("python")[0]) == 2)


def test_the_drafts_lie_in_dcmqrscp_too_and_can_be_asked_for(ward: Ward) -> None:
    uid, file = study("dcmqrscp")
    (ward.folder / "one.dcm").write_bytes(file)
    send = [program("storescu", "dcmtk"), "-aet", "GSCO_SEND", "-aec", "GSCO", "127.0.0.1", str(ward.port)]
    run([*send, str(ward.folder / "one.dcm")], check=True)

    def found() -> int:
        find = [
            program("findscu", "dcmtk"),
            "-S",
            "-aet",
            "GSCO",
            "-aec",
            "ARCHIVE",
            "-k",
            "QueryRetrieveLevel=SERIES",
        ]
        keys = ["-k", f"StudyInstanceUID={uid}", "-k", "Modality=SR", "-k", "SeriesInstanceUID"]
        answer = run(
            [*find, *keys, "127.0.0.1", str(ward.archive)], capture_output=True, text=True, check=True
        )
        return len(re.findall(r"\(0008,0060\) CS \[SR\]", answer.stdout + answer.stderr))

    assert within(120, lambda: found() >= 2)


def test_what_comes_back_makes_no_further_drafts(ward: Ward) -> None:
    uid, file = study("loop")
    store(ward.lua, file)
    assert within(120, lambda: drafts(ward.lua, uid) == 2)
    time.sleep(3)  # longer than StableAge: the drafts' own series have become stable
    assert drafts(ward.lua, uid) == 2
