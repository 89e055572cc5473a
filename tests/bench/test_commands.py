"""Every option of every command of ``mtab-bench`` once, on a bundle that is small enough."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from mtab.data import Corpus
from mtab_bench.cli import main
from mtab_train.config import PRESETS, Preset
from mtab_train.start import Start


@pytest.fixture(autouse=True)
def nano_preset(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", Preset(start.model, replace(start.train, epochs=1)))


@pytest.fixture
def timed_tones(tones: Corpus, tmp_path: Path) -> Path:
    """The corpus with the times that annotations give, under other names for its columns."""
    header, *rows = (tones.root / "manifest.csv").read_text().splitlines()
    lines = [f"{header.replace('label', 'emotion')},start,end"]
    lines += [f"{tones.root}/{row},0.0,{0.05 + 0.001 * i:.3f}" for i, row in enumerate(rows)]
    path = tmp_path / "timed.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


CORPUS = ("--dataset", "manifest", "--data-dir", "TONES")
BUNDLE = ("--bundle", "BUNDLE", "--out", "OUT", "--overwrite")
LATENCY = ("latency", *BUNDLE, "--seconds", 0.2, "--min-seconds", 0, "--threads", 1, "--starts", 0)
ONE = ("--batch-size", 1, "--engine", "onnxruntime-fp32")
EVERY = {
    "main": (*CORPUS, *BUNDLE, "--checkpoint", "RUN", "--threads", 1, "--columns", "label=label", "--json"),
    "main, elsewhere": (*CORPUS, *BUNDLE, "--fold", "speaker-1", "--label-map", "MAP", "--threads", 1),
    "main, all": (*CORPUS, *BUNDLE, "--split", "all", "--threads", 1, "--json"),
    "latency": (
        *LATENCY, *ONE, "--batch-size", 2, "--seconds", 0.3, "--engine", "pytorch-bf16",
        "--checkpoint", "RUN",
    ),
    "latency, whole": (*LATENCY, *ONE, "--no-parts", "--json"),
    "invariance": (
        "invariance", *BUNDLE, *CORPUS, "--checkpoint", "RUN", "--utterances", 3, "--batch-size", 2,
        "--seed", 1, "--threads", 1, "--columns", "label=label", "--json",
    ),
    "invariance, synthetic": ("invariance", *BUNDLE, "--utterances", 3, "--batch-size", 2, "--threads", 1),
    "batching": (
        "batching", *BUNDLE, "--dataset", "manifest", "--data-dir", "TIMED", "--columns", "label=emotion",
        "--utterances", 32, "--threads", 1,
    ),
    "training": (
        "training", *BUNDLE, *CORPUS, "--preset", "tiny", "--batch-size", 4, "--utterances", 20,
        "--epochs", 1, "--columns", "label=label", "--json",
    ),
    "paper": (
        "paper", *CORPUS, "--columns", "label=label", "--folds", "speaker:2", "--rows", "tfidf,mul-tab",
        "--preset", "tiny", "--protocol", "honest", "--seeds", 1, "--epochs", 1, "--out", "OUT", "--dry-run",
        "--modalities", "audio+text", "--init-from", "RUN",
        "--device", "cpu", "--threads", 1, "--workers", 0, "--cache", "--ray", "local",
    ),
    "soak": ("soak", "BUNDLE", "--requests", 20, "--threads", 2, "--device", "cpu", "--json"),
    "timeline": (
        "timeline", "BUNDLE", *CORPUS, "--hours", 0.005, "--seed", 1, "--device", "cpu",
        "--columns", "label=label", "--json",
    ),
    "live": (
        "live", "BUNDLE", "--streams", 1, "--seconds", 1.5, "--window", 0.5, "--hop", 0.25, "--device", "cpu",
        "--threads", 1, "--json",
    ),
    "vad": ("vad", "TURNS", "--json"),
    "robustness": (
        "robustness", "BUNDLE", *CORPUS, "--fold", "speaker-1", "--label-map", "MAP", "--seed", 1,
        "--device", "cpu", "--columns", "label=label", "--json",
    ),
    "robustness, all": ("robustness", "BUNDLE", *CORPUS, "--split", "all"),
    "serve": (
        "serve", "BUNDLE", "--seconds", 1, "--clients", 2, "--requests", 20, "--threads", 1,
        "--dataset", "manifest", "--data-dir", "TIMED", "--columns", "label=emotion",
        "--for", "latency", "--json",
    ),
    "profile": (
        "profile", "--bundle", "BUNDLE", "--backend", "onnxruntime-fp32", "--seconds", 0.5, "--batch-size", 2,
        "--threads", 1, "--json",
    ),
    "memory": (
        "memory", "BUNDLE", "--engine", "onnxruntime", "--precision", "fp32", "--seconds", 1, "--json",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EVERY)
def test_every_option(
    name: str, tone_bundle: Path, tone_run: Path, tones: Corpus, timed_tones: Path, tmp_path: Path
) -> None:
    if name == "serve" and shutil.which("wrk") is None:
        pytest.skip("wrk makes the load")
    out = tmp_path / "out"
    (tmp_path / "turns.csv").write_text(f"audio,start,end\n{tones.root}/0-0.wav,0.0,0.1\n")
    places = {"BUNDLE": tone_bundle, "RUN": tone_run, "TONES": tones.root, "TIMED": timed_tones, "OUT": out}
    (tmp_path / "map.csv").write_text("label,mapped\nhigh,high\nlow,low\n")
    places["MAP"] = tmp_path / "map.csv"
    places["TURNS"] = tmp_path / "turns.csv"
    arguments = [places.get(str(each), each) for each in EVERY[name]]
    done = bench(*arguments)
    assert done.exit_code == 0, done.output
    if "--json" in arguments:
        begin = 0 if done.stdout.startswith("[") else done.stdout.index("{\n")
        assert json.loads(done.stdout[begin:])
    others = ("paper", "soak", "memory", "profile", "timeline", "live", "vad", "serve", "robustness")
    if name.split(",")[0] in others:
        return
    section = {"main": "evaluation", "latency": "speed"}.get(name.split(",")[0], name.split(",")[0])
    report = json.loads((out / "report.json").read_text())
    assert list(report) == ["schema_version", "bundle", section]
    # What every report can be used for, whichever section it has.
    again = bench("report", out)
    assert again.exit_code == 0, again.output
    compared = bench("compare", out / "report.json", out / "report.json", "--alpha", 0.01, "--threshold", 0.1)
    both = {"evaluation", "speed"} & {section}
    assert compared.exit_code == (0 if both else 1), compared.output


def test_every_option_is_among_these() -> None:
    """An option that joins a command joins the lines above."""
    tried = {"compare": {"--alpha", "--threshold", "--json"}, "report": set[str]()}
    # In test_sdk.py, where the library is built.
    tried["sdk"] = {
        "--build",
        "--onnxruntime",
        "--checkpoint",
        "--precision",
        "--requests",
        "--starts",
        "--json",
    }
    for name, arguments in EVERY.items():
        tried.setdefault(name.split(",")[0], set()).update(str(each) for each in arguments)
    tried["latency"].add("--optimum")
    assert tried.keys() | {"gpu"} == main.commands.keys() | {"main"}
    for name, given in tried.items():
        command: click.Command = main if name == "main" else main.commands[name]
        options = {
            option
            for each in command.params
            if isinstance(each, click.Option)
            for option in each.opts
            if option not in ("--help", "--version")
        }
        assert options <= given, name


@pytest.mark.parametrize("options", [(), ("--no-parts",), ("--engine", "optimum")])
def test_an_optimum_that_is_not_there_is_one_line(
    tone_bundle: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    missing = tmp_path / "bin" / "python"
    done = bench(
        "latency", "--bundle", tone_bundle, "--out", tmp_path / "out", "--optimum", missing, *options
    )
    assert done.exit_code == 1
    assert done.output == f"Error: {missing}: not found, expected a Python with optimum-onnx\n"
    assert not (tmp_path / "out").exists()
