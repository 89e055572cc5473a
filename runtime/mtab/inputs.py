"""What a model is asked about: one utterance, or many, in the forms in which people have them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mtab.audio import SAMPLE_RATE, Source, as_array, is_array, is_source, path_of
from mtab.errors import MtabError

Audio = Source | np.ndarray
"""A path, a file's content, an open file, or samples of shape (samples,) or (samples, channels)."""


class Input(NamedTuple):
    """One utterance to answer: a clip with its transcript, as `mtab.Model.predict` takes them.

    Of ``audio`` the part from ``start`` to ``end`` seconds counts. ``name`` is what errors call the utterance
    (None: its file, or its number).
    """

    audio: Audio | None
    text: str | None = None
    start: float | None = None
    end: float | None = None
    sampling_rate: float = SAMPLE_RATE
    name: str | None = None


Utterance = Audio | tuple[Audio | None, str | None] | Input
"""What `mtab.Model.stream` takes: a clip, a clip with its transcript, or an `Input`."""


def as_input(utterance: object) -> Input:
    """An utterance as an `Input`. Raises `MtabError`, without a name, for what is none."""
    if isinstance(utterance, Input):
        return utterance
    if isinstance(utterance, (tuple, list)):
        if len(utterance) == 2:
            return Input(*utterance)
        found = f"a {type(utterance).__name__} of {len(utterance)}"
    elif is_source(utterance) or is_array(utterance):
        return Input(utterance)  # pyright: ignore[reportArgumentType]
    else:
        found = type(utterance).__name__
    raise MtabError(f"is {found}, expected a clip, a pair of clip and transcript, or an mtab.Input")


def name_or(utterance: Input, otherwise: str) -> str:
    """What errors call an utterance: its name, else its clip's path, else ``otherwise``."""
    return str(utterance.name) if utterance.name else path_of(utterance.audio) or otherwise


def is_many(values: object) -> bool:
    """Whether ``values`` are a list of clips or of transcripts (or any other iterable), and not one of them.

    An array of numbers is one clip; an array or a column of a table of strings or other objects is a list.
    A data set that has nothing but ``__getitem__`` is one too.
    """
    if is_array(values):
        # Not of every array: to copy one from a GPU only to look at it would be wrong.
        dtype = getattr(values, "dtype", None)
        kind = getattr(dtype, "kind", "f" if dtype is not None else as_array(values).dtype.kind)
        return kind in "OUST" and getattr(values, "ndim", 1) == 1
    single = is_source(values) or isinstance(values, (Input, Mapping, set, frozenset))
    return not single and (isinstance(values, Iterable) or hasattr(values, "__getitem__"))


def require_many(utterances: object) -> None:
    """Raise `MtabError` for what is one utterance, or none at all, in place of many."""
    if not is_many(utterances):
        found = f"utterances is {_kind(utterances)}"
        raise MtabError(
            f"{found}, expected an iterable of clips, of pairs of clip and transcript, or of Input"
        )


def paired(audio: Any, text: Any) -> list[tuple[Any, Any]]:
    """Each clip of a list with its transcript of another, where one of both may be missing altogether.

    Raises `MtabError` if there is not one for each.
    """
    if not all(values is None or is_many(values) for values in (audio, text)):
        found = f"audio is {_kind(audio)} and text is {_kind(text)}"
        expected = "one of each or a list of each; a clip's samples are a NumPy array of numbers"
        raise MtabError(f"{found}, expected {expected}")
    audios = None if audio is None else list(audio)
    texts = None if text is None else list(text)
    if audios is None or texts is None:
        return [(None, each) for each in texts or ()] if audios is None else [(each, None) for each in audios]
    if len(audios) != len(texts):
        raise MtabError(f"{len(texts)} transcripts for {len(audios)} clips, expected one each")
    return list(zip(audios, texts, strict=True))


def _kind(values: object) -> str:
    """What errors call an argument: its type and, of an array, what is in it."""
    dtype = getattr(values, "dtype", None)
    return type(values).__name__ + ("" if dtype is None else f" of {dtype}")
