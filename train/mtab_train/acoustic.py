"""The light audio encoder of the preset `compact`: frames and statistics of speech, computed in the graph.

    waveform -- frames (64 mel bands, pitch, harmonicity) --+-- convolutions -> hidden states
                                                            +-- statistics over the utterance

Nothing up to the statistics is learned. All sums over time run over valid frames, and where a frame counts is
a weight between 0 and 1 instead of a threshold, so that rounding never tips a frame over. Shapes: B
utterances, S frames of 10 ms, M mel bands.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mtab.audio import SAMPLE_RATE
from mtab_train.config import ACOUSTIC_HOP as HOP
from mtab_train.config import AcousticConfig
from mtab_train.masking import MaskedBatchNorm1d, valid_mask

MEASURES_VERSION = 1
"""Of what `Frames` and `Statistics` make; a change is another number, so that nothing cached outlives it."""

WINDOW = 400
"""Samples of a frame, 25 ms."""

BANDS = 64
_FFT = 512
_LOWEST, _HIGHEST = 30.0, 8_000.0
_FLOOR = 1e-9
"""Power below which a band counts as silent: 90 dB under a sine of full scale. A bound, and not added: the
ONNX exporter takes so small a term for 0."""

# Pitch is looked for at 4 kHz, in windows of 50 ms.
_DECIMATION = 4
_FILTER = 48
_PITCH_WINDOW = 200
_PITCH_FFT = 512
_PITCHES = np.geomspace(60.0, 550.0, 112)
_OCTAVE_COST = 0.06
"""What a pitch's correlation counts more for an octave higher: twice the period is a period too."""

_SHARPNESS = 100.0
"""How much likelier a pitch is whose correlation is higher by 1, in nats: nearly all weight is the best's."""


def _mel_points() -> np.ndarray:
    """The bands' edges and middles in Hz, (M + 2,) float64, even on the mel scale, 2595 log10(1 + f/700)."""
    lowest, highest = (2595 * math.log10(1 + frequency / 700) for frequency in (_LOWEST, _HIGHEST))
    return 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)


def mel_filters() -> np.ndarray:
    """Triangles on the mel scale, (M, 257) float64, each a mean over the bins."""
    points = _mel_points()
    frequencies = np.arange(_FFT // 2 + 1) * SAMPLE_RATE / _FFT
    left, centre, right = points[:-2, None], points[1:-1, None], points[2:, None]
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    # A narrow band between two bins of the transform takes its share of both.
    triangles = np.maximum(0, np.minimum(rising, falling)) + 1e-6
    return triangles / triangles.sum(axis=1, keepdims=True)


def cosine_transform(numbers: np.ndarray) -> np.ndarray:
    """From the bands to the cepstra ``numbers``, (M, n) float64: DCT-II, orthonormal but for number 0."""
    return np.cos(np.pi / BANDS * np.outer(np.arange(BANDS) + 0.5, numbers)) * np.sqrt(2 / BANDS)


def _fourier(window: np.ndarray, size: int) -> np.ndarray:
    """Cosines and sines of the real transform of ``size`` points, windowed: (2 * (size / 2 + 1), n)."""
    phase = 2 * np.pi / size * np.outer(np.arange(size // 2 + 1), np.arange(len(window)))
    return np.concatenate([np.cos(phase), np.sin(phase)]) * window


def _lags() -> np.ndarray:
    """From a power spectrum to the correlation at each pitch's lag, (257, pitches): a cosine transform."""
    bins = np.arange(_PITCH_FFT // 2 + 1)
    weights = np.where((bins == 0) | (bins == _PITCH_FFT // 2), 1.0, 2.0)
    lags = SAMPLE_RATE / _DECIMATION / _PITCHES
    return weights[:, None] * np.cos(2 * np.pi / _PITCH_FFT * np.outer(bins, lags)) / _PITCH_FFT


class Frames(nn.Module):
    """What is heard every 10 ms: (B, samples) and lengths (B,) -> (B, S, M + 2) float32, and frames (B,).

    The power of each mel band in nepers (natural logarithm), the pitch as the logarithm of its frequency in
    Hz, and the harmonicity (0 noise, 1 a periodic sound), both from the autocorrelation of the signal divided
    by that of the window (Boersma, 1993).
    """

    def __init__(self) -> None:
        super().__init__()
        hann = np.hanning(WINDOW + 1)[:-1]
        scale = 2 / (hann.sum() ** 2)
        pitch_window = np.hanning(_PITCH_WINDOW + 2)[1:-1]
        filter_ = np.sinc((np.arange(_FILTER) - (_FILTER - 1) / 2) / _DECIMATION * 0.9) * np.hamming(_FILTER)
        spectrum = np.fft.rfft(pitch_window, _PITCH_FFT)
        window_correlation = (np.abs(spectrum) ** 2) @ _lags()
        arrays = {
            "fourier": _fourier(hann * math.sqrt(scale), _FFT)[:, None],
            "filters": mel_filters().T,
            "low_pass": (filter_ / filter_.sum())[None, None],
            "pitch_fourier": _fourier(pitch_window, _PITCH_FFT)[:, None],
            "lags": _lags() / window_correlation * (pitch_window**2).sum(),
            "log_pitches": np.log(_PITCHES),
            "octaves": _OCTAVE_COST * np.log2(_PITCHES / _PITCHES[0]),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array.astype(np.float32)), persistent=False)

    fourier: Tensor
    filters: Tensor
    low_pass: Tensor
    pitch_fourier: Tensor
    lags: Tensor
    log_pitches: Tensor
    octaves: Tensor

    def forward(self, samples: Tensor, lengths: Tensor) -> Tensor:
        samples = samples * valid_mask(lengths, samples.shape[1]).to(samples.dtype)
        spectrum = nn.functional.conv1d(samples[:, None], self.fourier, stride=HOP).transpose(1, 2)
        mel = torch.log((_power(spectrum) @ self.filters).clamp(min=_FLOOR))
        pitch, harmonicity = self._pitch(samples, mel.shape[1])
        return torch.cat([mel, pitch, harmonicity], dim=2)

    @staticmethod
    def lengths(samples: Tensor) -> Tensor:
        """Frames of each utterance, (B,) -> (B,); 0 for fewer samples than make one."""
        return (samples - WINDOW + HOP).clamp(min=0) // HOP

    def _pitch(self, samples: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Of each frame, from a window of 50 ms about its middle: two of (B, S, 1)."""
        half = (_PITCH_WINDOW * _DECIMATION - WINDOW) // 2
        padded = nn.functional.pad(samples, (half + _FILTER // 2, half + HOP + _FILTER // 2))
        low = nn.functional.conv1d(padded[:, None], self.low_pass, stride=_DECIMATION)
        spectrum = nn.functional.conv1d(low, self.pitch_fourier, stride=HOP // _DECIMATION).transpose(1, 2)
        power = _power(spectrum[:, :frames])
        total = power[..., :1] + 2 * power[..., 1:-1].sum(dim=2, keepdim=True) + power[..., -1:]
        correlation = power @ self.lags / (total / _PITCH_FFT + 1e-7)
        likely = torch.softmax(_SHARPNESS * (correlation + self.octaves), dim=2)
        pitch = (likely * self.log_pitches).sum(dim=2, keepdim=True)
        return pitch, (likely * correlation).sum(dim=2, keepdim=True).clamp(0, 1)


def _power(spectrum: Tensor) -> Tensor:
    real, imaginary = spectrum.chunk(2, dim=2)
    return real.square() + imaginary.square()


_CEPSTRA = 13
_DYNAMIC_RANGE = 35.0
"""Decibels under the loudest frame at which a frame counts by half."""

_LEAST = 1e-3
"""Weight under which a frame counts for nothing: an engine's sigmoid is exact to some 1e-7 and no better, and
frames that are of no account by that much may be hundreds."""

_DECIBELS = 10 / math.log(10)
_TILT_LIMIT = 4.0
_CUTS = (1_000.0, 2_500.0, 5_000.0)
"""Hz between the ranges whose shares of the energy are told."""


_MODULATIONS = (2, 4, 8, 16)
"""Hz at which the strength of a descriptor's rise and fall is told: phrases, words, syllables, phones."""

_LAGS = (1, 10)
"""Frames between the two that a change is from one to the other of."""

_DESCRIPTORS = _CEPSTRA + 2 + 4 + len(_CUTS) + 1


class Statistics(nn.Module):
    """What an utterance sounds like as a whole: frames (B, S, M + 2) and their number (B,) -> (B, F) float32.

    Of each low-level descriptor (cepstra, pitch, harmonicity, energy, the spectrum's centre, width, entropy
    and balance) over the active, the voiced and the unvoiced frames: mean, log deviation, skewness, log
    kurtosis, and the means of its upper and lower tails; mean and deviation of its changes; the strength of
    its modulations; of each mel band mean, deviation and change; the course of pitch and energy over the
    utterance; and timing.
    """

    cosines: Tensor
    ranges: Tensor
    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        cosines = cosine_transform(np.arange(1, _CEPSTRA + 1))
        ranges = np.digitize(_mel_points()[1:-1], _CUTS)[:, None] == np.arange(len(_CUTS) + 1)
        arrays = {"cosines": cosines, "ranges": ranges, "positions": np.arange(BANDS) / BANDS}
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array.astype(np.float32)), persistent=False)
        for frequency in _MODULATIONS:
            wave = torch.from_numpy(_modulation_filter(frequency).astype(np.float32))
            self.register_buffer(f"wave{frequency}", wave[:, None], persistent=False)

    @property
    def size(self) -> int:
        """F, the number of statistics."""
        of_each = 3 * 6 + 2 * (len(_LAGS) + 1) + len(_MODULATIONS)
        return of_each * _DESCRIPTORS + 5 * BANDS + 2 * 4 + 5

    def forward(self, frames: Tensor, count: Tensor) -> Tensor:
        valid = valid_mask(count, frames.shape[1])[..., None]
        descriptors, energy, mel = self.descriptors(frames)
        loudest = energy.masked_fill(~valid, -1e4).amax(dim=1, keepdim=True)
        active = _counted(torch.sigmoid((energy - loudest + _DYNAMIC_RANGE) / 2) * valid)
        periodic = torch.sigmoid((frames[..., -1:] - 0.5) * 20)
        voiced, unvoiced = _counted(active * periodic), _counted(active * (1 - periodic))
        found = [_moments(descriptors, weights) for weights in (active, voiced, unvoiced)]
        found += [_changes(descriptors, active, lag) for lag in _LAGS]
        found += [_changes(descriptors, voiced, 1)]
        found += [_spread(mel, active), _spread(mel, voiced), _changes(mel, active, 1)[:, :1]]
        found += [self._modulations(descriptors, active), self._course(descriptors, active, voiced, count)]
        found += [self._timing(active, voiced, count)]
        return torch.cat([each.flatten(1) for each in found], dim=1)

    def descriptors(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The low-level descriptors (B, S, D), energy in dB (B, S, 1), and the mel bands (B, S, M)."""
        mel = frames[..., :BANDS]
        power = torch.exp(mel)
        total = power.sum(dim=2, keepdim=True)
        share = power / total
        energy = _DECIBELS * torch.log(total)
        centre = share @ self.positions[:, None]
        width = (share * (self.positions - centre).square()).sum(dim=2, keepdim=True).sqrt()
        entropy = -(share * torch.log(share.clamp(min=1e-12))).sum(dim=2, keepdim=True)
        balance = torch.log(share @ self.ranges + 1e-6)
        parts = [mel @ self.cosines, frames[..., BANDS:], energy, centre, width, entropy, balance]
        return torch.cat(parts, dim=2), energy, mel

    def _modulations(self, descriptors: Tensor, active: Tensor) -> Tensor:
        """Log deviation of each descriptor within a band of modulations, (B, D, 4)."""
        off = ((descriptors - _mean(descriptors, active)) * active).transpose(1, 2)
        total = active.sum(dim=1)[..., None] + 1e-3
        found = []
        for frequency in _MODULATIONS:
            wave = getattr(self, f"wave{frequency}")
            size = wave.shape[2]
            padded = nn.functional.pad(off, (size // 2, (size - 1) // 2)).flatten(0, 1)[:, None]
            strength = nn.functional.conv1d(padded, wave).square().sum(dim=1).unflatten(0, off.shape[:2])
            over_time = (strength * active.transpose(1, 2)).sum(dim=2, keepdim=True) / total
            found.append(torch.log(over_time + 1e-6) / 2)
        return torch.cat(found, dim=2)

    def _course(self, descriptors: Tensor, active: Tensor, voiced: Tensor, count: Tensor) -> Tensor:
        """Slope and curvature of first cepstrum, pitch, harmonicity and energy over the utterance, (B, 8)."""
        where = torch.arange(descriptors.shape[1], device=count.device, dtype=torch.float32)[None, :, None]
        time = 2 * (where + 0.5) / count[:, None, None].clamp(min=1).float() - 1
        chosen = descriptors[..., [0, _CEPSTRA, _CEPSTRA + 1, _CEPSTRA + 2]]
        weights = torch.cat([active, voiced, active, active], dim=2)
        off = (chosen - _mean(chosen, weights)) * weights
        total = weights.sum(dim=1, keepdim=True) + 1e-3
        slope = (off * time).sum(dim=1, keepdim=True) / total
        curvature = (off * (1.5 * time.square() - 0.5)).sum(dim=1, keepdim=True) / total
        return torch.cat([slope, curvature], dim=2)

    def _timing(self, active: Tensor, voiced: Tensor, count: Tensor) -> Tensor:
        """Log seconds of activity, shares of activity and voicing, changes a second of each: (B, 5)."""
        frames = count[:, None].clamp(min=1).float()
        spoken, sung = active.sum(dim=1), voiced.sum(dim=1)
        pairs = (frames - 1).clamp(min=1)
        # What is past the end counts as silent; the step to it is none of the utterance's.
        inside = valid_mask(count - 1, active.shape[1] - 1)[..., None].to(active.dtype)
        turns = [
            ((each[:, 1:] - each[:, :-1]).abs() * inside).sum(dim=1) / pairs for each in (active, voiced)
        ]
        return torch.cat(
            [torch.log(spoken * HOP / SAMPLE_RATE + 0.01), spoken / frames, sung / (spoken + 1e-3), *turns],
            dim=1,
        )


def _counted(weights: Tensor) -> Tensor:
    return (weights - _LEAST).clamp(min=0)


def _mean(x: Tensor, weights: Tensor) -> Tensor:
    """Over time, weighted: (B, S, D), (B, S, 1 or D) -> (B, 1, D)."""
    total = weights.sum(dim=1, keepdim=True) + 1e-3
    mean = (x * weights).sum(dim=1, keepdim=True) / total
    # A second pass takes back what rounding leaves of values far from 0: engines sum in any order.
    return mean + ((x - mean) * weights).sum(dim=1, keepdim=True) / total


def _spread(x: Tensor, weights: Tensor) -> Tensor:
    """Mean and log deviation of (B, S, D): (B, 2, D)."""
    mean = _mean(x, weights)
    return torch.cat([mean, torch.log(_mean((x - mean).square(), weights) + 1e-4) / 2], dim=1)


def _changes(x: Tensor, weights: Tensor, lag: int) -> Tensor:
    """Logs of mean and deviation of the distance between frames ``lag`` apart: (B, S, D) -> (B, 2, D)."""
    # Where an utterance is shorter than the lag, every pair weighs nothing.
    x, weights = (nn.functional.pad(each, (0, 0, 0, lag)) for each in (x, weights))
    pairs = weights[:, lag:] * weights[:, :-lag]
    distance = (x[:, lag:] - x[:, :-lag]).abs()
    mean = _mean(distance, pairs)
    deviation = _mean((distance - mean).square(), pairs)
    return torch.cat([torch.log(mean + 1e-4), torch.log(deviation + 1e-6) / 2], dim=1)


def _modulation_filter(frequency: int) -> np.ndarray:
    """Cosine and sine of two periods under a Hann window, without a mean: (2, frames) float64."""
    size = round(2 * SAMPLE_RATE / HOP / frequency)
    window = np.hanning(size + 2)[1:-1]
    phase = 2 * np.pi * frequency * HOP / SAMPLE_RATE * np.arange(size)
    waves = np.stack([np.cos(phase), np.sin(phase)]) * window
    waves -= waves.sum(axis=1, keepdims=True) / window.sum() * window
    return waves / window.sum()


def _moments(x: Tensor, weights: Tensor) -> Tensor:
    """Mean, log deviation, skewness, log kurtosis, upper and lower tail of (B, S, D): (B, 6, D).

    The tails are the means under weights that grow by e with each deviation up, and down.
    """
    mean = _mean(x, weights)
    deviation = (_mean((x - mean).square(), weights) + 1e-6).sqrt()
    z = ((x - mean) / deviation).clamp(-_TILT_LIMIT, _TILT_LIMIT)
    tails = [_mean(z, weights * torch.exp(tilt * z)) for tilt in (1, -1)]
    cubed = z.square() * z
    return torch.cat(
        [
            mean,
            torch.log(deviation),
            _mean(cubed, weights),
            torch.log(_mean(cubed * z, weights) + 0.1),
            *tails,
        ],
        dim=1,
    )


class MeasuredEncoder(nn.Module):
    """An audio encoder that starts from `Frames`, and so from nothing that is learned.

    ``strides`` are frames from one hidden state to the next, by layer.
    """

    feature_size = BANDS + 2
    """Width of `features`."""

    min_samples = WINDOW
    """Samples that make the first frame."""

    def __init__(self, hidden_size: int, strides: Sequence[int] = ()) -> None:
        super().__init__()
        self.frames = Frames()
        self.hidden_size = hidden_size
        self.strides = [HOP, *strides]

    def features(self, input_values: Tensor, lengths: Tensor) -> Tensor:
        """`Frames`: (B, samples) -> (B, S, M + 2)."""
        return self.frames(input_values, lengths)


class AcousticEncoder(MeasuredEncoder):
    """Waveform -> hidden states of 40 ms, and statistics; the same alone and in any padded batch.

    The sequence is told how bands differ from their mean over the utterance: what the mean is, the
    statistics say.
    """

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__(config.hidden_size, config.conv_stride)
        self.config = config
        self.statistics = Statistics()
        size = config.hidden_size
        self.input_norm = MaskedBatchNorm1d(BANDS + 2)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(BANDS + 2 if i == 0 else size, size, config.conv_kernel, stride)
            for i, stride in enumerate(config.conv_stride)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm1d(size) for _ in config.conv_stride)
        self.positions = nn.Conv1d(size, size, config.num_conv_pos_embeddings, groups=size)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def context(self, features: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, S, M + 2) and their number (B,) -> hidden states and their number."""
        mask = valid_mask(count.clamp(min=1), features.shape[1])
        mel, voice = features[..., :BANDS], features[..., BANDS:]
        mel = mel - _mean(mel, mask[..., None].float())
        x = self.input_norm(torch.cat([mel, voice], dim=2).transpose(1, 2), mask)
        if self.training:
            x = self._hide(x, count)
        kernel = self.config.conv_kernel
        for convolution, norm, stride in zip(
            self.convolutions, self.norms, self.config.conv_stride, strict=True
        ):
            x = nn.functional.pad(x * mask[:, None], (kernel // 2, kernel // 2))
            x = convolution(x)
            count = (count + stride - 1) // stride
            mask = valid_mask(count.clamp(min=1), x.shape[2])
            x = self.dropout(torch.relu(norm(x, mask)))
        x = x * mask[:, None]
        size = self.config.num_conv_pos_embeddings
        x = x + self.positions(nn.functional.pad(x, ((size - 1) // 2, size // 2)))
        return x.transpose(1, 2), count

    def forward(self, input_values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Waveforms (B, samples) and their lengths -> hidden states, their number, statistics (B, F)."""
        features, count = self.features(input_values, lengths), self.frames.lengths(lengths)
        return *self.context(features, count), self.statistics(features, count)

    def _hide(self, x: Tensor, count: Tensor) -> Tensor:
        """SpecAugment (Park et al., 2019): stretches of time and of bands at random are 0, the mean."""
        for axis, sizes, most in (
            (2, count[:, None], self.config.mask_time_prob),
            (1, torch.full_like(count[:, None], BANDS), self.config.mask_feature_prob),
        ):
            place = torch.arange(x.shape[axis], device=x.device)[None, :]
            for _ in range(self.config.num_masks):
                width = torch.rand_like(sizes, dtype=torch.float32) * most * sizes
                start = torch.rand_like(sizes, dtype=torch.float32) * (sizes - width)
                hidden = (place >= start) & (place < start + width)
                x = x.masked_fill(hidden[:, None, :] if axis == 2 else hidden[..., None], 0)
        return x


class StatisticsEmbedding(nn.Module):
    """Statistics (B, F), standardised by those of training -> (B, E), for the head."""

    def __init__(self, inputs: int, config: AcousticConfig) -> None:
        super().__init__()
        size = config.statistics_size
        # Without momentum the running statistics are those of all steps so far.
        self.standardise = MaskedBatchNorm1d(inputs, affine=False, momentum=None, eps=1e-8)
        self.linear = nn.Linear(inputs, size)
        self.norm = MaskedBatchNorm1d(size)
        self.dropouts = nn.ModuleList(map(nn.Dropout, (config.statistics_dropout, config.statistics_dropout)))

    def forward(self, statistics: Tensor) -> Tensor:
        every = torch.ones_like(statistics[:, :1], dtype=torch.bool)
        x = self.standardise(statistics[..., None], every)[..., 0].clamp(-5, 5)
        x = self.norm(self.linear(self.dropouts[0](x))[..., None], every)[..., 0]
        return self.dropouts[1](torch.relu(x))
