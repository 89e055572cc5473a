"""The light audio encoder against numpy, scipy and torchaudio, and alone against padded."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import scipy.signal
import scipy.stats
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtab_train.acoustic import (
    BANDS,
    AcousticEncoder,
    Frames,
    Statistics,
    StatisticsEmbedding,
    _moments,
    mel_filters,
)
from mtab_train.config import AcousticConfig

SMALL = AcousticConfig(hidden_size=8, statistics_size=6)


def lengths_of(*clips: np.ndarray) -> Tensor:
    return torch.tensor([len(clip) for clip in clips])


def frames_of(clip: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return Frames()(torch.from_numpy(clip.astype(np.float32))[None], lengths_of(clip))[0].numpy()


def voice(pitch: float, seconds: float = 0.5) -> np.ndarray:
    """A buzz with all harmonics up to 4 kHz."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    count = int(4_000 // pitch)
    return sum(np.sin(2 * np.pi * k * pitch * time + k) / k for k in range(1, count + 1)) * 0.1


def test_bands_are_torchaudios() -> None:
    theirs = torchaudio.functional.melscale_fbanks(257, 30, 8000, BANDS, 16_000, mel_scale="htk").T.numpy()
    ours = mel_filters()
    assert ours.sum(axis=1) == pytest.approx(1)
    wide = theirs.sum(axis=1) > 2
    assert ours[wide] == pytest.approx(theirs[wide] / theirs[wide].sum(axis=1, keepdims=True), abs=1e-4)


def test_mel_is_the_power_of_a_windowed_transform() -> None:
    clip = np.random.default_rng(0).normal(size=4_000) * 0.1
    hann = scipy.signal.get_window("hann", 400)
    spectra = [np.fft.rfft(clip[at : at + 400] * hann, 512) for at in range(0, 3_601, 160)]
    power = np.abs(spectra) ** 2 * 2 / hann.sum() ** 2
    assert frames_of(clip)[:, :BANDS] == pytest.approx(np.log(power @ mel_filters().T), abs=1e-3)


@pytest.mark.parametrize("pitch", [75, 110, 163.7, 220, 341, 480])
def test_pitch_and_harmonicity_of_a_voice(pitch: float) -> None:
    found = frames_of(voice(pitch))[5:-5, BANDS:]
    assert np.exp(found[:, 0]) == pytest.approx(pitch, rel=0.03)
    assert found[:, 1].min() > 0.85


def test_noise_and_silence_have_no_pitch() -> None:
    noise = frames_of(np.random.default_rng(0).normal(size=8_000))
    assert np.median(noise[:, -1]) < 0.5
    silence = frames_of(np.zeros(8_000))
    assert np.isfinite(silence).all()
    assert silence[:, -1].max() == 0


def test_moments_are_scipys() -> None:
    # No value is four deviations off, from where on they count as that far.
    x = np.random.default_rng(0).beta(2, 5, size=(2, 50, 3)).astype(np.float32)
    counted = np.array([50, 20])
    weights = torch.from_numpy((np.arange(50) < counted[:, None])[..., None].astype(np.float32))
    found = _moments(torch.from_numpy(x), weights).numpy()
    for row, count, of_row in zip(x, counted, found, strict=True):
        values = row[:count]
        mean, log_deviation, skewness, log_kurtosis, upper, lower = of_row
        assert mean == pytest.approx(values.mean(axis=0), rel=1e-3)
        assert log_deviation == pytest.approx(np.log(values.std(axis=0)), abs=1e-3)
        assert skewness == pytest.approx(scipy.stats.skew(values), abs=0.02)
        assert np.exp(log_kurtosis) - 0.1 == pytest.approx(
            scipy.stats.kurtosis(values, fisher=False), rel=0.02
        )
        z = (values - values.mean(axis=0)) / values.std(axis=0)
        for tail, sign in ((upper, 1), (lower, -1)):
            assert tail == pytest.approx(np.average(z, axis=0, weights=np.exp(sign * z)), rel=0.02)


def test_an_engine_rounds_no_more_than_pytorch(tmp_path: Path) -> None:
    """ONNX Runtime sums one utterance's frames one after the other, PyTorch in a tree: 20 s show it."""
    random = np.random.default_rng(0)
    shape = (1, 2_000, BANDS + 2)
    frames = random.normal([-12.0] * BANDS + [5.0, 0.7], [1.5] * BANDS + [0.2, 0.2], shape)
    # Nearly all of it voiced: what is left for the unvoiced is small beside the rounding of so many weights.
    frames[..., -1] = frames[..., -1].clip(0, 1)
    frames[:, 20:, -1] = frames[:, 20:, -1].clip(0.97, 1)
    count = np.array([2_000])
    inputs = (torch.from_numpy(frames.astype(np.float32)), torch.from_numpy(count))
    program = torch.onnx.export(
        Statistics().eval(), inputs, input_names=["frames", "count"], dynamo=True, verbose=False
    )
    assert program is not None
    program.save(tmp_path / "statistics.onnx")
    engine = onnxruntime.InferenceSession(tmp_path / "statistics.onnx", providers=["CPUExecutionProvider"])
    (found,) = engine.run(None, {"frames": inputs[0].numpy(), "count": count})
    expected = Statistics().double()(inputs[0].double(), inputs[1]).numpy()
    assert found == pytest.approx(expected, abs=2e-5)


def test_a_modulation_is_found_where_it_is() -> None:
    """A buzz whose level rises and falls four times a second."""
    clip = voice(150, 2.0) * (1 + 0.6 * np.sin(2 * np.pi * 4 * np.arange(32_000) / 16_000))
    statistics = Statistics()
    with torch.no_grad():
        frames = torch.from_numpy(frames_of(clip))[None]
        descriptors, energy, _ = statistics.descriptors(frames)
        found = statistics._modulations(descriptors, torch.ones_like(energy))[0]
    where = (descriptors == energy).all(dim=1)[0]
    two, four, eight, sixteen = found[where][0].tolist()
    assert four > max(two, eight, sixteen) + 0.5


def clips(lengths: list[int]) -> list[np.ndarray]:
    random = np.random.default_rng(sum(lengths))
    return [(random.normal(size=n) * random.uniform(0.001, 0.5)).astype(np.float32) for n in lengths]


def padded(rows: list[np.ndarray], size: int, fill: float) -> Tensor:
    batch = np.full((len(rows), size), fill, np.float32)
    for target, row in zip(batch, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(batch)


@settings(deadline=None, max_examples=15)
@given(
    lengths=st.lists(st.integers(400, 20_000), min_size=1, max_size=4),
    extra=st.integers(0, 3_000),
    fill=st.sampled_from([0.0, 3.0]),
)
def test_padding_changes_nothing(lengths: list[int], extra: int, fill: float) -> None:
    torch.manual_seed(0)
    encoder = AcousticEncoder(SMALL).eval()
    rows = clips(lengths)
    with torch.no_grad():
        states, count, statistics = encoder(padded(rows, max(lengths) + extra, fill), lengths_of(*rows))
        assert statistics.shape == (len(rows), encoder.statistics.size)
        for i, row in enumerate(rows):
            alone, (frames,), own = encoder(torch.from_numpy(row)[None], lengths_of(row))
            assert frames == count[i] == -(-((len(row) - 400) // 160 + 1) // 4)
            torch.testing.assert_close(states[i, :frames], alone[0, :frames], atol=2e-4, rtol=1e-4)
            torch.testing.assert_close(statistics[i], own[0], atol=2e-3, rtol=1e-3)


def test_too_little_sound_has_no_frame() -> None:
    encoder = AcousticEncoder(SMALL).eval()
    with torch.no_grad():
        states, count, statistics = encoder(torch.zeros(2, 800), torch.tensor([399, 0]))
    assert count.tolist() == [0, 0]
    assert states.isfinite().all()
    assert statistics.isfinite().all()


def test_masks_of_specaugment_are_of_training_alone() -> None:
    torch.manual_seed(0)
    encoder = AcousticEncoder(AcousticConfig(mask_time_prob=0.5, mask_feature_prob=0.5))
    x, count = torch.ones(3, BANDS + 2, 40), torch.tensor([40, 30, 12])
    hidden = encoder._hide(x, count) == 0
    for row, length in zip(hidden, count.tolist(), strict=True):
        assert 0 < row.float().mean() < 1
        # Pitch and harmonicity are no bands: only time hides them.
        by_time = row.all(dim=0)
        assert not row[-2:, ~by_time].any()
        assert not by_time[length:].any()
    clip = torch.from_numpy(clips([8_000])[0])[None]
    encoder.eval()
    with torch.no_grad():
        first, second = (encoder(clip, torch.tensor([8_000]))[0] for _ in range(2))
    assert torch.equal(first, second)


def test_what_is_embedded_is_standardised() -> None:
    torch.manual_seed(0)
    embedding = StatisticsEmbedding(3, SMALL)
    x = torch.randn(500, 3) * torch.tensor([1.0, 50.0, 1e-2]) + torch.tensor([0.0, -900.0, 4.0])
    for _ in range(300):
        embedding(x)
    embedding.eval()
    shifted = embedding.standardise(x[..., None], torch.ones(500, 1, dtype=torch.bool))
    assert shifted.mean(dim=0).abs().max() < 0.05
    assert (shifted.std(dim=0) - 1).abs().max() < 0.1
    # No clip, however odd, is more than five deviations off.
    far = torch.tensor([[1e6, 1e6, 1e6]])
    assert torch.equal(embedding(far), embedding(far * 2))
