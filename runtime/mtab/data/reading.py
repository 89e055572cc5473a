"""From utterance records to what a model takes, or to the reason why not."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mtab.data.records import Problem, Utterance
from mtab.errors import AudioError, TextError
from mtab.preprocess import Features, Preprocessor


def read_utterances(
    utterances: Iterable[Utterance], preprocess: Preprocessor, supported: Sequence[tuple[str, ...]]
) -> Iterator[tuple[Utterance, Features | Problem]]:
    """Preprocess one utterance after the other.

    In place of its features comes a `Problem` if the clip or the transcript cannot be used, or if the
    modalities that are there are none of the combinations ``supported``.
    """
    for utterance in utterances:
        file = utterance.audio or Path(utterance.id)
        start, end = utterance.span
        try:
            features = preprocess(utterance.audio, utterance.text, start=start, end=end)
        except (AudioError, TextError) as error:
            found = str(error).removeprefix(f"{file}: ")
            yield utterance, Problem(file, f"{found}; {utterance.id} left out")
            continue
        if features.modalities in supported:
            yield utterance, features
        else:
            found = " and ".join(features.modalities) or "neither audio nor text"
            expected = " or ".join(" and ".join(each) for each in supported)
            yield utterance, Problem(file, f"{found}, expected {expected}; {utterance.id} left out")
