"""The rules of the building: imports go one way, and the command line starts without torch."""

import ast
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import facesr
from facesr.config.degrade import DegradeConfig
from facesr.config.demo import DemoConfig
from facesr.config.evaluate import EvalConfig
from facesr.config.fields import leaves
from facesr.config.model import Arch
from facesr.config.train import TrainConfig
from facesr.config.upscale import UpscaleConfig
from facesr.models import ARCHITECTURES

ROOT = Path(__file__).parents[1]


def python(code: str, *, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_go_one_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename="pyproject.toml", cache_dir=None) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["models"],
        ["upscale", "--help"],
        ["upscale", "nowhere", "out"],
        ["upscale", "facesr", "out"],
        ["upscale", "README.md", "out", "--model", "nothing"],
        ["upscale", "README.md", "out", "--set", "colour=1"],
        ["upscale", "README.md", "out", "--batch", "0"],
        ["upscale", "README.md", "out", "--json", "--quiet"],
        ["upscale", "--no-such-option"],
        ["degrade", "--help"],
        ["degrade"],
        ["degrade", "nowhere", "lq"],
        ["degrade", "docs/images", "lq", "--replay", "nowhere"],
        ["degrade", "--print-config"],
        ["eval", "--help"],
        ["eval"],
        ["eval", "--hq", "nowhere", "--lq", "nowhere"],
        ["eval", "--hq", "docs/example", "--lq", "docs/example"],
        ["eval", "--hq", "docs/example", "--sr", "docs/example", "--save", "docs/example"],
        ["export", "msrresnet-b20", "x.onnx", "--sharpness", "0.5"],
        ["train", "--help"],
        ["train"],
        ["train", "--recipe", "none"],
        ["train", "--resume", "nowhere"],
        ["train", "--degradation", "none"],
        ["models", "--help"],
        ["models", "nothing"],
        ["models", "--file", "nothing.pth"],
        ["models", "docs/example"],
        ["demo", "--help"],
        ["demo", "--port", "0"],
        ["demo", "--model", "nothing"],
        ["nonsense"],
        [],
    ],
    ids=" ".join,
)
def test_help_and_usage_errors_answer_without_torch(arguments: list[str]) -> None:
    code = f"""
import sys
from facesr.cli.app import app
try:
    app({arguments!r}, prog_name="facesr")
except SystemExit:
    pass
print("torch" in sys.modules, "numpy" in sys.modules)
"""
    assert python(code).splitlines()[-1] == "False False"


def test_help_does_not_import_pydantic() -> None:
    code = """
import sys
from facesr.cli.app import app
try:
    app(["--help"], prog_name="facesr")
except SystemExit:
    pass
print("pydantic" in sys.modules, "PIL" in sys.modules)
"""
    assert python(code).splitlines()[-1] == "False False"


def test_importing_facesr_is_free_of_torch_and_its_names_are_there() -> None:
    code = "import sys, facesr; print('torch' in sys.modules); [getattr(facesr, n) for n in facesr.__all__]"
    assert python(code).split() == ["False"]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = facesr.nonsense


def test_nothing_frozen_changes_itself() -> None:
    modules = (ROOT / "facesr").rglob("*.py")
    assert not [path.name for path in modules if "object.__setattr__" in path.read_text(encoding="utf-8")]


def test_every_architecture_has_its_name_in_the_configuration() -> None:
    assert set(typing.get_args(Arch)) == set(ARCHITECTURES)


@pytest.mark.parametrize("config", [UpscaleConfig, DegradeConfig, TrainConfig, EvalConfig, DemoConfig])
def test_a_command_has_few_options_with_names_of_their_own(config: type) -> None:
    shown = [leaf for leaf in leaves(config) if leaf.is_shown]
    assert len({leaf.name for leaf in shown}) == len(shown) <= (24 if config is UpscaleConfig else 20)
    assert all(leaf.option and leaf.option.help.endswith(".") for leaf in shown)


def test_the_enlargement_of_4_is_said_in_models_and_presets_alone() -> None:
    """Everything else asks a network's traits, or the pairs."""
    word = re.compile("scale|enlarge|factor|ratio", re.IGNORECASE)
    found = []
    for path in sorted((ROOT / "facesr").rglob("*.py")):
        if {"models", "presets"} & set(path.relative_to(ROOT).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named: list[tuple[str, ast.expr | None]] = []
            if isinstance(node, ast.keyword):
                named = [(node.arg or "", node.value)]
            elif isinstance(node, ast.arguments):
                named = list(zip([a.arg for a in node.kwonlyargs], node.kw_defaults, strict=True))
                named += zip([a.arg for a in node.args[::-1]], node.defaults[::-1], strict=False)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                named = [(ast.unparse(target), node.value) for target in targets]
            elif isinstance(node, ast.BinOp | ast.Compare):
                named = [
                    (ast.unparse(node), part) for part in ast.walk(node) if isinstance(part, ast.Constant)
                ]
            for name, value in named:
                constants = [n.value for n in ast.walk(value) if isinstance(n, ast.Constant)] if value else []
                if word.search(name) and any(v == 4 and not isinstance(v, bool) for v in constants):
                    found.append(f"{path.name}:{node.lineno if hasattr(node, 'lineno') else '?'} {name}")
    assert not found
