"""Clips, models, packages, and bundles: also of models that can be worked out by hand."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mtab
from mtab import Model
from mtab.bundle import Manifest, file_entries
from mtab.config import from_dict, to_dict
from mtab.data import Corpus

from .gate import Engine

ELEMENTS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


@pytest.fixture(scope="session")
def spoken() -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Three phrases with pauses, float32 at 16 kHz, and from when to when each is spoken."""
    from mtab.audio import to_mono_16k
    from mtab_train.espeak import speak

    random = np.random.default_rng(0)
    parts, times, place = [np.zeros(8_000, np.float32)], [], 8_000
    for text in ("I never said that to you.", "Where did you leave it?", "We will see about this tomorrow."):
        samples = 0.5 * to_mono_16k(*speak(text, "en-us", 50, 50, 160))
        times.append((place / 16_000, (place + len(samples)) / 16_000))
        parts += [samples, np.zeros(16_000, np.float32)]
        place += len(samples) + 16_000
    whole = np.concatenate(parts)
    return (whole + random.normal(0, 1e-3, len(whole))).astype(np.float32), times


@pytest.fixture
def copied(tone_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tones' bundle that a test may spoil."""
    return shutil.copytree(tone_bundle, tmp_path / "bundle")


def seal(bundle: Path) -> None:
    """Make the manifest agree with the files again."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"] = {name: to_dict(entry) for name, entry in file_entries(bundle).items()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def change() -> Callable[..., None]:
    """``change(bundle, file, edit)`` passes a JSON file's values to ``edit`` and makes the hashes right."""

    def apply(bundle: Path, name: str, edit: Callable[[dict], object]) -> None:
        values = json.loads((bundle / name).read_text())
        edit(values)
        (bundle / name).write_text(json.dumps(values))
        if name != "manifest.json":
            seal(bundle)

    return apply


@pytest.fixture
def counting_bundle(tone_bundle: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes the bundle of a model of one modality whose logits are an utterance's length and 0.

    The length is in samples at 16 kHz divided by 16,000 (seconds), or in tokens.
    """

    def make(modality: str) -> Path:
        folder = shutil.copytree(tone_bundle, tmp_path / f"counts-{modality}")
        (folder / "model.onnx.data").unlink()
        audio = modality == "audio"
        values, lengths = ("input_values", "audio_lengths") if audio else ("input_ids", "text_lengths")
        inputs = [
            helper.make_tensor_value_info(
                values, ELEMENTS["float32" if audio else "int64"], ["batch", "samples" if audio else "tokens"]
            ),
            helper.make_tensor_value_info(lengths, TensorProto.INT64, ["batch"]),
        ]
        widths = {"logits": 2, "probabilities": 2, "embeddings": 1}
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
            for name, width in widths.items()
        ]
        constants = {
            "unit": np.array(16_000 if audio else 1, np.float32),
            "column": np.array([1], np.int64),
            "ones": np.array([[1, 0]], np.float32),
        }
        nodes = [
            helper.make_node("Cast", [lengths], ["count"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["count", "unit"], ["length"]),
            helper.make_node("Unsqueeze", ["length", "column"], ["embeddings"]),
            helper.make_node("Mul", ["embeddings", "ones"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ]
        graph = helper.make_graph(
            nodes, "counts", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in constants.items()]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.save(model, folder / "model.onnx")
        for name, edit in {
            "config.json": {
                "supported_modalities": [[modality]],
                "embedding_size": 1,
                "hidden_sizes": {modality: 1},
            },
            "preprocessor_config.json": {},
        }.items():
            values = json.loads((folder / name).read_text()) | {"modalities": [modality]} | edit
            (folder / name).write_text(json.dumps(values))
        if audio:
            (folder / "tokenizer.json").unlink()
        seal(folder)
        from_dict(Manifest, json.loads((folder / "manifest.json").read_text()), folder)
        return folder

    return make


@pytest.fixture(scope="session")
def own_mounts(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``own_mounts(script, *arguments)`` runs a shell script that may mount what nobody else sees."""

    def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    folder = tmp_path_factory.mktemp("mount")
    try:
        done = run('mount -t tmpfs -o size=64k none "$1"', folder)
    except FileNotFoundError:
        pytest.skip("a mount of one's own needs unshare (Linux)")
    if done.returncode:
        pytest.skip(f"a mount of one's own is not allowed here ({done.stderr.strip()})")
    return run


def _install(site: Path, package: str, release: str, module: str, code: str | None = None) -> None:
    """A package as pip leaves it: its metadata, and its module unless another one's is to be found."""
    folder = site / f"{package.replace('-', '_')}-{release}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {release}\n")
    (folder / "RECORD").write_text(f"{module}/__init__.py,,\n{folder.name}/METADATA,,\n")
    if code is not None:
        (site / module).mkdir()
        (site / module / "__init__.py").write_text(code)


@pytest.fixture
def install() -> Callable[..., None]:
    """`_install`: a package into a folder that is on the path."""
    return _install


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def clip(tones: Corpus) -> Path:
    return tones.root / "0-0.wav"


@pytest.fixture
def other(tones: Corpus) -> Path:
    return tones.root / "0-1.wav"


@pytest.fixture(scope="module")
def model(tone_bundle: Path) -> Model:
    return mtab.load(tone_bundle, threads=1)


@pytest.fixture(scope="module")
def dropping(drop_bundle: Path) -> Model:
    return mtab.load(drop_bundle, threads=1)


@pytest.fixture(scope="module")
def clips(tones: Corpus) -> list[Path]:
    return [utterance.audio for utterance in tones.utterances if utterance.audio is not None]


@pytest.fixture(scope="module")
def texts(tones: Corpus) -> list[str | None]:
    return [utterance.text for utterance in tones.utterances]


@pytest.fixture
def engine(model: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The gate before the engine of `model`."""
    watched = Engine(model.engine)
    monkeypatch.setattr(model, "engine", watched)
    yield watched
    watched.open.set()


@pytest.fixture
def pairs(tones: Corpus) -> list[tuple[Path, str]]:
    return [(each.audio, each.text) for each in tones.utterances if each.audio and each.text]
