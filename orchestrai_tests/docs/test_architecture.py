"""The pictures of the architecture are those of the code as it is."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrai_tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def code(drawing: ModuleType) -> Any:
    """What the code says, read once."""
    return drawing.read_code()


def test_the_pictures_are_those_of_the_code(drawing: ModuleType, code: Any) -> None:
    for path, text in drawing.drawings(code).items():
        assert path.read_text() == text, f"{path.name} is not what the code is: run python docs/draw_architecture.py"


def test_every_package_is_drawn_and_every_arrow_goes_down(code: Any) -> None:
    packages = {path.parent.name for path in (ROOT / "orchestrai").glob("*/__init__.py")}
    assert packages <= set(code.names)
    depth = {name: number for number, layer in enumerate(code.layers) for name in layer}
    up = [(a, b) for a, found in code.edges.items() for b in found if a in depth and b in depth and depth[a] >= depth[b]]
    assert up == []


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project of four parts, of which one lies beside the layers."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_package = "p"\n[[tool.importlinter.contracts]]\nname = "l"\ntype = "layers"\n'
        'layers = ["p.top", "p.left | (p.right)", "p.ground"]\n'
    )
    for name, text in {
        "top": '"""The top: what stands above."""\nimport p.left\nimport p.ground\n',
        "left": '"""Left."""\nfrom p import ground\n',
        "right": '"""Right."""\ndef late():\n    from p.ground import x\n',
        "ground": '"""Ground."""\nx = 1\n',
        "odd": '"""Odd."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.top import y\n',
    }.items():
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / name / "__init__.py").write_text(text)
    return tmp_path


def test_layers_imports_and_captions_are_read_from_the_code(drawing: ModuleType, small: Path) -> None:
    code = drawing.read_code(small)
    assert code.layers == [["top"], ["left", "right"], ["ground"]]
    assert code.beside == ["odd"]
    assert code.edges["top"] == {"left": True, "ground": True}
    assert code.edges["right"] == {"ground": False}
    assert code.edges["odd"] == {}, "what only a type checker reads is no import"
    assert code.captions["top"] == "What stands above"


def test_an_arrow_that_others_imply_is_not_drawn(drawing: ModuleType, small: Path) -> None:
    code = drawing.read_code(small)
    assert drawing.reduced(code.edges) == [("left", "ground"), ("right", "ground"), ("top", "left")]
    picture = drawing.draw_layers(code)
    assert picture.count('class="arrow"') == 3
    assert picture == drawing.draw_layers(code)
    assert drawing.draw_imports(code).count("<circle") == 4 + 2, "four imports, and two in the key"
