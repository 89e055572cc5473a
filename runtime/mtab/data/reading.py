"""From utterance records to what a model takes, or to the reason why not."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mtab.data.records import Problem, Utterance
from mtab.errors import AudioError, TextError
from mtab.preprocess import Features, Preprocessor, require_supported


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
            require_supported(features, supported)
        except (AudioError, TextError) as error:
            found = str(error).removeprefix(f"{file}: ")
            # An id that is the file's name, as a manifest's is by default, is there once.
            left_out = "left out" if str(file).endswith(utterance.id) else f"{utterance.id} left out"
            yield utterance, Problem(file, f"{found}; {left_out}")
        else:
            yield utterance, features
