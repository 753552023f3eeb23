"""What is installed works outside the checkout: migrations, templates, prompts, configuration and bundles are found."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import metadata, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as `pip install .` lays it down, in a folder of its own (its dependencies come from here)."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.rmtree(PROJECT / "build", ignore_errors=True)  # what an earlier build left would be installed too
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(PROJECT)], check=True, cwd=folder)
    return folder


def run(installed: Path, cwd: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "gsco_pacs", *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_runs_where_there_is_no_checkout(installed: Path, tmp_path: Path) -> None:
    assert "cxr_findings" in run(installed, tmp_path, "check")
    assert "up to date" in run(installed, tmp_path, "migrate")
    assert "delivered   0" in run(installed, tmp_path, "status")
    assert (tmp_path / "gsco-state" / "ledger.sqlite").exists()


def _default_install() -> set[str]:
    """The distributions that `pip install gsco-pacs` brings, as far as they are installed here."""
    found: set[str] = set()
    waiting = ["gsco-pacs"]
    while waiting:
        name = waiting.pop()
        for text in requires(name) or ():
            requirement = Requirement(text)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name not in found:
                found.add(requirement.name)
                waiting.append(requirement.name)
    return found


def test_nothing_in_the_default_install_is_under_the_gpl() -> None:
    def licence(name: str) -> str:
        about = metadata(name)
        keys = ("License-Expression", "License", "Classifier")
        said = [line for key in keys for line in about.get_all(key) or ()]
        return " ".join(line for line in said if len(line) < 200)

    names = _default_install()
    assert len(names) > 40
    assert [name for name in names if re.search(r"\bA?L?GPL|General Public", licence(name))] == []


def test_everything_that_is_not_python_is_installed_too(installed: Path) -> None:
    def files(root: Path) -> set[str]:
        return {
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in str(path)
        }

    package = installed / "gsco_pacs"
    assert files(PROJECT / "models") == files(package / "shipped" / "models")
    assert files(PROJECT / "alembic") == files(package / "shipped" / "alembic")
    assert files(PROJECT / "gsco_pacs") <= files(package)
