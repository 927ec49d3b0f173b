"""Who may import whom: read from the source, function-level imports included."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the bottom up; a module may import from its own row and the rows before it.
ROWS = (
    {
        "errors",
        "options",
        "arguments",
        "arms",
        "files",
        "registry",
        "settings",
        "runs",
        "report",
        "recipes",
        "quiet",
        "glossary",
        "follow",
        "measuring",
        "spawn",
        "origin",
        "unzip",
        "zero_gpu",
        "strips",
    },
    {"score", "noise", "attention", "tap", "decoder", "fingerprint", "pixels", "fsdp"},
    {"families", "annotators", "scenes"},
    {"checkpoint", "objective", "data", "metrics"},
    {"train", "pretrain", "generate", "features", "projection", "study", "scoreview", "evaluate", "roundtrip"}
    | {"plan", "ready", "estimate", "export", "footprint", "job", "processes"},
    {"memory", "rundesk", "pairs", "sharing", "views"},
    {"lab", "cli"},
    {"__main__"},
)
TORCH_FREE = (ROWS[0] - {"quiet"}) | {"lab", "memory"}
TORCH_FREE |= {"data.source", "data.hub", "data.imagefolder", "data.check", "plan", "ready"}
TORCH_FREE |= {"rundesk", "pairs", "sharing", "views"}
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "umap")


def imported(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions; what is imported for type checkers only is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def row_of(module: str) -> int:
    """Number of the row that a part of ``lisa`` stands in."""
    for number, row in enumerate(ROWS):
        if module in row:
            return number
    raise AssertionError(f"lisa.{module} stands in no row: add it to ROWS")


def parts_of_lisa() -> list[Path]:
    return [path for path in (ROOT / "lisa").rglob("*.py") if path != ROOT / "lisa" / "__init__.py"]


@pytest.mark.parametrize("path", parts_of_lisa(), ids=lambda p: str(p.relative_to(ROOT)))
def test_each_room_imports_only_from_below(path):
    module = ".".join(path.relative_to(ROOT / "lisa").with_suffix("").parts)
    own = module.partition(".")[0]
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in ("gradio", "app"), f"{path} imports {name}"
        if parts[0] == "lisa" and len(parts) > 1 and list((ROOT / "lisa").glob(f"{parts[1]}*")):
            assert row_of(parts[1]) <= row_of(own), f"{path} imports {name}, which stands above it"
        if {own, module} & TORCH_FREE - {"lab", "memory"}:
            assert parts[0] not in HEAVY, f"{path} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "app").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_app_never_touches_torch(path):
    assert not {name.split(".")[0] for name in imported(path)} & set(HEAVY)


@pytest.mark.parametrize("module", ["lisa.lab", "lisa.__main__", "lisa.settings"])
def test_importing_the_facade_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([n for n in {HEAVY!r} if n in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert output.strip() == "[]"
