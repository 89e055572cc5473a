"""The stored choice: for this content and this machine, and never a reason to fail."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import mtab
import mtab.choice
from mtab.bundle import open_bundle
from mtab.choice import Choice, choice_file, forget_choice, store_choice, tuned_choice
from mtab.errors import BundleError, EngineError

CHOICE = Choice("openvino", "cpu", "bf16", 2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_stored_is_found(copied: Path, tmp_path: Path) -> None:
    bundle = open_bundle(copied)
    assert tuned_choice(bundle) is None
    path = store_choice(bundle, CHOICE)
    assert path.is_relative_to(tmp_path / "cache" / "tuning")
    assert tuned_choice(bundle) == CHOICE
    other = Choice("onnxruntime", "cpu", "fp32")
    assert store_choice(bundle, other) == path
    assert tuned_choice(open_bundle(copied.rename(tmp_path / "moved"))) == other


def test_latency_and_throughput_have_a_choice_each(copied: Path) -> None:
    bundle = open_bundle(copied)
    many = Choice("onnxruntime", "cpu", "fp32", None, streams=2, batch_size=16)
    store_choice(bundle, CHOICE)
    assert tuned_choice(bundle, "throughput") is None
    path = store_choice(bundle, many, "throughput")
    assert path != choice_file(bundle)
    assert (tuned_choice(bundle), tuned_choice(bundle, "throughput")) == (CHOICE, many)
    assert str(many) == "onnxruntime on cpu in fp32, batches of 16, 2 at once"
    assert forget_choice(bundle)
    assert (tuned_choice(bundle), tuned_choice(bundle, "throughput")) == (None, many)


def test_what_was_stored_before_there_were_batches_is_read(copied: Path) -> None:
    bundle = open_bundle(copied)
    path = store_choice(bundle, CHOICE)
    stored = json.loads(path.read_text())
    del stored["choice"]["streams"], stored["choice"]["batch_size"]
    path.write_text(json.dumps(stored))
    assert tuned_choice(bundle) == CHOICE


def test_another_content_has_no_choice(copied: Path, change: Callable[..., None]) -> None:
    store_choice(open_bundle(copied), CHOICE)
    change(copied, "config.json", lambda values: values.update(id2label={"0": "a", "1": "b"}))
    assert tuned_choice(open_bundle(copied)) is None


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ("processor_key", lambda: "another"),
        ("usable_cores", lambda: 999),
        ("_versions", lambda: {"onnxruntime": "9.9"}),
    ],
)
def test_another_machine_has_no_choice(
    tone_bundle: Path, monkeypatch: pytest.MonkeyPatch, function: str, value: Callable
) -> None:
    bundle = open_bundle(tone_bundle)
    store_choice(bundle, CHOICE)
    monkeypatch.setattr(mtab.choice, function, value)
    assert tuned_choice(bundle) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        *(
            json.dumps(
                {
                    "choice": {
                        "engine": "openvino",
                        "device": "cpu",
                        "precision": p,
                        "threads": t,
                        "streams": s,
                    },
                    "versions": {},
                }
            )
            for p, t, s in (("fp7", 1, 1), ("fp32", 0, 1), ("fp32", "1", 1), ("fp32", 1, 0))
        ),
    ],
)
def test_a_spoiled_choice_is_none(tone_bundle: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    bundle = open_bundle(tone_bundle)
    path = store_choice(bundle, CHOICE)
    path.write_text(content)
    mtab.choice.note.cache_clear()
    caplog.clear()
    assert tuned_choice(bundle) is None
    assert tuned_choice(bundle) is None
    (told,) = caplog.messages
    assert told.startswith(f"{path}: ")
    assert "mtab tune --reset" in told
    assert forget_choice(bundle)
    assert not forget_choice(bundle)


def test_an_engine_that_was_upgraded_is_told(
    tone_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = open_bundle(tone_bundle)
    path = store_choice(bundle, CHOICE)
    mtab.choice.note.cache_clear()
    monkeypatch.setattr(mtab.choice, "_versions", lambda: {"openvino": "9.9"})
    assert tuned_choice(bundle) is None
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{path}: ")
    assert "since mtab tune chose openvino on cpu in bf16, 2 threads; ignored" in caplog.messages[0]


def test_an_engine_that_cannot_be_had_is_told(tone_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    store_choice(open_bundle(tone_bundle), Choice("tensorrt-rtx", "cuda", "fp32"))
    mtab.choice.note.cache_clear()
    model = mtab.load(tone_bundle)
    assert model.engine.name == "onnxruntime"
    (told,) = caplog.messages
    assert told.startswith("what mtab tune chose cannot be had: ")
    with pytest.raises((BundleError, EngineError)):
        mtab.load(tone_bundle, engine="tensorrt-rtx")
