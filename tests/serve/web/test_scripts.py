"""What the page does to its inputs is what the runtime does."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from mtab.errors import AudioError, TextError
from mtab.limits import Limits
from mtab.preprocess import Preprocessor
from mtab_serve.self_test import _TEXTS

from .scripts import under_node

SPECIAL = ("<s>", "</s>", "<mask>", "<pad>", "<unk>")


@pytest.fixture(scope="module")
def preprocess(rated_bundle: Path) -> Preprocessor:
    return Preprocessor.from_folder(rated_bundle)


def random_texts(count: int) -> list[str]:
    """Texts of characters from all of Unicode, with special tokens and much white space among them."""
    random = np.random.default_rng(0)
    kinds = (
        lambda: chr(random.integers(32, 127)),
        lambda: chr(random.integers(0xA0, 0x2000)),
        lambda: chr(random.choice([random.integers(0x2000, 0xD800), random.integers(0xE000, 0x20000)])),
        lambda: str(random.choice(["  ", "\n", "\t ", "\u3000", "'s", "'ll ", "12", ".."])),
        lambda: str(random.choice(SPECIAL)),
    )
    return [
        "".join(kinds[random.integers(len(kinds))]() for _ in range(random.integers(1, 40)))
        for _ in range(count)
    ]


def test_tokens(site: Path, preprocess: Preprocessor) -> None:
    """Whatever is written: the same ids, cut at the same place, no special token from a text."""
    assert preprocess.tokenizer is not None
    texts = [*_TEXTS, *random_texts(400), "it is high " * 50]
    body = """
      const { tokenizerOf } = await load("tokenizer.mjs");
      const { tokens } = JSON.parse(readFileSync(new URL("site.json", input.folder)));
      const tokenize = tokenizerOf(JSON.parse(readFileSync(new URL(tokens.file, input.folder))), tokens);
      return input.texts.map(tokenize);
    """
    found = under_node(site, body, {"folder": f"{site.as_uri()}/", "texts": texts})
    assert any(each["truncated"] for each in found)
    assert not all(each["truncated"] for each in found)
    for text, answer in zip(texts, found, strict=True):
        ids, truncated = preprocess.tokenizer(text)
        assert (answer["ids"], answer["truncated"]) == (ids.tolist(), truncated), text


def test_what_counts_as_no_text(site: Path) -> None:
    body = """
      const { checkedText } = await load("preprocess.mjs");
      return input.map((text) => checkedText(text, { limits: {} }) === null);
    """
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    assert under_node(site, body, characters) == [each.isspace() for each in characters]


@pytest.mark.parametrize(
    "text",
    ["a\ud800b", "👍\udc00", "x" * 11, "👍" * 11, "x" * 10],
    ids=["high", "low", "long", "wide", "fits"],
)
def test_refused_texts(site: Path, preprocess: Preprocessor, text: str) -> None:
    body = """
      const { checkedText } = await load("preprocess.mjs");
      return said(() => checkedText(input, { limits: { characters: 10 } }));
    """
    try:
        preprocess(None, text, limits=Limits(characters=10))
        expected: Any = text
    except TextError as error:
        expected = {"error": str(error)}
    assert under_node(site, body, text) == expected


@pytest.mark.parametrize("count", [0, 1, 399, 400, 16_000, 48_001])
def test_refused_clips(site: Path, preprocess: Preprocessor, count: int) -> None:
    """The runtime's words, but for the name."""
    body = """
      const { audioValues } = await load("preprocess.mjs");
      const site = { preprocessing: { min_samples: 400, do_normalize: true }, limits: { seconds: 3 } };
      return said(() => audioValues(new Float32Array(input), site).length);
    """
    try:
        expected: Any = len(preprocess.samples(np.zeros(count, np.float32), limits=Limits(seconds=3)))
    except AudioError as error:
        expected = {"error": str(error).partition(": ")[2]}
    assert under_node(site, body, count) == expected


def test_a_sample_that_is_no_number(site: Path) -> None:
    body = """
      const { audioValues } = await load("preprocess.mjs");
      const site = { preprocessing: { min_samples: 1, do_normalize: true }, limits: { seconds: 3 } };
      const clip = (bad) => Float32Array.of(0, bad, 0, 0);
      return [NaN, Infinity, 1e30].map((bad) => said(() => audioValues(clip(bad), site)).error);
    """
    found = under_node(site, body, None)
    assert [each.partition(",")[0] for each in found] == [
        "holds a sample of NaN", "holds a sample of Infinity", "holds a sample of 1.0000000150474662e+30",
    ]  # fmt: skip


CLIPS = {
    "speech": np.random.default_rng(1).normal(0, 0.1, 5_000),
    "quiet": np.random.default_rng(2).normal(0, 1e-6, 5_000),
    "offset": 0.5 + np.random.default_rng(3).normal(0, 1e-3, 5_000),
    "loud": np.random.default_rng(4).normal(0, 1e4, 5_000),
    "silence": np.zeros(5_000),
}


@pytest.mark.parametrize("kind", CLIPS)
def test_normalised_clips(site: Path, preprocess: Preprocessor, kind: str) -> None:
    samples = CLIPS[kind].astype(np.float32)
    body = """
      const { normalize } = await load("preprocess.mjs");
      return [...normalize(Float32Array.from(input))];
    """
    found = under_node(site, body, samples.tolist())
    assert found == pytest.approx(preprocess.values(samples).tolist(), abs=2e-5)


@pytest.mark.parametrize("bits", [8, 16])
def test_both_scales_of_a_browser_are_one(site: Path, bits: int) -> None:
    """Chromium divides what is above zero by the largest number of so many bits, others by the least."""
    most = 2 ** (bits - 1)
    whole = np.random.default_rng(0).integers(-most, most, 2_000)
    exact = (whole / most).astype(np.float32)
    chromium = np.where(whole > 0, whole / (most - 1), whole / most).astype(np.float32)
    body = """
      const { mono } = await load("preprocess.mjs");
      return input.map((samples) => [...mono([Float32Array.from(samples)])]);
    """
    first, second = under_node(site, body, [exact.tolist(), chromium.tolist()])
    assert first == exact.tolist()
    assert second == exact.tolist()


def test_channels_are_averaged(site: Path, preprocess: Preprocessor) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, (1_000, 3)).astype(np.float32)
    body = """
      const { mono } = await load("preprocess.mjs");
      return [...mono(input.map((channel) => Float32Array.from(channel)))];
    """
    found = under_node(site, body, samples.T.tolist())
    assert found == pytest.approx(preprocess.samples(samples).tolist(), abs=1e-7)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_resampled_as_by_soxr(site: Path, rate: int) -> None:
    """Noise of all frequencies, so also of those that pass in part; at some rates soxr cuts in abruptly."""
    for count in (rate // 5, rate // 5 + 1, rate // 5 + 77):
        samples = np.random.default_rng(count).normal(0, 0.1, count).astype(np.float32)
        body = """
          const { resample } = await load("resample.mjs");
          return [...resample(Float32Array.from(input.samples), input.rate)];
        """
        found = np.array(under_node(site, body, {"samples": samples.tolist(), "rate": rate}))
        expected = samples if rate == 16_000 else soxr.resample(samples, rate, 16_000)
        assert len(found) == len(expected)
        assert np.abs(found - expected)[3:].max() < 2e-3 * np.abs(expected).max()


FORMATS = [
    *((form, rate) for form in ("WAV", "WAVEX", "RF64", "FLAC", "OGG") for rate in (8_000, 16_000, 44_100)),
    *(("MP3", rate) for rate in (16_000, 22_050, 24_000, 44_100, 48_000, 8_000)),
]


def test_the_rate_of_a_file(site: Path) -> None:
    contents: list[bytes] = []
    for form, rate in FORMATS:
        file = io.BytesIO()
        soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 4_000), rate, format=form)
        contents.append(file.getvalue())
    body = """
      const { sampleRateOf } = await load("headers.mjs");
      return input.map((hex) => sampleRateOf(new Uint8Array(Buffer.from(hex, "hex"))));
    """
    found = under_node(site, body, [each.hex() for each in contents])
    assert found == [rate for _, rate in FORMATS]
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x05" + bytes(133)
    random = np.random.default_rng(0).bytes(400)
    others = [
        tag + contents[-1],
        b"",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"RIFF0000WAVEdata\x00\x00\x00\x00",
        b"fLaC",
        random,
    ]
    assert under_node(site, body, [each.hex() for each in others]) == [8_000, None, None, None, None, None]
