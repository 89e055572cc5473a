"""Shape profiles: trtexec's form read and refused, defaults within limits, frames from samples."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.errors import ConfigError
from mtab.graphs import CME, FUSED, GRAPHS, TAB_HEAD, TEXT_ENCODER, GraphSpec
from mtab.preprocess import PreprocessorConfig
from mtab_export.shapes import LEVELS, format_shapes, parse_shapes, shape_profile
from mtab_train.encoders import AudioEncoder

CONFIG = PreprocessorConfig()
SIZES = {"audio_hidden": 768, "text_hidden": 768, "fused": 1536, "embedding": 1536, "classes": 4}
SPECS = {name: spec.of(CONFIG.modalities, SIZES) for name, spec in GRAPHS.items()}
ONE_SECOND = "input_values:1x16000,audio_lengths:1,input_ids:1x3,text_lengths:1"

STRIDED: dict[str, Any] = {
    "model_type": "wav2vec2",
    "conv_dim": [4, 4, 4],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


def shapes(batch: int, samples: int, tokens: int) -> str:
    return (
        f"input_values:{batch}x{samples},audio_lengths:{batch},"
        f"input_ids:{batch}x{tokens},text_lengths:{batch}"
    )


def test_trtexecs_form() -> None:
    found = parse_shapes(ONE_SECOND, SPECS["fused"])
    assert found == {
        "input_values": (1, 16000),
        "audio_lengths": (1,),
        "input_ids": (1, 3),
        "text_lengths": (1,),
    }
    assert format_shapes(found) == ONE_SECOND


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'', expected as in input_values:1x16000,audio_lengths:1"),
        ("input_values", "'input_values', expected as in"),
        ("input_values:1x", "'input_values:1x', expected as in"),
        ("input_values:-1x16000", "'input_values:-1x16000', expected as in"),
        ("input_values:1x\u0661", "expected as in"),
        ("input_values:1x16000000000", "expected as in"),
        (f"{ONE_SECOND},", "'', expected as in"),
        (f"{ONE_SECOND},input_ids:1x3", "input_ids is there twice, expected once"),
        (
            f"{ONE_SECOND},pixels:1",
            "fused has no input 'pixels', expected input_values, audio_lengths, input_ids, text_lengths",
        ),
        (
            "input_values:1x16000,audio_lengths:1",
            "lacks input_ids, expected all of input_values, audio_lengths, input_ids, text_lengths",
        ),
        (ONE_SECOND.replace("1x3", "1x3x1"), "input_ids is 1x3x1, expected batchxtokens"),
        (ONE_SECOND.replace("audio_lengths:1", "audio_lengths:1x1"), "audio_lengths is 1x1, expected batch"),
        (
            ONE_SECOND.replace("text_lengths:1", "text_lengths:2"),
            "batch of text_lengths is 2, expected 1 as of input_values",
        ),
    ],
)
def test_forms_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_shapes(text, SPECS["fused"], "--min-shapes")
    assert str(error.value).startswith("--min-shapes: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_axis_that_the_model_fixes() -> None:
    text = "audio_hidden_states:1x49x64,audio_frames:1,text_hidden_states:1x3x768,text_lengths:1"
    with pytest.raises(ConfigError, match="audio_hidden_states is 1x49x64, expected batchxframesx768"):
        parse_shapes(text, SPECS["cme"])


def test_the_defaults_in_seconds_and_tokens() -> None:
    assert shape_profile(SPECS["fused"], CONFIG) == {
        level: parse_shapes(text, SPECS["fused"])
        for level, text in {
            "min": shapes(1, 400, 1),
            "opt": shapes(1, 4 * 16_000, 16),
            "max": shapes(8, 30 * 16_000, 128),
        }.items()
    }


def test_the_parts_of_a_model_take_frames() -> None:
    """wav2vec2: 400 samples make a frame and 320 the next, so 4 s are 199 frames, and 30 s are 1499."""
    assert shape_profile(SPECS["cme"], CONFIG)["opt"] == {
        "audio_hidden_states": (1, 199, 768),
        "audio_frames": (1,),
        "text_hidden_states": (1, 16, 768),
        "text_lengths": (1,),
    }
    assert shape_profile(SPECS["tab_head"], CONFIG) == {
        "min": {"fused_states": (1, 1, 1536), "fused_lengths": (1,)},
        "opt": {"fused_states": (1, 199, 1536), "fused_lengths": (1,)},
        "max": {"fused_states": (8, 1499, 1536), "fused_lengths": (8,)},
    }
    text_alone = PreprocessorConfig(modalities=("text",))
    assert shape_profile(TAB_HEAD.of(("text",), SIZES), text_alone)["opt"] == {
        "fused_states": (1, 16, 1536),
        "fused_lengths": (1,),
    }


def test_a_model_of_fewer_tokens_and_longer_frames() -> None:
    config = PreprocessorConfig(min_samples=600_000, max_tokens=12)
    profile = shape_profile(SPECS["fused"], config)
    assert profile["opt"]["input_ids"] == (1, 12)
    assert profile["max"]["input_ids"] == (8, 12)
    assert profile["max"]["input_values"] == (8, 600_000)


def test_a_part_may_be_given_by_the_models_inputs_or_by_its_own() -> None:
    by_model = shape_profile(SPECS["cme"], CONFIG, max_shapes=shapes(2, 16_000, 5))
    own = "audio_hidden_states:2x49x768,audio_frames:2,text_hidden_states:2x5x768,text_lengths:2"
    assert by_model == shape_profile(SPECS["cme"], CONFIG, max_shapes=own)
    assert by_model["max"] == parse_shapes(own, SPECS["cme"])
    text = shape_profile(SPECS["text_encoder"], CONFIG, max_shapes=shapes(2, 16_000, 5))
    assert text["max"] == {"input_ids": (2, 5), "text_lengths": (2,)}


def test_defaults_move_out_of_the_way() -> None:
    """30 s and 128 tokens are no longer the most, nor 4 s the usual, where what is given lies beyond."""
    long = shape_profile(SPECS["fused"], CONFIG, min_shapes=shapes(16, 60 * 16_000, 200))
    assert long["min"] == long["opt"] == long["max"] == parse_shapes(shapes(16, 960_000, 200), SPECS["fused"])
    short = shape_profile(SPECS["fused"], CONFIG, max_shapes=shapes(2, 800, 2))
    assert short["opt"]["input_values"] == (1, 800)
    assert short["opt"]["input_ids"] == (1, 2)
    usual = shape_profile(SPECS["fused"], CONFIG, opt_shapes=shapes(12, 640_000, 8))
    assert usual["min"]["input_values"] == (1, 400)
    assert usual["max"]["input_values"] == (12, 640_000)
    assert usual["max"]["input_ids"] == (12, 128)


@pytest.mark.parametrize(
    ("spec", "given", "message"),
    [
        (
            "fused",
            {"min_shapes": shapes(2, 16_000, 3), "opt_shapes": shapes(1, 16_000, 3)},
            "--min-shapes: batch is 2, expected at most the 1 of --opt-shapes",
        ),
        (
            "fused",
            {"opt_shapes": shapes(1, 16_001, 3), "max_shapes": ONE_SECOND},
            "--opt-shapes: samples is 16001, expected at most the 16000 of --max-shapes",
        ),
        (
            "text_encoder",
            {"min_shapes": shapes(1, 400, 9), "max_shapes": ONE_SECOND},
            "--min-shapes: tokens is 9, expected at most the 3 of --max-shapes",
        ),
        (
            "fused",
            {"min_shapes": shapes(1, 399, 1)},
            "--min-shapes: samples of input_values is 399, expected 400 or more",
        ),
        (
            "fused",
            {"max_shapes": shapes(1, 400, 513)},
            "--max-shapes: tokens of input_ids is 513, expected 512 or fewer",
        ),
        (
            "fused",
            {"min_shapes": shapes(0, 400, 1)},
            "--min-shapes: batch of input_values is 0, expected 1 or more",
        ),
        (
            "tab_head",
            {"opt_shapes": "fused_states:1x0x1536,fused_lengths:1"},
            "--opt-shapes: steps of fused_states is 0, expected 1 or more",
        ),
        (
            "audio_encoder",
            {"max_shapes": "input_values:1x16000"},
            "--max-shapes: lacks audio_lengths, expected all of input_values, audio_lengths",
        ),
        (
            "text_encoder",
            {"max_shapes": "fused_states:1x9x1536,fused_lengths:1"},
            "--max-shapes: text_encoder has no input 'fused_states', expected input_ids, text_lengths",
        ),
    ],
)
def test_profiles_that_are_refused(spec: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        shape_profile(SPECS[spec], CONFIG, **given)
    assert str(error.value) == message


@pytest.mark.parametrize("spec", [FUSED, CME, TEXT_ENCODER], ids=lambda spec: spec.name)
@settings(deadline=None, max_examples=20)
@given(
    levels=st.sets(st.sampled_from(LEVELS)),
    batch=st.lists(st.integers(1, 40), min_size=3, max_size=3).map(sorted),
    samples=st.lists(st.integers(400, 10**6), min_size=3, max_size=3).map(sorted),
    tokens=st.lists(st.integers(1, 512), min_size=3, max_size=3).map(sorted),
)
def test_every_profile_is_ordered_and_keeps_what_was_given(
    spec: GraphSpec, levels: set[str], batch: list[int], samples: list[int], tokens: list[int]
) -> None:
    spec = spec.of(CONFIG.modalities, SIZES)
    given = {
        level: (b, s, t)
        for level, b, s, t in zip(LEVELS, batch, samples, tokens, strict=True)
        if level in levels
    }
    texts: dict[str, Any] = {f"{level}_shapes": shapes(*sizes) for level, sizes in given.items()}
    profile = shape_profile(spec, CONFIG, **texts)
    for tensor in spec.inputs:
        low, usual, high = (profile[level][tensor.name] for level in LEVELS)
        assert all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True))
    for level, (b, s, t) in given.items():
        expected = {
            "batch": b,
            "samples": s,
            "tokens": t,
            "frames": (s - 400) // 320 + 1,
            "audio_hidden": 768,
            "text_hidden": 768,
        }
        for tensor in GRAPHS[spec.name].inputs:
            assert profile[level][tensor.name] == tuple(expected[str(axis)] for axis in tensor.axes)


@settings(deadline=None, max_examples=30)
@given(extra=st.integers(0, 5000))
def test_frames_are_those_of_the_encoder(extra: int) -> None:
    encoder = AudioEncoder.from_config(STRIDED)
    samples = encoder.min_samples + extra
    config = PreprocessorConfig(min_samples=encoder.min_samples)
    profile = shape_profile(
        TAB_HEAD.of(("audio", "text"), SIZES),
        config,
        opt_shapes=shapes(1, samples, 1),
        samples_per_frame=20,
    )
    with torch.no_grad():
        frames = encoder.features(torch.zeros(1, samples), torch.tensor([samples])).shape[1]
    assert profile["opt"]["fused_states"] == (1, frames, 1536)
