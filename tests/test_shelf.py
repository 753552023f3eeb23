"""`gsco-pacs models`: bundles are listed, described and verified, and what is wrong with one is said in a sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from gsco_pacs.adapters.bundle_files import write_sums
from gsco_pacs.adapters.bundle_format import EXPECTED, METADATA, SUMS
from gsco_pacs.adapters.bundle_samples import seal
from gsco_pacs.cli import app
from gsco_pacs.domain.codes import fault_of
from gsco_pacs.domain.findings import Code
from gsco_pacs.training.joining import join_bundles
from gsco_pacs.training.learning import Recipe
from gsco_pacs.training.specialist import TrainingRequest, train_specialist
from tests.made_up_data import write_data


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two members as the commands leave it, with a licence."""
    folder = tmp_path_factory.mktemp("shelf")
    task, manifest = write_data(folder, "multi-class")
    made = []
    for seed in (1, 2):
        request = TrainingRequest(
            task, manifest, folder / str(seed), size=32, recipe=Recipe(epochs=1, batch=8), seed=seed
        )
        made.append(train_specialist(request, lambda *_: None))
    bundle = join_bundles(folder / "made_up", made)
    (bundle / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\n")
    return bundle


@pytest.fixture
def bundle(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "models" / "made_up"))


def models(folder: Path, *words: str) -> Result:
    config = folder / "config.yaml"
    content = {
        "models": ["models"],
        "destinations": {"out": {"kind": "folder", "path": "out"}},
        "routes": [
            {"name": "patterns", "when": {"tag": "Modality", "equals": "DX"}, "specialists": ["made_up"],
             "destinations": ["out"]}
        ],
    }  # fmt: skip
    config.write_text(yaml.safe_dump(content))
    return CliRunner().invoke(app, ["--config", str(config), "models", *words])


def edit(bundle: Path, name: str, **changes: Any) -> None:
    content = json.loads((bundle / name).read_text())
    content["gsco"]["labels"][0].update(changes)
    (bundle / name).write_text(json.dumps(content))
    write_sums(bundle)


def test_a_row_says_members_labels_licence_and_the_routes_that_consult_it(
    bundle: Path, tmp_path: Path
) -> None:
    lines = models(tmp_path, "list").output.splitlines()
    row = next(line for line in lines if "made_up" in line)
    assert "| made_up | 1.0.0 | multi-class: Made-up patterns | 2 | 3 | Apache License Version 2.0 |" in row
    assert row.endswith("| patterns |")
    shipped = next(line for line in lines if "cxr_findings" in line)
    assert shipped.endswith("| none |")


def test_a_description_holds_the_contract_the_codes_the_thresholds_and_the_figures(
    bundle: Path, tmp_path: Path
) -> None:
    told = models(tmp_path, "describe", "made_up").output
    assert "modality: DX" in told
    assert "112033 DCM Abnormal opacity" in told
    assert "Not measured" in told
    whole = models(tmp_path, "describe", "cxr_findings").output
    assert "Research only" in whole
    assert "macro AUC 0." in whole
    assert "Digital X-Ray Image Storage - For Presentation (1.2.840.10008.5.1.4.1.1.1.1)" in whole


def test_a_sealed_bundle_is_right_and_so_is_every_bundle_that_is_shipped(
    bundle: Path, tmp_path: Path
) -> None:
    ended = models(tmp_path, "verify")
    assert ended.exit_code == 0, ended.output
    assert "made_up 1.0.0: checksums, licence, codes and the sample's answers are right." in ended.output
    assert "cxr_findings" in ended.output


def verify(bundle: Path, folder: Path) -> str:
    ended = models(folder, "verify", str(bundle))
    assert ended.exit_code == 1, ended.output
    return ended.output


def test_each_fault_is_named(bundle: Path, tmp_path: Path) -> None:
    (bundle / "LICENSE").unlink()
    assert "made_up: It has no LICENSE file" in verify(bundle, tmp_path)
    (bundle / "LICENSE").write_text("MIT License\n")
    edit(bundle, METADATA, code={"value": "46621008", "scheme": "SCT", "meaning": "Atelectasis"})
    assert "wrong check digit" in verify(bundle, tmp_path)
    edit(
        bundle, METADATA, code={"value": "46621007", "scheme": "SCT", "meaning": "Atelectasis"}, intercept=3.0
    )
    said = verify(bundle, tmp_path)
    assert "made_up.1 says Bright" in said
    assert "made_up.2" not in said
    (bundle / EXPECTED).unlink()
    write_sums(bundle)
    assert "write one with `gsco-pacs models seal`" in verify(bundle, tmp_path)
    assert models(tmp_path, "seal", str(bundle)).exit_code == 0
    assert models(tmp_path, "verify", str(bundle)).exit_code == 0


def test_changed_and_missing_files_are_found_before_anything_is_loaded(bundle: Path, tmp_path: Path) -> None:
    (bundle / "configs/inference.2.json").write_text("{}")
    (bundle / "samples/sample.png").unlink()
    said = verify(bundle, tmp_path)
    assert "inference.2.json does not match its checksum" in said
    assert "samples/sample.png" in said
    (bundle / METADATA).write_text("[]")
    assert "not made of keys and values" in verify(bundle, tmp_path)


def test_sealing_changes_neither_the_networks_nor_the_samples_that_are_there(bundle: Path) -> None:
    before = (bundle / SUMS).read_text()
    assert (seal(bundle) / SUMS).read_text() == before


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (Code("46621007", "SCT", "Atelectasis"), ""),
        (Code("RID28509", "RADLEX", "thickening"), ""),
        (Code("x", "99LOCAL", "a department's own"), ""),
        (Code("46621070", "SCT", "Atelectasis"), "check digit"),
        (Code("T-D0300", "SCT", "Chest"), "form"),
        (Code("28509", "RADLEX", "thickening"), "form"),
        (Code("111286", "DCM", ""), "complete"),
        (Code("111286", "DCM", "x" * 65), "longer"),
    ],
)
def test_a_code_that_cannot_be_right_is_said_to_be_wrong(code: Code, fault: str) -> None:
    assert fault in fault_of(code)
    assert bool(fault) == bool(fault_of(code))
