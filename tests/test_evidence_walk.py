"""What a specialist saw goes all the way: a capture and a parametric map leave a running node beside the coded SR that names them."""

import json
from pathlib import Path

import numpy as np
import yaml
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ParametricMapStorage, SecondaryCaptureImageStorage

from gsco_pacs.adapters.bundle_files import write_sums
from gsco_pacs.adapters.bundle_format import METADATA
from gsco_pacs.config import shipped
from gsco_pacs.domain.findings import ObjectKind
from gsco_pacs.domain.job import Stage, State
from gsco_pacs.testing.pacs import LoopbackPacs
from gsco_pacs.testing.synthetic import DEFAULT_SEED, make_synthetic_study
from tests.running_node import Node
from tests.test_walk import dataset, dimse


def test_a_capture_and_a_parametric_map_are_delivered_and_the_coded_report_refers_to_them(
    tmp_path: Path, loopback_pacs: LoopbackPacs
) -> None:
    image = tmp_path / "chest.dcm"
    source = make_synthetic_study(DEFAULT_SEED, 512)
    source.save_as(image, enforce_file_format=True)
    routes = yaml.safe_load(shipped("config.yaml").read_text())["routes"]
    chest = next(route for route in routes if route["name"] == "chest-radiograph")
    everything = {"objects": [kind.value for kind in ObjectKind]}  # maps are not sent by default
    results = {name: settings | everything for name, settings in dimse(loopback_pacs).items()}
    node = Node(tmp_path, destinations=results, routes=[chest | {"saliency": "capture+map"}])
    hold_something_present(tmp_path / "bundles" / "cxr_findings")
    with node.running():
        assert [sent.status for sent in node.send(image)] == [0]
        history = node.settled(str(source.StudyInstanceUID))
    assert history.revisions[0].job.state == State.DELIVERED, history.revisions[0].job.reason
    arrived = {str(arrival.sop_instance_uid): dataset(arrival) for arrival in loopback_pacs.arrivals}
    captures = of_class(arrived, SecondaryCaptureImageStorage)
    maps = of_class(arrived, ParametricMapStorage)
    (coded,) = of_class(arrived, Comprehensive3DSRStorage).values()
    assert captures
    assert maps
    for made in (*captures.values(), *maps.values()):
        assert (made.StudyInstanceUID, made.PatientID) == (source.StudyInstanceUID, source.PatientID)
        assert str(source.SOPInstanceUID) in referenced(made)
    for capture in captures.values():
        assert len(capture.PixelData) == 3 * capture.Rows * capture.Columns
        assert capture.BurnedInAnnotation == "YES"
    for made in maps.values():
        values = np.frombuffer(made.FloatPixelData, "<f4")
        assert values.size == made.Rows * made.Columns
        assert 0 <= values.min() < values.max() <= 1
    assert {*captures, *maps} <= referenced(coded)
    listed = history.revisions[0].products[Stage.CONSULT]["evidence"]
    assert {each["sop_instance_uid"] for each in listed} == {*captures, *maps}


def hold_something_present(bundle: Path) -> None:
    """Lower one threshold: a synthetic radiograph shows nothing that the specialist holds present."""
    metadata = json.loads((bundle / METADATA).read_text())
    labels = {entry["label"]: entry for entry in metadata["gsco"]["labels"]}
    labels["Cardiomegaly"] |= {"absent_below": 0.0, "present_from": 0.0001}
    (bundle / METADATA).write_text(json.dumps(metadata))
    write_sums(bundle)


def of_class(arrived: dict[str, Dataset], sop_class: str) -> dict[str, Dataset]:
    return {uid: ds for uid, ds in arrived.items() if ds.SOPClassUID == sop_class}


def referenced(ds: Dataset) -> set[str]:
    """Every instance that ``ds`` refers to anywhere."""
    return {str(element.value) for element in ds.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
