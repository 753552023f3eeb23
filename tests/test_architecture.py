"""The house stays readable: sizes, nesting, broad excepts and the reader's path, with a proof that each guard bites."""

import ast
import configparser
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "gsco_pacs"
MODULES = sorted(PACKAGE.rglob("*.py"))
MODULE_LINES, FUNCTION_LINES, NESTING = 400, 50, 4


def complaints(source: str, *, in_processes: bool = False) -> Iterator[str]:
    """What is wrong with a module's source by the house rules."""
    if source.count("\n") > MODULE_LINES:
        yield f"longer than {MODULE_LINES} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _function_complaints(node)
        if isinstance(node, ast.Global):
            yield f"line {node.lineno}: global"
        if isinstance(node, ast.ExceptHandler) and not in_processes and _broad(node) and not _passes_on(node):
            yield f"line {node.lineno}: a broad except that does not pass the error on"


def _function_complaints(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = (function.end_lineno or 0) - body[0].lineno + 1 if body else 0
    if lines > FUNCTION_LINES:
        yield f"{function.name}: {lines} lines"
    if _depth(function) > NESTING:
        yield f"{function.name}: nested deeper than {NESTING}"
    if function.returns is None:
        yield f"{function.name}: no return type"


def _depth(node: ast.AST) -> int:
    inner = max((_depth(child) for child in ast.iter_child_nodes(node)), default=0)
    return inner + isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try)


def _broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (
        isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
    )


def _passes_on(handler: ast.ExceptHandler) -> bool:
    """It raises again, or it hands the error itself to somebody who answers for it."""
    return any(
        isinstance(node, ast.Raise) or (isinstance(node, ast.Name) and node.id == handler.name)
        for node in ast.walk(handler)
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_keeps_the_house_rules(module: Path) -> None:
    in_processes = module.parent.name == "processes"
    assert list(complaints(module.read_text(), in_processes=in_processes)) == []


@pytest.mark.parametrize(
    "broken",
    [
        "x = 1\n" * (MODULE_LINES + 1),
        "def f() -> int:\n" + "    x = 1\n" * (FUNCTION_LINES + 1),
        "def f():\n    return 1\n",
        "def f() -> None:\n    global x\n",
        "try:\n    pass\nexcept Exception:\n    pass\n",
        "def f() -> None:\n"
        + "".join("    " * n + "if x:\n" for n in range(1, NESTING + 2))
        + "    " * (NESTING + 2)
        + "pass\n",
    ],
)
def test_each_rule_bites(broken: str) -> None:
    assert list(complaints(broken))


def test_the_folders_are_flat_and_all_of_them_are_installed() -> None:
    packages = {".".join(path.parent.relative_to(PROJECT).parts) for path in MODULES}
    assert all(package.count(".") <= 1 for package in packages)
    settings = configparser.ConfigParser()
    settings.read(PROJECT / "setup.cfg")
    listed = set(settings["options"]["packages"].split())
    assert listed == packages | {"gsco_pacs.shipped"}


@pytest.mark.parametrize("walk", ["intake.py", "consultation.py"])
def test_a_walk_fits_on_a_few_screens(walk: str) -> None:
    assert (PACKAGE / walk).read_text().count("\n") <= 200


@pytest.mark.parametrize(
    "process", ["receiver", "housekeeper", "web", "node", "dicomweb", "fetch", "fetcher"]
)
def test_a_light_process_never_loads_the_deep_learning_stack(process: str) -> None:
    code = f"import gsco_pacs.processes.{process}, sys; print([m for m in ('torch', 'monai', 'transformers') if m in sys.modules])"
    assert (
        run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
    )


def test_torchvision_is_not_installed_beside_a_cpu_build_of_torch() -> None:
    code = (
        "import importlib.util as u, torch, sys; "
        "sys.exit(bool(u.find_spec('torchvision')) and torch.version.cuda is None)"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_gpl_package_is_asked_for() -> None:
    assert "pylibjpeg-libjpeg" not in (PROJECT / "setup.cfg").read_text()
    assert "pylibjpeg-libjpeg" not in (PROJECT / "constraints.txt").read_text()


def test_the_alembic_folder_never_hides_the_library() -> None:
    assert not (PROJECT / "alembic" / "__init__.py").exists()
