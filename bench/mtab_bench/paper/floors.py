"""Classical floors: openSMILE's functionals with an SVM, and TF-IDF with logistic regression.

openSMILE is audEERING's, free for research alone; it comes with the extra ``floors``.
"""

import csv
import hashlib
import importlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mtab.audio import SAMPLE_RATE, load_audio
from mtab.data import Corpus, Fold, Problem, Utterance
from mtab.errors import AudioError, DataError
from mtab.files import atomic_file, cache_dir
from mtab.packages import installed_version
from mtab.progress import track
from mtab_bench.paper.rows import FloorRow


class FloorFeatures:
    """What a floor looks at, of every utterance of a corpus that it can be computed for.

    ``by_id`` are functionals, float32 (features,), or transcripts; ``problems`` are the utterances left out.
    """

    def __init__(self, row: FloorRow, corpus: Corpus) -> None:
        self.row, self.corpus = row, corpus
        self.problems: list[Problem] = []
        self.by_id: dict[str, Any] = {}
        for utterance in track(corpus.utterances, row.title, "utterances"):
            found = self._text(utterance) if row.modality == "text" else self._functionals(utterance)
            if isinstance(found, Problem):
                self.problems.append(found)
            else:
                self.by_id[utterance.id] = found
        if row.test_speakers:
            self.by_id = standardised_by_speaker(corpus.utterances, self.by_id)

    def answer(self, fold: Fold) -> list[tuple[Utterance, str]]:
        """Train on all of a fold that is not tested; its test utterances with their answers.

        Raises `DataError` if a part is empty, or there is nothing to learn from it.
        """
        training = [each for each in (*fold.train, *fold.validation) if each.id in self.by_id]
        test = [each for each in fold.test if each.id in self.by_id]
        for name, part in (("training", training), ("test", test)):
            if not part:
                found = f"no {name} utterance that {self.row.title} can use in fold {fold.name}"
                raise DataError(f"{self.corpus.place}: {found}, expected some")
        model = classifier(self.row)
        try:
            model.fit([self.by_id[each.id] for each in training], [each.label for each in training])
        except ValueError as error:  # one class alone, or no word at all
            found = f"fold {fold.name} cannot be learned by {self.row.title}"
            raise DataError(
                f"{self.corpus.place}: {found} ({error}), expected two classes and words"
            ) from None
        return list(zip(test, model.predict([self.by_id[each.id] for each in test]).tolist(), strict=True))

    def _text(self, utterance: Utterance) -> str | Problem:
        if utterance.text is None or not utterance.text.strip():
            return Problem(Path(utterance.id), "no transcript, expected one; left out")
        return utterance.text

    def _functionals(self, utterance: Utterance) -> np.ndarray | Problem:
        if utterance.audio is None:
            return Problem(Path(utterance.id), "no audio, expected some; left out")
        try:
            samples = load_audio(utterance.audio, *utterance.span)
        except AudioError as error:
            found = str(error).removeprefix(f"{utterance.audio}: ")
            return Problem(utterance.audio, f"{found}; {utterance.id} left out")
        found = functionals(samples, self.row.features)
        if not np.isfinite(found).all():
            seconds = f"{len(samples) / SAMPLE_RATE:.2f} s"
            return Problem(
                utterance.audio, f"{seconds} are too few for openSMILE's functionals; {utterance.id} left out"
            )
        return found


def functionals(samples: np.ndarray, feature_set: str) -> np.ndarray:
    """openSMILE's functionals of a clip (samples,) at 16 kHz: float32 (features,), NaN for one too short.

    They are kept in the user's cache folder, by openSMILE's version and the clip's content.
    """
    folder = cache_dir() / "opensmile" / f"{feature_set}-{installed_version('opensmile')}"
    path = folder / f"{hashlib.sha256(samples.tobytes()).hexdigest()}.npy"
    if path.is_file():
        return np.load(path, allow_pickle=False)
    found = extract(samples, feature_set)
    with atomic_file(path) as partial:
        np.save(partial, found, allow_pickle=False)
    return found


def extract(samples: np.ndarray, feature_set: str) -> np.ndarray:
    """`functionals`, computed now."""
    return _extractor(feature_set).process_signal(samples, SAMPLE_RATE).to_numpy(np.float32)[0]


@cache
def _extractor(feature_set: str) -> Any:
    # By name: whoever checks the types here need not have it.
    opensmile: Any = importlib.import_module("opensmile")
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet[feature_set], feature_level=opensmile.FeatureLevel.Functionals
    )


def classifier(row: FloorRow) -> Pipeline:
    """The classifier of a floor, as the field sets it up for these features."""
    if row.features == "TF-IDF":
        return make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
            LogisticRegression(C=3.0, max_iter=1000, class_weight=row.class_weight),
        )
    if row.features == "eGeMAPSv02":
        return make_pipeline(StandardScaler(), SVC(C=1.0, class_weight=row.class_weight))
    return make_pipeline(StandardScaler(), SVC(C=0.1, kernel="linear", class_weight=row.class_weight))


def standardised_by_speaker(
    utterances: Sequence[Utterance], by_id: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Features (features,) of zero mean and unit variance over the utterances of each speaker.

    One that is the same in all of them becomes 0.
    """
    ids: dict[str | None, list[str]] = {}
    for utterance in utterances:
        if utterance.id in by_id:
            ids.setdefault(utterance.speaker, []).append(utterance.id)
    return {
        each: row
        for spoken in ids.values()
        for each, row in zip(
            spoken, StandardScaler().fit_transform([by_id[each] for each in spoken]), strict=True
        )
    }


def write_answers(path: Path, answers: Sequence[tuple[Utterance, str]]) -> None:
    """``predictions.csv`` of a classifier that has no probabilities."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("utterance", "label", "predicted"))
        writer.writerows((utterance.id, utterance.label, predicted) for utterance, predicted in answers)
