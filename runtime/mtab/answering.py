"""From utterances, one after another, to their answers in their order: read, computed in batches, named."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mtab.batching import Length, in_batches, length_of
from mtab.errors import AudioError, MemoryLimitError, MtabError, TextError
from mtab.inputs import Utterance, as_input, name_or
from mtab.limits import BatchLimits
from mtab.preprocess import Features
from mtab.results import Failure, Result, ResultOptions

if TYPE_CHECKING:
    from mtab.model import Model
    from mtab.transcribe import Transcriber

E = TypeVar("E", bound=MtabError)


def answers(
    model: "Model",
    utterances: Iterable[Utterance],
    options: ResultOptions,
    limits: BatchLimits,
    transcriber: "Transcriber | None",
    skip: bool,
) -> Iterator[Result | Failure]:
    """What `mtab.Model.stream` yields: with ``skip`` a `Failure` for an utterance without an answer.

    Without ``skip`` it raises in its turn.
    """

    def compute(batch: list[_Read]) -> list[Result | Failure]:
        features = [each.found for each in batch if isinstance(each.found, Features)]
        found = iter(model.answer_each(features))
        outcomes = [next(found) if isinstance(each.found, Features) else each.found for each in batch]
        return [
            options.apply(outcome)
            if isinstance(outcome, Result)
            else Failure(each.name, named(outcome, each.name))
            for each, outcome in zip(batch, outcomes, strict=True)
        ]

    read = _read_each(model, utterances, transcriber, skip)
    for answer in in_batches(read, _Read.length, compute, limits, model.engine.streams):
        if isinstance(answer, Failure) and not skip:
            raise answer.error
        yield answer


class _Read(NamedTuple):
    """An utterance as it was read, or why it could not be."""

    name: str
    found: Features | MtabError

    def length(self) -> Length:
        return length_of(self.found) if isinstance(self.found, Features) else Length()


def _read_each(
    model: "Model", utterances: Iterable[Utterance], transcriber: "Transcriber | None", skip: bool
) -> Iterator[_Read]:
    """What was read of each utterance; unless ``skip``, none after the first that cannot be used."""
    for i, each in enumerate(utterances):
        name = f"utterance {i}"
        found: Features | MtabError
        try:
            given = as_input(each)
            name = name_or(given, name)
            audio, text, start, end, rate, _ = given
            found = model.read(
                audio, text, sampling_rate=rate, start=start, end=end, name=name, transcriber=transcriber
            )
        except (AudioError, TextError) as error:
            found = bare(error)
        except MtabError as error:
            found = bare(MtabError(f"{name}: {error}"))
        yield _Read(name, found)
        if isinstance(found, MtabError) and not skip:
            return


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Let errors of an utterance begin with its name."""
    try:
        yield
    except (AudioError, TextError) as error:
        if str(error).startswith(f"{name}:"):
            raise
        raise type(error)(f"{name}: {error}") from None


def bare(error: E) -> E:
    """An error to keep: without the frames that it came through, which would keep the audio in them."""
    error.__context__ = None
    return error.with_traceback(None)


def named(error: MtabError, name: str) -> MtabError:
    """An error that says which utterance it is of, where the engine did not know."""
    return type(error)(f"{name}: {error}") if isinstance(error, MemoryLimitError) else error
