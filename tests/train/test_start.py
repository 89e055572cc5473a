"""Beginning a run: tokenizer, preprocessing, weights; from a preset, from checkpoints, from another run."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import RobertaConfig, RobertaModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from mtab.data import Corpus, read_corpus, validate
from mtab.errors import ConfigError, DataError, MtabError
from mtab.preprocess import Preprocessor
from mtab_train.calibration import read_calibration
from mtab_train.checkpoint import load_model, read_tensors
from mtab_train.config import PRESETS
from mtab_train.encoders import with_encoders
from mtab_train.run import AT_ITS_END, CALIBRATION, RESULTS, open_run, run_corpus
from mtab_train.start import Start, begin_run, continue_run, untrained_run
from mtab_train.tokenizer import train_tokenizer


def begin(folder: Path, start: Start, corpus: Corpus) -> dict[str, torch.Tensor]:
    """The weights before the first step."""
    begin_run(folder, start, corpus, "speaker", "speaker-0")
    tensors = read_tensors(folder / "checkpoints" / "epoch-0000" / "model.safetensors")
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


def test_a_run_is_described_and_ready(tmp_path: Path, start: Start, tones: Corpus) -> None:
    begin(tmp_path / "run", start, tones)
    run = open_run(tmp_path / "run")
    assert (run.config.dataset, run.config.folds, run.config.fold) == ("manifest", "speaker", "speaker-0")
    assert run.config.synthetic is False
    assert run.model.labels == ("high", "low")
    assert run.train == start.train
    preprocess = Preprocessor.from_folder(run.folder)
    assert preprocess.config.min_samples == 400
    assert preprocess.config.max_tokens == 32
    assert not list(tmp_path.glob(".*"))


def test_a_run_remembers_the_names_of_columns(tmp_path: Path, start: Start, tones: Corpus) -> None:
    folder = Path(shutil.copytree(tones.root, tmp_path / "calls"))
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("label,speaker", "mood,speaker", 1))
    corpus = validate(read_corpus("manifest", folder, {"label": "mood"}))
    run = begin_run(tmp_path / "run", start, corpus, "speaker", "speaker-0")
    assert open_run(tmp_path / "run").config.columns == {"label": "mood"}
    assert run_corpus(run) == corpus
    assert run_corpus(run).title == run.config.title == "calls"
    manifest.write_text(manifest.read_text().replace("mood", "feeling", 1))
    with pytest.raises(DataError, match="no column 'mood'"):
        run_corpus(run)
    assert run_corpus(run, columns={"label": "feeling"}).utterances == corpus.utterances


def test_the_vocabulary_is_as_large_as_the_training_texts_make_it(
    tmp_path: Path, start: Start, tones: Corpus
) -> None:
    begin(tmp_path / "run", start, tones)
    size = Tokenizer.from_file(str(tmp_path / "run" / "tokenizer.json")).get_vocab_size()
    text_config = open_run(tmp_path / "run").model.text_config
    assert text_config is not None
    assert text_config["vocab_size"] == size < 300


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, start: Start, tones: Corpus) -> None:
    other = dataclasses.replace(start, train=dataclasses.replace(start.train, seed=1))
    first, again, third = (
        begin(tmp_path / name, each, tones) for name, each in (("a", start), ("b", start), ("c", other))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.classifier.weight"], third["head.classifier.weight"])


def test_an_existing_folder_is_left_alone(tmp_path: Path, start: Start, tones: Corpus) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(MtabError, match="exists already"):
        begin(tmp_path / "run", start, tones)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_another_runs_weights_with_other_labels(
    tmp_path: Path, start: Start, tones: Corpus, tone_run: Path
) -> None:
    other = dataclasses.replace(
        tones,
        labels=("low", "middle", "high"),
    )
    run = open_run(tone_run)
    weights = begin(tmp_path / "run", Start(run.model, start.train, "nano", tone_run), other)
    source = read_tensors(tone_run / "model.safetensors")
    for name, tensor in source.items():
        if not name.startswith("head.classifier"):
            assert torch.equal(weights[name], tensor), name
    rows, old = weights["head.classifier.weight"], source["head.classifier.weight"]
    assert rows.shape[0] == 3
    assert torch.equal(rows[2], old[0])  # high
    assert torch.equal(rows[0], old[1])  # low
    assert not torch.equal(rows[1], old[0])
    for name in ("tokenizer.json", "preprocessor_config.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tone_run / name).read_bytes()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A wav2vec2 that wants no normalisation and a RoBERTa, saved by transformers."""
    root = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(5)
    audio = Wav2Vec2Model(
        Wav2Vec2Config(
            conv_dim=[16] * 7,
            hidden_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
        )
    )
    audio.save_pretrained(root / "audio")
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(root / "audio")
    size = train_tokenizer(["hello there", "general"], 280, root / "tokenizer.json")
    RobertaModel(
        RobertaConfig(
            vocab_size=size,
            hidden_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=50,
        )
    ).save_pretrained(root / "text")
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(
        tokenizer_file=str(root / "tokenizer.json"), unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(root / "text")
    return str(root / "audio"), str(root / "text")


def test_pretrained_encoders_bring_weights_tokenizer_and_preprocessing(
    tmp_path: Path, start: Start, tones: Corpus, checkpoints: tuple[str, str]
) -> None:
    model = with_encoders(start.model, *checkpoints)
    weights = begin(tmp_path / "run", dataclasses.replace(start, model=model), tones)
    published = Wav2Vec2Model.from_pretrained(checkpoints[0]).state_dict()
    for name, tensor in published.items():
        assert torch.equal(weights[f"audio_encoder.backbone.{name}"], tensor), name
    preprocess = Preprocessor.from_folder(tmp_path / "run")
    assert preprocess.config.do_normalize is False
    assert preprocess.config.max_tokens == 48
    run = open_run(tmp_path / "run")
    assert run.model.audio_model == checkpoints[0]
    ids = preprocess(None, "hello there").input_ids
    expected = Tokenizer.from_file(str(Path(checkpoints[1]) / "tokenizer.json")).encode("hello there").ids
    assert ids is not None
    assert ids.tolist() == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_rate": 8000}, "preprocessor_config.json has sampling_rate 8000, expected 16000"),
        ({"feature_size": 80}, "has feature_size 80, expected 1"),
        ({"do_normalize": "yes"}, "has do_normalize 'yes', expected true or false"),
        ({"feature_extractor_type": "WhisperFeatureExtractor"}, "is of a WhisperFeatureExtractor"),
    ],
)
def test_a_checkpoint_of_other_waveforms_is_refused(
    changes: dict,
    message: str,
    tmp_path: Path,
    start: Start,
    tones: Corpus,
    checkpoints: tuple[str, str],
) -> None:
    audio = tmp_path / "audio"
    shutil.copytree(checkpoints[0], audio)
    path = audio / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    model = with_encoders(start.model, str(audio))
    with pytest.raises(ConfigError, match=message):
        begin(tmp_path / "run", dataclasses.replace(start, model=model), tones)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_without_a_tokenizer_is_an_error(
    tmp_path: Path, start: Start, tones: Corpus, checkpoints: tuple[str, str]
) -> None:
    bare = tmp_path / "bare"
    RobertaModel.from_pretrained(checkpoints[1]).save_pretrained(bare)
    model = with_encoders(start.model, None, str(bare))
    with pytest.raises(ConfigError, match=r"bare: a tokenizer of \d+ tokens"):
        begin(tmp_path / "run", dataclasses.replace(start, model=model), tones)
    assert not (tmp_path / "run").exists()


def test_an_untrained_model_answers_differently_to_different_noise(tmp_path: Path, nano) -> None:
    start = Start(nano, PRESETS["tiny"].train, "nano")
    untrained_run(tmp_path / "run", start, ["a few words", "some others"])
    run = open_run(tmp_path / "run")
    assert run.config.dataset is None
    assert "random weights" in run.config.title
    model = load_model(run)
    preprocess = Preprocessor.from_folder(run.folder)
    random = np.random.default_rng(3)
    features = [preprocess(random.normal(size=9000), f"words {i}") for i in range(20)]
    arrays = preprocess.collate(features)
    with torch.inference_mode():
        output = model(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    assert len(set(output.logits.argmax(dim=1).tolist())) > 1
    assert json.loads((run.folder / "config.json").read_text())["text_config"]["vocab_size"] == 300


def test_a_run_that_is_put_away_by_half_has_not_finished(
    tmp_path: Path, tone_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first rename: no temperature of the weights that it is to be trained on from."""
    folder = Path(shutil.copytree(tone_run, tmp_path / "run"))
    assert read_calibration(folder) is not None
    real, done = Path.rename, []

    def rename(path: Path, target: Path) -> Path:
        if path.name in AT_ITS_END:
            if done:
                raise KeyboardInterrupt
            done.append(path.name)
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        continue_run(folder, 9)
    assert not (folder / RESULTS).exists()
    assert (folder / CALIBRATION).exists()
    assert read_calibration(folder) is None
