"""A corpus of tones that is learned in seconds, a model small enough to do it, its run and its bundle."""

import os

# The tests run side by side; and one thread gives one order of summation.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import dataclasses
import hashlib
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import mtab.choice
import mtab.progress
from mtab.certificate import AccuracyChange, Certificate, ScoreChange
from mtab.data import Corpus, read_corpus, validate
from mtab.graphs import BUDGETS
from mtab_export.onnx_graph import export_graph
from mtab_train.config import ModelConfig, TrainConfig
from mtab_train.model import MulTAB
from mtab_train.start import Start, begin_run

# What the tests of a folder share asserts too.
pytest.register_assert_rewrite(
    *(f"tests.runtime.{name}" for name in ("bundles", "commands", "gate", "media", "results"))
)

# A shell starts what runs in the background with interrupts ignored, and so would be the commands under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

LABELS = ("high", "low")


def write_tones(root: Path, speakers: int = 6, each: int = 6) -> Path:
    """High and low tones of 0.1 to 0.5 s with a word that tells them apart half of the time."""
    random = np.random.default_rng(0)
    rows = ["audio,text,label,speaker"]
    for speaker in range(speakers):
        for number in range(each):
            label = LABELS[number % 2]
            name = f"{speaker}-{number}.wav"
            seconds = random.uniform(0.1, 0.5)
            time = np.arange(round(seconds * 16_000)) / 16_000
            tone = 0.3 * np.sin(2 * np.pi * (700 if label == "high" else 150) * time)
            soundfile.write(root / name, tone + random.normal(0, 0.02, len(time)), 16_000)
            rows.append(f"{name},it is {label if random.random() < 0.5 else 'a tone'},{label},{speaker}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache of the tests' own, also for the processes that they start."""
    os.environ["MTAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    """No line of progress, however slow the machine: tests count the lines of stderr."""
    mtab.progress.EVERY = 3600.0


@pytest.fixture(scope="session", autouse=True)
def _traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The exporter traces a model once for all tests: the same weights give the same file."""
    folder = tmp_path_factory.getbasetemp()
    # Beside the folders of the other processes that run tests.
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "traced"

    def once(model: MulTAB, path: Path, *rest: Any) -> None:
        key = hashlib.sha256(repr((model.config, path.name, rest)).encode())
        for tensor in model.state_dict().values():
            key.update(tensor.numpy().tobytes())
        kept = folder / key.hexdigest()
        if not kept.exists():
            made = Path(tempfile.mkdtemp(dir=folder))
            export_graph(model, made / path.name, *rest)
            with contextlib.suppress(OSError):  # the other process was faster
                made.rename(kept)
        for file in kept.iterdir():
            shutil.copy(file, path.with_name(file.name))

    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtab_export.graph_exporter.export_graph", once)
        yield


@pytest.fixture(autouse=True)
def _not_said_yet() -> None:
    """What is said once in a process is said once in a test."""
    mtab.choice.note.cache_clear()


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return validate(read_corpus("manifest", write_tones(tmp_path_factory.mktemp("tones"))))


@pytest.fixture(scope="session")
def nano() -> ModelConfig:
    return ModelConfig(
        labels=LABELS,
        audio_config={
            "model_type": "wav2vec2",
            "conv_dim": [16] * 7,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
            "layerdrop": 0.0,
            "mask_time_prob": 0.0,
        },
        text_config={
            "model_type": "roberta",
            "vocab_size": 300,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 34,
            "type_vocab_size": 1,
        },
        audio_training="full",
        text_training="full",
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
    )


@pytest.fixture(scope="session")
def start(nano: ModelConfig) -> Start:
    return Start(nano, TrainConfig(epochs=3, batch_size=8, learning_rate=3e-3), "nano")


@pytest.fixture(scope="session")
def make_certificate() -> Callable[..., Certificate]:
    """``make_certificate(**values)``: a graph that passed, but for ``values``."""

    def make(**values: Any) -> Certificate:
        change = ScoreChange(0.6, 0.595, -0.005, (-0.015, 0.0))
        passed = Certificate(
            utterances=200,
            batch_size=8,
            max_probability_difference=1.5e-6,
            mean_probability_difference=1.5e-7,
            max_batched_difference=2.5e-6,
            max_invariance_difference=3.5e-7,
            worst="a",
            worst_batched="b",
            worst_invariance="c",
            max_logits_used=0.1,
            relative_logits_difference=1e-6,
            label_agreement=0.995,
            changed=(),
            near_ties=("a", "b"),
            changed_near_ties=("a",),
            near_tie_lead=4e-3,
            budget=BUDGETS["fp16"],
            arithmetic="ONNX Runtime on cpu",
            accuracy=AccuracyChange(change, change),
            corpus="iemocap",
            synthetic=False,
            corpus_sha256="0" * 64,
            created="2026-01-02T03:04:05+00:00",
            versions={"mtab": "0.1.0"},
            cpu="a processor",
            instruction_sets=("avx2",),
        )
        return dataclasses.replace(passed, **values)

    return make


@pytest.fixture
def make_tones() -> Callable[[Path], Path]:
    return write_tones


@pytest.fixture(scope="session")
def tone_run(tmp_path_factory: pytest.TempPathFactory, start: Start, tones: Corpus) -> Path:
    """A finished run that tells the tones apart."""
    from mtab_train.trainer import Trainer

    folder = tmp_path_factory.mktemp("runs") / "tones"
    start = dataclasses.replace(start, train=dataclasses.replace(start.train, epochs=8))
    Trainer(begin_run(folder, start, tones, "speaker", "speaker-0"), tones, "cpu", cache=False).fit()
    return folder


@pytest.fixture(scope="session")
def rated_tones(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The tones, most of them rated: arousal from 0 to 100 by the tone's height and length, valence by it."""
    root = write_tones(tmp_path_factory.mktemp("rated"))
    header, *rows = (root / "manifest.csv").read_text(encoding="utf-8").splitlines()
    random = np.random.default_rng(0)
    rated = [f"{header},valence,arousal"]
    for i, row in enumerate(rows):
        audio, _, label, _ = row.split(",")
        high, seconds = label == "high", soundfile.info(root / audio).duration
        arousal = 20 + 50 * high + 40 * (seconds - 0.1) + random.normal(0, 2)
        valence = f"{-1.0 if high else 1.0}" if i % 5 else ""
        rated.append(f"{row},{valence},{arousal:.1f}")
    (root / "manifest.csv").write_text("\n".join(rated) + "\n", encoding="utf-8")
    return validate(read_corpus("manifest", root))


@pytest.fixture(scope="session")
def rated_run(tmp_path_factory: pytest.TempPathFactory, start: Start, rated_tones: Corpus) -> Path:
    """A finished run that tells the tones apart and rates them."""
    from mtab_train.trainer import Trainer

    folder = tmp_path_factory.mktemp("runs") / "rated"
    start = dataclasses.replace(
        start,
        model=dataclasses.replace(start.model, dimensions=("valence", "arousal")),
        train=dataclasses.replace(start.train, epochs=8),
    )
    run = begin_run(folder, start, rated_tones, "speaker", "speaker-0")
    Trainer(run, rated_tones, "cpu", cache=False).fit()
    return folder


@pytest.fixture(scope="session")
def rated_bundle(rated_run: Path) -> Path:
    """Its bundle, whole and in parts."""
    from mtab_export.cli import main

    done = CliRunner().invoke(main, ["--checkpoint", str(rated_run), "--parts", "all"])
    assert done.exit_code == 0, done.output
    return rated_run / "bundle"


@pytest.fixture(scope="session")
def tone_bundle(tone_run: Path) -> Path:
    """Its bundle, as ``mtab-export`` writes it."""
    from mtab_export.cli import main

    done = CliRunner().invoke(main, ["--checkpoint", str(tone_run)])
    assert done.exit_code == 0, done.output
    return tone_run / "bundle"


@pytest.fixture(scope="session")
def drop_run(tmp_path_factory: pytest.TempPathFactory, start: Start, tones: Corpus) -> Path:
    """A run of a model that learned to do without audio and without text."""
    from mtab_train.trainer import Trainer

    folder = tmp_path_factory.mktemp("runs") / "drop"
    model = dataclasses.replace(start.model, modality_dropout=0.3)
    start = dataclasses.replace(start, model=model, train=dataclasses.replace(start.train, epochs=1))
    Trainer(begin_run(folder, start, tones, "speaker", "speaker-0"), tones, "cpu", cache=False).fit()
    return folder


@pytest.fixture(scope="session")
def drop_bundle(drop_run: Path) -> Path:
    """Its bundle."""
    from mtab_export.cli import main

    done = CliRunner().invoke(main, ["--checkpoint", str(drop_run)])
    assert done.exit_code == 0, done.output
    return drop_run / "bundle"
