"""Imports go one way, from the bench down to the runtime, and the runtime needs only its own."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtab
from mtab.data import Corpus

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "mtab": "runtime",
    "mtab_train": "train",
    "mtab_serve": "serve",
    "mtab_export": "export",
    "mtab_bench": "bench",
}
LAYERS = tuple(FOLDERS)
BELOW = {
    "mtab": set(),
    "mtab_train": {"mtab"},
    "mtab_serve": {"mtab"},
    "mtab_export": {"mtab", "mtab_train", "mtab_serve"},
    "mtab_bench": {"mtab", "mtab_train", "mtab_serve", "mtab_export"},
}
MODULES = [
    (package, path.relative_to(ROOT).as_posix())
    for package, folder in FOLDERS.items()
    for path in sorted((ROOT / folder / package).rglob("*.py"))
]
# What only training, exporting, benching and reading films need.
FOREIGN = (
    *LAYERS[1:],
    *("accelerate", "av", "jinja2", "matplotlib", "onnx", "onnxscript", "prometheus_client", "ray"),
    *("safetensors", "scipy", "sklearn", "starlette", "tensorboard", "torch", "torchaudio", "tqdm"),
    *("transformers", "uvicorn"),
)
# The extras of the runtime itself.
OURS = ("cpu", "video", "vad", "plot", "microphone", "ray", "openvino", "rtx")
# Engines that are used where a user has them and that no extra of ours brings.
NVIDIAS = {"onnxruntime_ep_nv_tensorrt_rtx", "tensorrt"}
BLOCKED = f"""
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FOREIGN!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Block())
"""


def imports(path: str) -> Iterator[tuple[str, bool]]:
    """The top-level packages that a module imports, and whether only for the type checker."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    checked = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            # Of a name that only a run can tell, the strings in the module that could be it.
            known = isinstance(node.args[0], ast.Constant)
            names = [str(node.args[0].value)] if known else sorted(set(LAYERS) & strings(tree))
        for name in names:
            yield name.partition(".")[0], id(node) in checked


def strings(tree: ast.AST) -> set[str]:
    return {
        node.value.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def python(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_there_are_modules_to_look_at() -> None:
    assert {package for package, _ in MODULES} == set(LAYERS)
    assert ("numpy", False) in set(imports("runtime/mtab/model.py"))
    assert ("av", True) in set(imports("runtime/mtab/audio/containers.py"))


@pytest.mark.parametrize(("package", "path"), MODULES, ids=[path for _, path in MODULES])
def test_imports_go_one_way(package: str, path: str) -> None:
    others = set(LAYERS) - {package} - BELOW[package]
    assert not others & {name for name, _ in imports(path)}


@pytest.mark.parametrize("path", [path for package, path in MODULES if package == "mtab"])
def test_the_runtime_needs_what_its_distribution_names(path: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    brought = [each for extra in OURS for each in extras[extra]]
    own = {re.split(r"[\[<>=]", each)[0].replace("-", "_") for each in [*project["dependencies"], *brought]}
    own |= NVIDIAS
    needed = {name for name, _ in imports(path)} - set(sys.stdlib_module_names) - {"mtab"}
    assert needed <= own


def test_the_runtime_answers_without_all_else(tone_bundle: Path, tones: Corpus) -> None:
    """Every module of mtab can be imported, and a bundle answers as it does where all else is installed."""
    clip = tones.root / "0-0.wav"
    code = BLOCKED + (
        "import importlib, json, pkgutil, mtab\n"
        "for module in pkgutil.walk_packages(mtab.__path__, 'mtab.'):\n"
        "    importlib.import_module(module.name)\n"
        "result = mtab.load(sys.argv[1], threads=1).predict(sys.argv[2], text='it is high')\n"
        f"print(json.dumps([result.probabilities, [n for n in {FOREIGN!r} if n in sys.modules]]))\n"
    )
    done = python(code, tone_bundle, clip)
    assert done.returncode == 0, done.stderr
    probabilities, imported = json.loads(done.stdout)
    assert imported == []
    expected = mtab.load(tone_bundle, threads=1).predict(clip, "it is high")
    assert probabilities == pytest.approx(expected.probabilities, abs=1e-6)


def test_the_block_blocks() -> None:
    for name in FOREIGN:
        done = python(f"{BLOCKED}import {name}")
        assert done.returncode == 1
        assert f"{name} is blocked" in done.stderr


def test_the_command_works_without_all_else(tone_bundle: Path, tones: Corpus) -> None:
    code = BLOCKED + "from mtab.cli import main\nmain(prog_name='mtab')\n"
    done = python(code, "predict", tone_bundle, "--manifest", tones.root / "manifest.csv", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)) == len(tones.utterances)


def test_a_film_without_av_names_the_extra(tone_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"\0" * 100)
    code = BLOCKED + "from mtab.cli import main\nmain(prog_name='mtab')\n"
    done = python(code, "predict", tone_bundle, tmp_path / "a.mp4", "--text", "a")
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: {tmp_path / 'a.mp4'}: decoding it needs av, which is not installed: "
        "pip install 'mtab[video]'\n"
    )


def test_without_onnx_runtime_the_extra_is_named(tone_bundle: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\nfrom mtab.cli import main\nmain(prog_name='mtab')\n"
    )
    done = python(code, "predict", tone_bundle, "--text", "a")
    assert done.returncode == 1
    assert done.stderr == ("Error: mtab needs onnxruntime, which is not installed: pip install 'mtab[cpu]'\n")


# The command of the server is listed with the others.
HEAVY = ("onnxruntime", "tokenizers", *(name for name in FOREIGN if name != "mtab_serve"))
NUMERIC = ("numpy", "soundfile", "soxr")


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import mtab", HEAVY + NUMERIC),
        ("import mtab.data", HEAVY),
        ("from mtab.cli import main; main(['--help'], standalone_mode=False)", HEAVY + NUMERIC),
        ("from mtab.cli import main; main(['predict', '--help'], standalone_mode=False)", HEAVY + NUMERIC),
    ],
)
def test_nothing_heavy_for_nothing(code: str, heavy: tuple[str, ...]) -> None:
    done = python(f"{code}\nimport sys; print([name for name in {heavy!r} if name in sys.modules])")
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
