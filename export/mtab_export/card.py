"""The model card: a bundle's manifest in words, with the front matter that the Hugging Face Hub reads."""

from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData

from mtab.bundle import BundleConfig, Manifest
from mtab.certificate import AccuracyChange
from mtab.console import markdown_table
from mtab.graphs import FUSED, Budget
from mtab.provenance import Training

CARD = "README.md"

_METRICS = {"war": ("accuracy", "WAR"), "uar": ("recall", "UAR"), "weighted_f1": ("f1", "weighted F1")}
"""Of a run's scores, the Hub's name and ours."""

_PROTOCOLS = {
    "honest": "the epoch was chosen on a part of the training data, and not on the test part",
    "paper": "the epoch was chosen on the test part itself, as in the paper, so that its figures flatter",
    "fixed": "the number of epochs was fixed beforehand, and no utterance chose among them",
}


@dataclass(frozen=True, slots=True)
class _Speech:
    """What a model has learned from: its language (ISO 639-1, None where nobody says), and who speaks."""

    language: str | None
    speakers: str


_PUBLISHED = {
    "iemocap": _Speech("en", "actors in scripted and improvised dialogues, in English"),
    "meld": _Speech("en", "actors of a television series, in English"),
    "ravdess": _Speech("en", "actors who say two given sentences, in English"),
    "cremad": _Speech("en", "actors who say twelve given sentences, in English"),
    "tess": _Speech("en", "two actresses who say “Say the word …”, in English"),
    "nemo": _Speech("pl", "actors who say 90 given sentences, in Polish"),
    "emodb": _Speech("de", "actors who say ten given sentences, in German"),
}
_SYNTHETIC = _Speech("en", "a speech synthesiser (espeak-ng), in English")
_OWN = _Speech(None, "a corpus of its maker's own (the language, and whether it is acted, are not recorded)")

_USE = """\
For research on speech and language, comparisons of models and engines, and prototypes with recordings of
people who know of it and agree.

Not for decisions about a person (hiring, grading, credit, insurance, policing, migration, health), for
watching people without their knowledge, for telling lies from truth, or for diagnosis."""

_REGULATION = """\
Emotion recognition of people is regulated in places. In the European Union the AI Act (Regulation (EU)
2024/1689) covers systems that infer emotions from biometric data (Art. 3(39)), which a voice can be:

- At the workplace and in education institutions, inferring emotions is **prohibited**, except for medical or
  safety reasons (Art. 5(1)(f)).
- Other emotion recognition is listed as **high-risk** (Annex III, point 1(c)), with the duties it brings.
- Whoever uses it must **inform the people exposed to it** (Art. 50(3); lawful use against crime is excepted).

Data protection law and other laws may hold where you are. This is a notice, not legal advice."""


def model_card(manifest: Manifest, config: BundleConfig) -> str:
    """The text of a bundle's ``README.md``; ``manifest.files`` list at least its graphs and engines."""
    sections = {
        "Use": _how_to(manifest, config),
        "Training": _training(manifest.training),
        "Test figures": _test(manifest.training),
        "Graphs": _graphs(manifest),
        "TensorRT engines": _engines(manifest),
        "Limits": _limits(manifest.training, config),
        "Intended use": _USE,
        "Regulation": _REGULATION,
        "Provenance": _provenance(manifest),
    }
    parts = [
        f"---\n{_front_matter(manifest, config).to_yaml()}\n---",
        f"# {_name(manifest.training)}",
        _summary(manifest.training, config),
        *(f"## {title}\n\n{text}" for title, text in sections.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: Manifest, config: BundleConfig) -> ModelCardData:
    training, speech = manifest.training, _speech(manifest.training)
    task = "audio-classification" if "audio" in config.modalities else "text-classification"
    dataset = "synthetic" if training.synthetic else training.dataset
    results = [
        EvalResult(
            task_type=task,
            dataset_type=dataset,
            dataset_name=training.title,
            dataset_split="test",
            dataset_args={"folds": training.folds, "fold": training.fold, "seed": training.seed},
            metric_type=metric,
            metric_name=f"{name} ({training.protocol} protocol)",
            metric_value=getattr(training.test, key),
        )
        for key, (metric, name) in _METRICS.items()
        if training.test is not None and dataset is not None
    ]
    tags = ["emotion-recognition", "mul-tab", "onnx", *config.modalities]
    if len(config.modalities) > 1:
        tags.append("multimodal")
    if manifest.engines:
        tags.append("tensorrt")
    return ModelCardData(
        library_name="mtab",
        pipeline_tag=task,
        language=speech.language if speech else None,
        tags=tags,
        datasets=[dataset] if dataset is not None and speech in _PUBLISHED.values() else None,
        metrics=[result.metric_type for result in results] or None,
        model_name=_name(training) if results else None,
        eval_results=results or None,
    )


def _name(training: Training) -> str:
    return f"Mul-TAB {training.preset}"


def _speech(training: Training) -> _Speech | None:
    """None for a model that was never trained."""
    if training.dataset is None:
        return None
    return _SYNTHETIC if training.synthetic else _PUBLISHED.get(training.dataset, _OWN)


def _summary(training: Training, config: BundleConfig) -> str:
    supported = " or ".join(" and ".join(each) for each in config.supported_modalities)
    summary = f"""\
Emotion recognition: says which of {len(config.labels)} classes an utterance is most like, from {supported}.

Classes: {", ".join(config.labels)}.{_dimensions(config)}

A model of the architecture [Mul-TAB](https://doi.org/10.3390/app14083276) (Appl. Sci. 2024, 14(8), 3276),
exported by mtab to ONNX."""
    if training.dataset is None:
        summary += "\n\n**Never trained: random weights.** It shows size and speed; its answers mean nothing."
    if not training.finished:
        summary += (
            "\n\n**Training had not ended.** These are the weights of its best epoch until then; the test "
            "part was not scored, and the probabilities are not calibrated."
        )
    if training.synthetic:
        summary += "\n\n**Trained on synthetic speech.** No figure here says anything about real emotion."
    return summary


def _dimensions(config: BundleConfig) -> str:
    if not config.dimensions:
        return ""
    names = ", ".join(each.name for each in config.dimensions)
    return f" Beside them, in the units of the corpus that it learned from: {names}."


def _how_to(manifest: Manifest, config: BundleConfig) -> str:
    if all(graph.part != FUSED.name for graph in manifest.graphs):
        return (
            "Parts alone, to be run one after another; `mtab.load` needs the fused graph, which is not here."
        )
    command, call = {
        ("audio", "text"): ('clip.wav --text "What a joy!"', '"clip.wav", text="What a joy!"'),
        ("audio",): ("clip.wav", '"clip.wav"'),
        ("text",): ('--text "What a joy!"', 'None, text="What a joy!"'),
    }[config.modalities]
    return f"""\
With `pip install "mtab[cpu]"` or `"mtab[gpu]"`; `BUNDLE` is this folder.

```console
$ mtab predict BUNDLE {command}
```

```python
import mtab

model = mtab.load("BUNDLE")
result = model.predict({call})
print(result.label, result.probabilities)
```"""


def _training(training: Training) -> str:
    speech = _speech(training)
    if speech is None:
        return "None: its weights are random."
    rows = [
        ("data", training.title),
        ("speakers", speech.speakers),
        ("folds", training.folds),
        ("test part", training.fold),
        ("protocol", f"{training.protocol}: {_PROTOCOLS[training.protocol]}"),
        ("state", None if training.finished else "stopped before its end"),
        ("epoch", training.selected_epoch),
        ("seed", training.seed),
    ]
    return f"""\
{markdown_table([row for row in rows if row[1] is not None], ("what", "value"))}

No license is recorded: it depends on those of the corpus and of the pretrained encoders, if any."""


def _test(training: Training) -> str:
    test = training.test
    if test is None:
        if training.dataset is None:
            return "None: random weights."
        return "None: " + ("the run has none." if training.finished else "the training had not ended.")
    present = [recall for recall in test.recall.values() if recall is not None]
    figures = [(name, f"{getattr(test, key):.3f}") for key, (_, name) in _METRICS.items()]
    recalls = [
        (label, "-" if recall is None else f"{recall:.3f}", sum(row))
        for (label, recall), row in zip(test.recall.items(), test.confusion_matrix, strict=True)
    ]
    meaning = f"WAR is overall accuracy, UAR the mean recall of the classes (chance: {1 / len(present):.3f})."
    if test.ccc is not None:
        figures += [(f"CCC {name}", "-" if ccc is None else f"{ccc:.3f}") for name, ccc in test.ccc.items()]
        meaning += "\nCCC is the concordance correlation coefficient with people's ratings (chance: 0)."
    return f"""\
On {test.utterances} utterances of the test part, {training.protocol} protocol, in PyTorch.
{meaning}

{markdown_table(figures, ("metric", "value"))}

{markdown_table(recalls, ("class", "recall", "utterances"))}"""


def _graphs(manifest: Manifest) -> str:
    judged = [(g.part, g.precision, g.file, g.certificate) for g in manifest.graphs]
    judged += [("all parts", precision, None, held) for precision, held in manifest.sequences.items()]
    rows = [
        (
            part,
            precision,
            file or "-",
            _megabytes(manifest, file, f"{file}.data") if file else "-",
            f"{held.max_probability_difference:.1e}",
            f"{held.max_batched_difference:.1e}",
            f"{held.max_invariance_difference:.1e}",
            f"{held.label_agreement:.2%}",
            f"{len(held.changed_near_ties)} of {len(held.near_ties)}",
            _format_budget(held.budget),
            _change(held.accuracy),
            held.utterances,
            held.corpus,
        )
        for part, precision, file, held in judged
    ]
    header = (
        "part",
        "precision",
        "file",
        "MB",
        "unbatched",
        "batched",
        "invariance",
        "labels kept",
        "near ties",
        "budget",
        "WAR change",
    )
    arithmetic = {precision: held.arithmetic for _, precision, _, held in judged}
    computed = "\n".join(f"- {precision}: {how}" for precision, how in arithmetic.items())
    return f"""\
Each graph was compared with PyTorch on utterances of the corpus named, and is here because it kept to its
budget: the largest change of a probability, and the least share of labels kept. "unbatched" and "batched" are
the largest changes of a probability, for an utterance by itself and in padded batches; "invariance" is the
largest between the two. "near ties" are labels that changed where PyTorch's lead was within what the budget
can overturn, of all such utterances: those are exempt from the budget, as many as it lets change elsewhere
and at least one. WAR's change has its 95 % interval. A part was run with the others in PyTorch; "all parts"
are the parts one after another.

{markdown_table(rows, (*header, "utterances", "corpus"))}

What computed these answers:

{computed}"""


def _engines(manifest: Manifest) -> str:
    if not manifest.engines:
        return "None."
    rows = [
        (
            engine.file,
            engine.graph,
            f"{engine.flavor} {engine.version}",
            engine.compute_capability,
            _megabytes(manifest, engine.file),
            "verified" if engine.verified else "built, not run",
        )
        for engine in manifest.engines
    ]
    return markdown_table(rows, ("file", "graph", "flavor", "compute capability", "MB", "state"))


def _limits(training: Training, config: BundleConfig) -> str:
    if training.dataset is None:
        return "Its weights are random: its answers mean nothing."
    limits = [
        "It names the class that an utterance is most like, as people labelled such utterances. "
        "What somebody feels is another matter.",
        "The probabilities share out 1 among these classes: one always comes first, also for noise and for "
        "an emotion that is not among them. They say nothing of an emotion's strength.",
        _calibrated(training),
    ]
    if speech := _speech(training):
        limits.append(
            f"It learned from {speech.speakers}. Not measured: any other speech, such as spontaneous, in "
            "another language, noisy or by telephone; and whether it serves ages, sexes and accents alike."
        )
    if "audio" in config.modalities:
        limits.append(
            "Audio is brought to 16 kHz mono and never cut. Clips much longer or shorter than those of the "
            "corpus were not measured."
        )
    if "text" in config.modalities:
        limits.append(
            "A transcript longer than the text encoder takes is cut, and the result says so. Transcripts "
            "were the corpus's own: what a speech recogniser's errors do was not measured."
        )
    return "\n".join(f"- {limit}" for limit in limits)


def _calibrated(training: Training) -> str:
    """Whether the probabilities were calibrated, and what that did to the test part."""
    calibration = training.calibration
    if calibration is None or calibration.validation is None:
        why = f" ({calibration.reason})" if calibration is not None and calibration.reason else ""
        return f"The probabilities are not calibrated{why}: 0.9 does not mean right in nine of ten cases."
    error = calibration.test.ece
    return (
        f"Expected calibration error of the probabilities on the test part: {error.after:.3f} "
        f"({error.before:.3f} before temperature scaling). Elsewhere it may be much more."
    )


def _provenance(manifest: Manifest) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return f"""\
- checkpoint: SHA-256 `{manifest.checkpoint.sha256}`
- exported: {manifest.created}, with {versions}

`manifest.json` has every figure in full; `mtab-export verify BUNDLE` measures those of the graphs again."""


def _megabytes(manifest: Manifest, *names: str) -> str:
    return f"{sum(manifest.files[name].size for name in names if name in manifest.files) / 1e6:.1f}"


def _format_budget(budget: Budget) -> str:
    return f"{budget.max_difference:.0e}, {100 * budget.min_agreement:g}%"


def _change(accuracy: AccuracyChange | None) -> str:
    """How far WAR moved; nobody knows on a corpus with other labels than the model's."""
    if accuracy is None:
        return "-"
    low, high = accuracy.war.interval
    return f"{accuracy.war.change:+.3f} ({low:+.3f} to {high:+.3f})"
