"""`mtab tune`: what passes and is faster is chosen, all else has a reason, and load takes the choice."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

import mtab
import mtab.timing
import mtab.trials
import mtab.workloads
from mtab.bundle import open_bundle
from mtab.choice import Choice, choice_file, store_choice, tuned_choice
from mtab.cli import main
from mtab.data import Corpus
from mtab.engines import ENGINES
from mtab.errors import BundleError, DataError, EngineError
from mtab.graphs import BUDGETS
from mtab.parity import budget_of
from mtab.trials import Step, Trial, around, choose, doubtful, settled, spared, thread_counts
from mtab.tune import Tuning, format_report, tune
from mtab.types import TunedFor

DEFAULT = Trial("onnxruntime", "cpu", "fp32", max_difference=1e-7, seconds=0.1, speedup=1.0)


def quick(
    bundle: Path, dataset: str | None = None, data_dir: Path | None = None, device: str = "cpu"
) -> Tuning:
    return tune(bundle, dataset, data_dir, device, utterances=4, min_seconds=0)


class Load:
    """What other processes do, as the test has it."""

    cores = 0.0
    seconds = 1.0
    warning = None

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mtab.timing, "OtherLoad", Load)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Load, "cores", 0.9)
    monkeypatch.setattr(mtab.timing, "WAIT", 0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))


def spoil(bundle: Path) -> None:
    """Give the bundle an int8 graph, whose answers are those of the float32 one with other weights."""
    model = onnx.load(bundle / "model.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(-3 * values, tensor.name))
    onnx.save(model, bundle / "model_int8.onnx")


def add_int8(values: dict) -> None:
    values["graphs"].append({**values["graphs"][0], "precision": "int8", "file": "model_int8.onnx"})
    values["graphs"][-1]["reduce_range"] = True
    budget = {"max_difference": 2e-2, "min_agreement": 0.99}
    values["graphs"][-1]["certificate"] = {**values["graphs"][0]["certificate"], "budget": budget}


@pytest.fixture
def spoiled(copied: Path, change: Callable[..., None]) -> Path:
    spoil(copied)
    change(copied, "config.json", lambda _: None)  # makes the hashes right
    change(copied, "manifest.json", add_int8)
    return copied


# The rule


def answers_of(speeds: dict[tuple[str, ...], float], budget: set[str]) -> Callable[[Choice], Trial]:
    """Trials of int8 as fast as ``speeds`` says of what is left out; those without all of ``budget`` fail."""

    def tried(choice: Choice) -> Trial:
        problem = None if budget <= set(choice.unquantized) else "too far off"
        return replace(trial(speeds[choice.unquantized], problem=problem), unquantized=choice.unquantized)

    return tried


@pytest.mark.parametrize(
    ("speeds", "budget", "left_out"),
    [
        # Nothing gains: int8 stays whole, unless what leaves out more is as fast.
        (
            {(): 2.0, ("convolutions",): 2.01, ("attention",): 1.5, ("feed_forward",): 0.9},
            set(), ("convolutions",),
        ),
        ({(): 2.0, ("convolutions",): 1.9, ("attention",): 1.5, ("feed_forward",): 0.9}, set(), ()),
        (
            {(): 2.0, ("convolutions",): 2.4, ("convolutions", "attention"): 2.2,
             ("convolutions", "feed_forward"): 1.0},
            set(), ("convolutions",),
        ),
        (
            {(): 2.0, ("convolutions",): 2.4, ("convolutions", "attention"): 2.6},
            set(), ("convolutions", "attention"),
        ),
        # It costs too much until attention is left out, and convolutions were tried before that.
        (
            {(): 2.0, ("convolutions",): 1.9, ("convolutions", "attention"): 1.8},
            {"attention"}, ("convolutions", "attention"),
        ),
    ],
)  # fmt: skip
def test_operators_that_are_left_out_of_int8(
    speeds: dict[tuple[str, ...], float], budget: set[str], left_out: tuple[str, ...]
) -> None:
    tried = answers_of(speeds, budget)
    whole = tried(Choice("onnxruntime", "cpu", "int8"))
    found = [whole, *spared(whole, tried)]
    assert {each.unquantized for each in found} == speeds.keys()
    assert choose([DEFAULT, *found]).unquantized == left_out


def trial(speed: float, precision: str = "int8", problem: str | None = None) -> Trial:
    return replace(DEFAULT, precision=precision, speedup=speed, problem=problem)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([], 0),
        ([trial(0.5), trial(1.029)], 0),
        ([trial(1.03)], 1),
        ([trial(2.0), trial(3.0, "fp16"), trial(9.0, problem="too far off")], 2),
        ([trial(3.05), trial(3.0, "fp16")], 2),  # as fast within the noise: the more exact
        ([trial(3.2), trial(3.0, "fp16")], 1),
        ([replace(DEFAULT, precision=None, problem="not here", speedup=None, max_difference=None)], 0),
    ],
)
def test_the_rule(trials: list[Trial], expected: int) -> None:
    best = [DEFAULT, *trials][expected]
    assert choose([DEFAULT, *trials]) == Choice(best.engine, best.device, best.precision or "fp32")


def test_the_winner_is_timed_again_until_it_stands() -> None:
    fp16, int8 = trial(2.0, "fp16"), trial(3.0)
    timed: list[str] = []

    def again(choice: Choice) -> Trial:
        timed.append(choice.precision)
        return trial(0.9) if choice.precision == "int8" else trial(1.9, "fp16")

    found = settled([DEFAULT, fp16, int8], again)
    assert timed == ["int8", "fp16"]
    assert found == [DEFAULT, trial(1.9, "fp16"), trial(0.9)]
    assert choose(found).precision == "fp16"
    assert settled([DEFAULT, trial(1.0)], again) == [DEFAULT, trial(1.0)]
    assert timed == ["int8", "fp16"]


def test_what_was_disturbed_and_may_win_is_timed_again() -> None:
    """Whatever is far slower need not be."""
    fp16, bf16, int8 = trial(2.0, "fp16"), replace(trial(1.6, "bf16"), disturbed=True), trial(1.0)
    slow = replace(int8, disturbed=True)
    timed: list[str] = []

    def again(choice: Choice) -> Trial:
        timed.append(choice.precision)
        return trial({"bf16": 2.2, "fp16": 2.0}[choice.precision], choice.precision)

    assert doubtful([DEFAULT, fp16, bf16, slow]) == [2]
    found = settled([DEFAULT, fp16, bf16, slow], again)
    assert timed[0] == "bf16"
    assert "int8" not in timed
    assert doubtful(found) == []
    assert choose(found).precision == "bf16"


@pytest.mark.parametrize(("cores", "counts"), [(1, [None]), (2, [None, 1]), (6, [None, 3, 1])])
def test_threads(monkeypatch: pytest.MonkeyPatch, cores: int, counts: list[int | None]) -> None:
    monkeypatch.setattr(mtab.trials, "usable_cores", lambda: cores)
    assert thread_counts() == counts


@pytest.mark.parametrize(
    ("speed", "steps"),
    [
        # One at a time is best, of the usual size, and so is nothing tried any further.
        (lambda streams, size: 1.0, [(2, 8), (1, 16), (1, 4)]),
        # More streams and larger batches each gain something up to a point.
        (
            lambda streams, size: min(streams, 2) + (size >= 16),
            [(2, 8), (4, 8), (2, 16), (2, 32)],
        ),
        # Of smaller batches what gains less than 3 % is the end.
        (lambda streams, size: streams - size / 100, [(2, 8), (4, 8), (4, 16), (4, 4)]),
        (lambda streams, size: streams / size, [(2, 8), (4, 8), (4, 16), (4, 4), (4, 2), (4, 1)]),
    ],
)
def test_streams_first_and_then_sizes_of_batches(
    speed: Callable[[int, int], float], steps: list[tuple[int, int]]
) -> None:
    def tried(choice: Choice) -> Trial:
        batches = {"streams": choice.streams, "batch_size": choice.batch_size}
        return replace(DEFAULT, **batches, speedup=speed(choice.streams, choice.batch_size))

    found = around(replace(DEFAULT, speedup=speed(1, 8)), 4, tried)
    assert [(each.streams, each.batch_size) for each in found] == steps


def test_what_does_not_answer_is_not_gone_on_from() -> None:
    """As where a batch is too large for the memory."""
    refused = replace(DEFAULT, speedup=None, problem="no memory")
    found = around(DEFAULT, 1, lambda choice: replace(refused, batch_size=choice.batch_size))
    assert [each.batch_size for each in found] == [16, 4]


def test_budgets(spoiled: Path, change: Callable[..., None]) -> None:
    bundle = open_bundle(spoiled)
    assert budget_of(bundle, "bf16") == BUDGETS["bf16"]
    assert budget_of(bundle, "int8") == BUDGETS["int8"]

    def widen(values: dict) -> None:
        values["graphs"][-1]["certificate"]["budget"] = {"max_difference": 0.5, "min_agreement": 0.25}

    change(spoiled, "manifest.json", widen)
    found = budget_of(open_bundle(spoiled), "int8")
    assert (found.max_difference, found.min_agreement) == (0.5, 0.25)


# The whole


def test_on_the_corpus_of_the_export(tone_bundle: Path, tones: Corpus, tmp_path: Path) -> None:
    found = quick(tone_bundle, "manifest", tones.root)
    assert not (tmp_path / "cache" / "graphs").exists(), "what was tried is kept"
    default = found.trials[0]
    assert (default.engine, default.precision, default.threads) == ("onnxruntime", "fp32", None)
    assert (found.utterances, found.real_speech) == (4, True)
    assert default.max_difference is not None
    assert default.max_difference <= BUDGETS["fp32"].max_difference
    for each in found.trials:
        assert (each.problem is None) == (each.speedup is not None)
    assert {each.engine for each in found.trials} == {"onnxruntime", "openvino"}
    assert any("expected fused int8" in (each.problem or "") for each in found.trials)
    model = mtab.load(tone_bundle)
    choice = found.choice
    assert (model.engine.name, model.engine.precision) == (choice.engine, choice.precision)
    assert tuned_choice(open_bundle(tone_bundle)) == choice
    assert found.file == str(choice_file(open_bundle(tone_bundle)))


def test_what_int8_leaves_out_is_stored_and_loaded(
    tone_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a processor with VNNI: this one may multiply int8 only slowly, and as exactly."""
    module = pytest.importorskip("mtab.engines.openvino")
    monkeypatch.setattr(module, "multiplies_int8", lambda: True)
    monkeypatch.setattr(mtab.trials, "ENGINES", ("onnxruntime", "openvino"))
    found = quick(tone_bundle)
    int8 = [each for each in found.trials if (each.engine, each.precision) == ("openvino", "int8")]
    left_out = [each.unquantized for each in int8]
    assert () in left_out
    assert ("convolutions",) in left_out
    assert all(each.measured for each in int8)
    assert "int8 but for convolutions" in format_report(found)
    choice = next(each for each in int8 if each.unquantized == ("convolutions",)).choice
    assert str(choice).startswith("openvino on cpu in int8 but for convolutions")
    bundle = open_bundle(tone_bundle)
    store_choice(bundle, choice)
    assert tuned_choice(bundle) == choice
    seen: list[object] = []
    compress = module.openvino_int8.compress_weights

    def counted(model: object, unquantized: object) -> int:
        seen.append(unquantized)
        return compress(model, unquantized)

    monkeypatch.setattr(module.openvino_int8, "compress_weights", counted)
    assert mtab.load(tone_bundle).engine.precision == "int8"
    assert seen == [("convolutions",)]
    told = CliRunner().invoke(main, ["info", str(tone_bundle)])
    assert "openvino on cpu in int8 but for convolutions" in told.output


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One engine on two cores, and few utterances that wait."""
    monkeypatch.setattr(mtab.trials, "ENGINES", ENGINES[:1])
    monkeypatch.setattr(mtab.trials, "usable_cores", lambda: 2)
    monkeypatch.setattr(mtab.workloads, "usable_cores", lambda: 1)
    monkeypatch.setattr(mtab.workloads, "AT_ONCE", 12)


@pytest.mark.usefixtures("few")
def test_for_throughput(tone_bundle: Path, tones: Corpus) -> None:
    before = Choice("openvino", "cpu", "fp32", 1)
    store_choice(open_bundle(tone_bundle), before)
    found = tune(tone_bundle, "manifest", tones.root, "cpu", 4, 0, tuned_for="throughput")
    default = found.trials[0]
    assert (default.threads, default.streams, default.batch_size) == (None, 1, 8)
    tried = [(each.streams, each.batch_size) for each in found.trials if each.measured]
    assert {(1, 8), (2, 8)} <= set(tried)
    assert {size for _, size in tried} >= {8, 16}
    assert (found.tuned_for, found.at_once, found.stored) == ("throughput", 12, True)
    seconds = [each.duration for each in mtab.load(tone_bundle).predict(*pairs(tones))]
    assert found.speech is not None
    assert 0.8 * min(filter(None, seconds)) < found.speech < max(filter(None, seconds))
    bundle = open_bundle(tone_bundle)
    assert (tuned_choice(bundle), tuned_choice(bundle, "throughput")) == (before, found.choice)
    model = mtab.load(tone_bundle, tuned_for="throughput")
    assert (model.engine.streams, model.batch_size) == (found.choice.streams, found.choice.batch_size)
    told = format_report(found)
    assert "threads  at once  batch  utterances/s  speech/s" in told
    assert "For throughput (--for, tuned_for) mtab takes onnxruntime on cpu in fp32, a thread a core" in told
    assert f"{default.seconds and 1 / default.seconds:.1f}" in told


def pairs(tones: Corpus) -> tuple[list[Path | None], list[str | None]]:
    return [each.audio for each in tones.utterances], [each.text for each in tones.utterances]


def test_without_a_corpus_it_says_so(tone_bundle: Path) -> None:
    found = quick(tone_bundle)
    assert not found.real_speech
    assert "without real speech: give --dataset" in format_report(found)
    # Every engine that has a GPU for its only device lacks here once at most.
    everywhere = quick(tone_bundle, device="auto")
    assert {each.engine for each in everywhere.trials} == set(ENGINES)
    lacking = [each.engine for each in everywhere.trials if each.precision is None]
    assert all(each.problem for each in everywhere.trials if each.precision is None)
    assert len([name for name in lacking if name.startswith("tensorrt")]) <= 2


@pytest.mark.parametrize("real", [True, False])
def test_what_costs_too_much_is_dropped(spoiled: Path, tones: Corpus, real: bool) -> None:
    found = quick(spoiled, "manifest", tones.root) if real else quick(spoiled)
    (trial,) = [t for t in found.trials if (t.engine, t.precision) == ("onnxruntime", "int8")]
    assert trial.problem is not None
    assert "expected at most 0.02" in trial.problem
    assert trial.speedup is None
    assert (found.choice.engine, found.choice.precision) != ("onnxruntime", "int8")
    assert trial.problem in format_report(found)


def test_not_even_the_default_passes(copied: Path, tones: Corpus, change: Callable[..., None]) -> None:
    def edit(values: dict) -> None:
        values["probabilities"] = [row[::-1] for row in values["probabilities"]]

    change(copied, "reference.json", edit)
    before = Choice("openvino", "cpu", "fp32", 1)
    store_choice(open_bundle(copied), before)
    arguments = ["tune", str(copied), "--dataset", "manifest", "--data-dir", str(tones.root)]
    done = CliRunner().invoke(main, [*arguments, "--device", "cpu", "--utterances", "4"])
    assert done.exit_code == 1
    assert f"Error: {copied}: not even the default, onnxruntime, passes: a probability differs" in done.stderr
    assert tuned_choice(open_bundle(copied)) == before


def test_a_corpus_that_is_another(
    tone_bundle: Path, tones: Corpus, tmp_path: Path, make_tones: Callable[[Path], Path]
) -> None:
    changed = shutil.copytree(tones.root, tmp_path / "tones")
    manifest = changed / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("it is high", "it is higher"))
    with pytest.raises(DataError, match="has changed since the export"):
        quick(tone_bundle, "manifest", changed)
    with pytest.raises(DataError, match="dataset is emodb, expected manifest"):
        quick(tone_bundle, "emodb", changed)
    with pytest.raises(EngineError, match="device 'tpu'"):
        tune(tone_bundle, "manifest", tones.root, device="tpu")


def test_without_pytorchs_answers(copied: Path, tones: Corpus, change: Callable[..., None]) -> None:
    (copied / "reference.json").unlink()
    change(copied, "config.json", lambda _: None)
    with pytest.raises(BundleError, match=r"holds no reference.json, .* or tune without a dataset"):
        quick(copied, "manifest", tones.root)


def test_a_cache_that_takes_nothing_is_found_before_measuring(
    tone_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "file"))
    told: list[Step] = []
    with pytest.raises(OSError, match="Not a directory"):
        tune(tone_bundle, progress=told.append)
    assert told == []


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_one_modality(counting_bundle: Callable[[str], Path], modality: str) -> None:
    found = quick(counting_bundle(modality))
    # Which precisions pass beside it depends on the processor.
    passed = {(each.engine, each.precision) for each in found.trials if each.problem is None}
    assert {("onnxruntime", "fp32"), (found.choice.engine, found.choice.precision)} <= passed


@pytest.mark.usefixtures("busy")
def test_a_disturbed_choice_is_not_stored(tone_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine all may seem far slower than the default, and then nothing would be in doubt.
    monkeypatch.setattr(mtab.trials, "_FAR", np.inf)
    # Each is tried twice: one engine with one and two threads is enough.
    monkeypatch.setattr(mtab.trials, "ENGINES", ENGINES[:1])
    monkeypatch.setattr(mtab.trials, "usable_cores", lambda: 2)
    before = Choice("onnxruntime", "cpu", "fp32", 1)
    for kept in (None, before):
        if kept is not None:
            store_choice(open_bundle(tone_bundle), kept)
        told: list[Step] = []
        found = tune(tone_bundle, device="cpu", utterances=1, min_seconds=0, progress=told.append)
        assert (found.stored, found.kept) == (False, kept)
        assert tuned_choice(open_bundle(tone_bundle)) == kept
        assert f"mtab.load takes {kept or 'its default'}" in format_report(found).replace(
            "what was chosen before, ", ""
        )
        counts = [step.done for step in told]
        assert counts == sorted(counts)
        assert all(step.done < step.total for step in told)


# The command


def test_reset(tone_bundle: Path) -> None:
    path = store_choice(open_bundle(tone_bundle), Choice("openvino", "cpu", "fp32", 1))
    done = CliRunner().invoke(main, ["tune", str(tone_bundle), "--reset"])
    other = choice_file(open_bundle(tone_bundle), "throughput")
    assert (done.exit_code, done.stdout) == (0, f"Forgotten: {path}\nNo choice was stored: {other}\n")
    assert tuned_choice(open_bundle(tone_bundle)) is None
    for each in get_args(TunedFor):
        store_choice(open_bundle(tone_bundle), Choice("openvino", "cpu", "fp32", 1), each)
    done = CliRunner().invoke(main, ["tune", str(tone_bundle), "--for", "throughput", "--reset"])
    assert (done.exit_code, done.stdout) == (0, f"Forgotten: {other}\n")
    assert (path.exists(), other.exists()) == (True, False)


def test_json(tone_bundle: Path) -> None:
    arguments = ["tune", str(tone_bundle), "--device", "cpu", "--utterances", "2", "--min-seconds", "0"]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["choice"] == json.loads(Path(found["file"]).read_text())["choice"]
    assert found["utterances"] == 2
    done = CliRunner().invoke(main, ["tune", str(tone_bundle), "--data-dir", "x"])
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, "Error: --data-dir needs --dataset")


def test_an_interruption_leaves_the_choice(tone_bundle: Path) -> None:
    before = Choice("openvino", "cpu", "fp32", 1)
    path = store_choice(open_bundle(tone_bundle), before)
    command = [str(Path(sys.executable).with_name("mtab")), "tune", str(tone_bundle), "--min-seconds", "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.splitlines()[-1]) == (130, b"", b"Interrupted")
    assert tuned_choice(open_bundle(tone_bundle)) == before
    assert path.exists()
