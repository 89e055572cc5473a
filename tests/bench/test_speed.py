"""``mtab-bench latency`` on a bundle that is small enough, its baselines among the backends."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import mtab
from mtab.bundle import open_bundle
from mtab.config import from_dict, to_dict
from mtab.errors import BundleError, EngineError
from mtab.loading import open_preprocessor
from mtab_bench.backends import BASELINE_TITLES, bundle_backends, export_plain, open_backend, plain_backends
from mtab_bench.cases import make_cases
from mtab_bench.cli import main
from mtab_bench.flops import count_flops
from mtab_bench.sections.speed import Options, Speed
from mtab_bench.sections.speed_measuring import measure_speed
from mtab_train.checkpoint import load_model

QUICK = Options(
    (2, 1), (0.3,), 1, 0.02, backends=("pytorch-bf16", "onnxruntime-fp32", "openvino-fp32", "cuda"), starts=1
)


@pytest.fixture(scope="module")
def section(tone_bundle: Path) -> Speed:
    return measure_speed(open_bundle(tone_bundle), None, QUICK)


def test_every_engine_that_was_asked_for_is_measured(section: Speed) -> None:
    backends = section.backends
    assert list(backends)[:2] == ["pytorch", "pytorch-bf16"]
    assert set(backends) <= {"pytorch", *QUICK.backends}
    assert backends["onnxruntime-fp32"].title == "ONNX Runtime fp32"
    ran = [key for key, backend in backends.items() if backend.skipped is None]
    assert {"pytorch", "pytorch-bf16", "onnxruntime-fp32"} <= set(ran)
    for case in section.cases:
        assert set(case.backends) == set(backends)
        assert set(case.timed) == set(ran)
    assert [case.batch_size for case in section.cases] == [2, 1]
    for key in ran:
        start, memory = backends[key].start, backends[key].memory
        assert start is not None
        assert memory is not None
        assert start.p50 > 0
        assert (memory.max_ram or 0) > 10


def test_a_gpu_that_is_not_here_is_one_line(section: Speed) -> None:
    if "cuda" not in section.backends:
        pytest.skip("a GPU is here")
    assert (section.backends["cuda"].skipped or "").startswith("no NVIDIA GPU is here (")


def test_figures_follow_from_the_samples(section: Speed) -> None:
    rates = section.rates
    assert rates is not None
    assert section.weights is not None
    assert section.parameters is not None
    assert 0 < section.weights < section.parameters
    for case in section.cases:
        assert case.gflop is not None
        for key, timed in case.timed.items():
            samples = np.array(timed.latency.values)
            each = samples.mean() / case.batch_size
            assert timed.throughput.value == pytest.approx(1 / each)
            assert timed.rtf is not None
            assert timed.rtf.value == pytest.approx(each / case.seconds)
            in_bf16 = "bf16" in key and "bf16" in rates.matrix
            share = case.gflop / np.median(samples) / rates.matrix["bf16" if in_bf16 else "fp32"].value
            assert case.backends[key].share_of_matrix_rate == pytest.approx(share)
            size = 1e-9 * section.weights * (2 if in_bf16 else 4)
            read = size / np.median(samples) / rates.memory.value
            assert case.backends[key].share_of_memory_rate == pytest.approx(read)
            assert timed.repeated is not None
            assert (timed.speedup is None) == (key == "pytorch")
            if timed.speedup is not None:
                assert 0 < timed.speedup.low <= timed.speedup.value <= timed.speedup.high


def test_a_fast_engine_that_answers_otherwise_is_seen(section: Speed) -> None:
    differences = {key: backend.max_probability_difference for key, backend in section.backends.items()}
    assert differences["pytorch"] is None
    assert (differences["onnxruntime-fp32"] or 0) <= 1e-5
    # Eight bits of mantissa are fewer.
    assert 1e-6 < (differences["pytorch-bf16"] or 0) < 0.1


def test_parts_make_up_the_whole(section: Speed) -> None:
    parts = section.parts
    assert [part.part for part in parts] == ["audio_encoder", "text_encoder", "cme", "tab_head"]
    assert {part.batch_size for part in parts} == {QUICK.batch_sizes[0]}
    assert sum(part.gflop for part in parts) == pytest.approx(section.cases[0].gflop)
    # The bundle has the fused graph alone.
    assert {key for part in parts for key in part.backends} == {"pytorch"}


def test_what_it_was_measured_on(section: Speed, tone_run: Path) -> None:
    model = load_model(tone_run)
    assert section.parameters == sum(p.numel() for p in model.parameters())
    assert section.random_weights is False
    assert section.timing.threads == 1
    assert section.min_seconds == 0.02
    values = json.loads(json.dumps(to_dict(section), allow_nan=False))
    assert from_dict(Speed, values, "report.json") == section


def test_speech_is_synthesised_alike_each_time(tone_bundle: Path) -> None:
    preprocess = open_preprocessor(open_bundle(tone_bundle))
    (one, three), (again, _) = (make_cases(preprocess, [1, 3], [0.5]) for _ in range(2))
    for name, array in one.inputs.items():
        np.testing.assert_array_equal(array, again.inputs[name])
    assert three.inputs["input_values"].shape == (3, 8000)
    assert three.inputs["text_lengths"].tolist() == [round(1.5) + 2] * 3
    # What is normalised is cut to length after.
    np.testing.assert_allclose(three.longest["input_values"].std(axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(three.inputs["input_values"].std(axis=1), 1, atol=0.05)
    assert len(np.unique(three.inputs["input_values"][:, 0])) == 3


def test_more_is_asked_than_the_text_encoder_takes(tone_bundle: Path) -> None:
    preprocess = open_preprocessor(open_bundle(tone_bundle))
    [case] = make_cases(preprocess, [1], [30.0])
    assert case.tokens == preprocess.config.max_tokens < 92


def test_a_plain_export_answers_as_pytorch(tone_bundle: Path, tone_run: Path, tmp_path: Path) -> None:
    preprocess, model = open_preprocessor(open_bundle(tone_bundle)), load_model(tone_run)
    [traced] = make_cases(preprocess, [2], [0.3])
    export_plain(model, tmp_path / "plain.onnx", traced.inputs)
    for backend in plain_backends(tmp_path / "plain.onnx", 1):
        run = open_backend(backend)
        for case in make_cases(preprocess, [1, 3], [0.2, 0.5]):
            expected = model.run(case.inputs)["probabilities"]
            # OpenVINO rounds to bfloat16 wherever it can, unless it is told not to.
            budget = 1e-5 if backend.precision == "fp32" else 2e-2
            np.testing.assert_allclose(
                run(case.inputs)["probabilities"], expected, rtol=0, atol=budget, err_msg=backend.key
            )


def test_backends_are_the_bundles_engines_in_their_precisions(tone_bundle: Path) -> None:
    keys = [each.key for each in bundle_backends(open_bundle(tone_bundle), 1)]
    # OpenVINO makes int8 of the float32 graph; bf16 and fp16 are graphs of their own, which it lacks.
    assert keys[:3] == ["onnxruntime-fp32", "openvino-fp32", "openvino-int8"]
    assert len(set(keys)) == len(keys)
    assert not set(keys) & set(BASELINE_TITLES)


def test_without_pytorch_or_its_checkpoint_the_rest_is_measured(tone_bundle: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(tone_bundle, tmp_path / "bundle")
    options = Options((1,), (0.2,), 1, 0.01, backends=("onnxruntime-fp32",), starts=0)
    section = measure_speed(open_bundle(alone), None, options)
    pytorch = section.backends["pytorch"]
    assert "give --checkpoint RUN" in (pytorch.skipped or "")
    assert pytorch.start is pytorch.memory is None
    assert section.backends["onnxruntime-fp32"].skipped is None
    found = section.cases[0].backends["onnxruntime-fp32"]
    assert found.timed is not None
    assert found.timed.latency.p50 > 0
    assert found.timed.speedup is found.share_of_matrix_rate is None
    assert section.rates is section.parameters is None
    assert section.parts == ()


def test_wrong_use_is_one_line(tone_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tone_bundle)
    with pytest.raises(EngineError, match=r"^engine 'onnx', expected some of pytorch, pytorch-bf16"):
        measure_speed(bundle, None, Options(backends=("onnx",)))
    with pytest.raises(BundleError, match=r"not found, expected the checkpoint"):
        measure_speed(bundle, tmp_path, QUICK)


def test_the_command_adds_its_section(tone_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    arguments = ["latency", "--bundle", tone_bundle, "--batch-size", 1, "--seconds", 0.2, "--threads", 1]
    arguments += ["--min-seconds", 0.01, "--engine", "onnxruntime-fp32", "--no-parts", "--starts", 0]
    command = [str(each) for each in [*arguments, "--out", out]]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "ONNX Runtime fp32" in done.output
    report = json.loads((out / "report.json").read_text())
    assert report["schema_version"] == 4
    assert report["speed"]["parts"] == []
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    replaced = CliRunner().invoke(main, [*command, "--overwrite", "--json"])
    assert replaced.exit_code == 0, replaced.output
    assert json.loads(replaced.stdout)["backends"]["onnxruntime-fp32"]["skipped"] is None


def test_on_a_machine_without_a_gpu_one_line_says_so(tone_bundle: Path, tmp_path: Path) -> None:
    from mtab.cuda import find_cuda

    if find_cuda().gpus:
        pytest.skip("a GPU is here")
    done = CliRunner().invoke(main, ["gpu", "--bundle", str(tone_bundle), "--out", str(tmp_path / "report")])
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert done.output.startswith("Error: no NVIDIA GPU is here (")
    assert "skipped" in done.output
    assert not (tmp_path / "report").exists()


def test_the_model_counted_is_the_model_run(tone_run: Path, tone_bundle: Path) -> None:
    """Arithmetic by hand of the one encoder layer of the text side, and a bound for the rest."""
    import torch

    model = load_model(tone_run)
    assert model.text_encoder is not None
    encoder, (tokens, width, inner) = model.text_encoder, (9, 16, 32)
    ids = torch.full((1, tokens), 7)
    expected = 4 * 2 * tokens * width**2 + 2 * 2 * tokens**2 * width + 2 * 2 * tokens * width * inner
    assert count_flops(lambda: encoder(ids, torch.tensor([tokens]))) == expected
    assert mtab.load(tone_bundle, threads=1).labels == tuple(model.config.labels)
