"""What goes wrong with a corpus, a run and a training."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from cases import Case, Place
from mtab.data import default_scheme
from mtab.errors import ConfigError, DataError, MtabError
from mtab_bench.paper.running import begin, make_recipe
from mtab_train.run import open_run
from mtab_train.start import Start, begin_run
from mtab_train.trainer import Trainer


def fit(place: Place, manifest: object, *options: object) -> list[object]:
    out = place.folder / "run"
    return ["mtab-train", "fit", "--dataset", "manifest", "--data-dir", manifest, "--out", out, *options]


def distill(place: Place, teacher: object, *options: object) -> list[object]:
    return ["mtab-train", "distill", "--teacher", teacher, "--out", place.folder / "student", *options]


def of_other_classes(place: Place) -> list[object]:
    clips = [place.file(f"{i}.wav", place.clip.read_bytes()).name for i in range(6)]
    rows = [f"{name},so it is,{'shrill' if i % 2 else 'low'},{i}" for i, name in enumerate(clips)]
    table = place.file("m.csv", "\n".join(["audio,text,label,speaker", *rows]) + "\n")
    return distill(place, place.run, "--dataset", "manifest", "--data-dir", table)


def of_broken_clips(place: Place) -> list[object]:
    place.file("a.wav", "no sound")
    return distill(place, place.run, "--unlabelled", place.folder)


def of_one_class(place: Place) -> list[object]:
    clips = [place.file(f"{i}.wav", place.clip.read_bytes()).name for i in range(6)]
    rows = [f"{name},so it is,high,{i}" for i, name in enumerate(clips)]
    return fit(place, place.file("m.csv", "\n".join(["audio,text,label,speaker", *rows]) + "\n"))


def of_another_rate(place: Place) -> list[object]:
    model = place.folder / "encoder"
    values = json.loads((place.run / "config.json").read_text())["audio_config"]
    Wav2Vec2Model(Wav2Vec2Config.from_dict(values)).save_pretrained(model)
    Wav2Vec2FeatureExtractor(sampling_rate=8_000).save_pretrained(model)
    return fit(place, place.corpus.root / "manifest.csv", "--audio-model", model)


def of_another_family(place: Place) -> list[object]:
    model = place.folder / "encoder"
    GPT2Config().save_pretrained(model)
    return fit(place, place.corpus.root / "manifest.csv", "--text-model", model)


def bert(folder: Path, words: int) -> Path:
    """A BERT for a vocabulary of 8 tokens, with one of ``words``."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=8, **sizes)).save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *map(str, range(words - len(special)))]))
    return folder


def of_pickled_objects(place: Place) -> list[object]:
    model = bert(place.folder / "encoder", 8)
    (model / "model.safetensors").unlink()
    torch.save({"weight": Fraction(1, 3)}, model / "pytorch_model.bin")
    return fit(place, place.corpus.root / "manifest.csv", "--text-model", model)


def of_another_vocabulary(place: Place) -> list[object]:
    model = bert(place.folder / "encoder", 9)
    return fit(place, place.corpus.root / "manifest.csv", "--text-model", model)


def with_an_unknown_class(place: Place) -> list[object]:
    for name in ("a.wav", "b.wav"):
        place.file(name, place.clip.read_bytes())
    rows = "audio,text,label\na.wav,it is high,high\nb.wav,it is low,sad\n"
    manifest = place.file("m.csv", rows)
    return ["mtab-train", "eval", place.run, "--dataset", "manifest", "--data-dir", manifest]


def of_another_recipe(place: Place, **changes: str) -> list[object]:
    out, root = place.folder / "redone", place.corpus.root
    recipe = make_recipe(place.corpus, default_scheme(place.corpus), "tiny", None)
    begin(out, dataclasses.replace(recipe, **changes))
    return [
        *("mtab-bench", "paper", "--dataset", "manifest", "--data-dir", root),
        *("--rows", "tfidf", "--preset", "tiny", "--out", out),
    ]


def longer_than_memory(place: Place) -> None:
    """Here is no GPU: what torch raises there is raised by a hook of the model."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    run = open_run(place.run)
    start = Start(run.model, run.train, run.config.preset)
    begun = begin_run(place.folder / "run", start, place.corpus, "speaker", "speaker-0")
    trainer = Trainer(begun, place.corpus, "cpu")
    trainer.batch_model.register_forward_pre_hook(full)
    trainer.fit()


def with_broken_configuration(place: Place) -> list[object]:
    run = place.copy_of(place.run)
    (run / "config.json").write_text(json.dumps({"labels": 3}))
    return ["mtab-export", "--checkpoint", run]


CASES = (
    Case(
        "A corpus of one class",
        of_one_class,
        DataError,
        "<FILE>: one class (high), expected two or more to tell apart",
    ),
    Case(
        "A pretrained encoder of another sampling rate than 16 kHz",
        of_another_rate,
        ConfigError,
        "<FOLDER>: preprocessor_config.json has sampling_rate 8000, expected 16000",
    ),
    Case(
        "A pretrained encoder of a family that is not known",
        of_another_family,
        ConfigError,
        "<FOLDER>: is a 'gpt2' model, expected one of bert, distilbert, roberta, xlm-roberta",
    ),
    Case(
        "A pytorch_model.bin that is a pickle of objects",
        of_pickled_objects,
        ConfigError,
        "<FOLDER>: pytorch_model.bin holds fractions.Fraction, expected tensors alone, best as safetensors",
    ),
    Case(
        "A tokenizer that does not fit its model",
        of_another_vocabulary,
        ConfigError,
        "<FOLDER>: its tokenizer has id 8, expected at most 7 for its model",
    ),
    Case(
        "Layers to freeze where no encoder is trained",
        lambda place: fit(
            place,
            place.corpus.root / "manifest.csv",
            *("--modalities", "text", "--text-training", "frozen", "--freeze-layers", 2),
        ),
        None,
        "freeze_layers is 2, expected a transformer encoder that is trained; see --text-training and "
        "--audio-training",
        2,
    ),
    Case(
        "A corpus to score a run on with a class that the run does not know",
        with_an_unknown_class,
        DataError,
        "<FILE>: label 'sad', expected those of <FOLDER>: high, low",
    ),
    Case(
        "A folder of the paper's rows that was begun with another preset",
        lambda place: of_another_recipe(place, preset="base"),
        ConfigError,
        "<FILE>: was begun with preset base, found tiny; choose another --out",
    ),
    Case(
        "A folder of the paper's rows whose corpus has changed since",
        lambda place: of_another_recipe(place, corpus_sha256="0" * 64),
        ConfigError,
        "<FILE>: the corpus has changed since: found <HASH>…, expected 000000000000…; choose another --out",
    ),
    Case(
        "Dimensions to learn from a corpus without a rating",
        lambda place: fit(place, place.corpus.root / "manifest.csv", "--tasks", "emotion,dimensions"),
        DataError,
        "<FILE>: no utterance is rated, expected numbers under valence, arousal or dominance; see --tasks",
    ),
    Case(
        "A clip in training that the device has no memory for, alone",
        longer_than_memory,
        MtabError,
        "<FOLDER>: cpu ran out of memory on utterance <ID> alone (<SECONDS> s), expected a shorter one; see "
        "--max-seconds, --gradient-checkpointing or --mixed-precision",
        None,
    ),
    Case(
        "A corpus that is not there",
        lambda place: fit(place, place.folder / "none"),
        DataError,
        "manifest: no corpus found, tried <FOLDER>",
    ),
    Case(
        "Neither a corpus nor a run to go on with",
        lambda place: ["mtab-train", "fit"],
        None,
        "Missing option '--dataset' (or --resume).",
        2,
    ),
    Case(
        "A fold that the corpus does not have",
        lambda place: fit(place, place.corpus.root / "manifest.csv", "--fold", "speaker-77"),
        DataError,
        "<FILE>: no fold 'speaker-77', expected one of <FOLDS>",
    ),
    Case(
        "The run folder holds a finished run",
        lambda place: [*fit(place, place.corpus.root / "manifest.csv"), "--out", place.run],
        MtabError,
        "<FOLDER>: exists already, a finished run; --resume <FOLDER> --epochs N trains it for more, "
        "--overwrite replaces it",
    ),
    Case(
        "A run to go on with that is none",
        lambda place: ["mtab-train", "fit", "--resume", place.folder],
        ConfigError,
        "<FOLDER>: holds no run.json, expected a run folder made by mtab-train",
    ),
    Case(
        "A configuration of other fields",
        with_broken_configuration,
        ConfigError,
        "<FILE>: field 'audio_config' is missing",
    ),
    Case(
        "A teacher that is neither a run nor a bundle",
        lambda place: distill(place, place.corpus.root),
        ConfigError,
        "<FOLDER>: holds no run.json and no manifest.json, expected a run folder or a bundle",
    ),
    Case(
        "A teacher of other classes",
        of_other_classes,
        DataError,
        "<FILE>: has the classes low, shrill, expected those of the teacher <FOLDER>: high, low; see "
        "--label-map",
    ),
    Case(
        "A folder to learn from without labels, with no clip that can be read",
        of_broken_clips,
        DataError,
        "<FOLDER>: no recording can be used, expected some to ask the teacher about",
    ),
)
