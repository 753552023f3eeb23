"""The import contracts bite: each one is broken once, in a copy of the package."""

import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]

PLANTED = {
    "Imports point down": ("config.py", "import gsco_pacs.intake"),
    "A step knows no other step": ("steps/settle.py", "import gsco_pacs.steps.route"),
    "Only processes, evaluation, training and testing pick adapters": (
        "intake.py",
        "import gsco_pacs.adapters.folder",
    ),
    "Only the workers can reach the deep-learning stack": (
        "adapters/moves.py",
        "def late() -> None:\n    import torch",
    ),
    "The domain uses the standard library only": ("domain/retry.py", "import pydicom"),
    "SQLAlchemy lives in the ledger's adapters": ("terminal.py", "import sqlalchemy"),
    "highdicom lives where the reports are built": ("adapters/folder.py", "import highdicom"),
    "Celery lives in its adapter and in the processes that send and take messages": (
        "cli.py",
        "import celery",
    ),
}


def test_each_import_contract_bites(tmp_path: Path) -> None:
    shutil.copytree(
        PROJECT / "gsco_pacs", tmp_path / "gsco_pacs", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(PROJECT / "setup.cfg", tmp_path)
    for file, code in PLANTED.values():
        with (tmp_path / "gsco_pacs" / file).open("a") as module:
            module.write(f"\n{code}\n")
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    verdicts = dict(
        line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if line.endswith((" KEPT", " BROKEN"))
    )
    assert verdicts == dict.fromkeys(PLANTED, "BROKEN")
