"""How much is taken in at once: of one utterance, and in one batch."""

import math
from dataclasses import dataclass

from mtab.errors import MtabError

BATCH_SIZE = 8
BATCH_SECONDS = 60.0
MAX_SECONDS = 600.0
MAX_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one utterance may hold: seconds of audio and characters of text; `math.inf` for no limit.

    They keep a mistaken or hostile input from taking all memory, and are no property of the model.
    """

    seconds: float = MAX_SECONDS
    characters: float = MAX_CHARACTERS

    def __post_init__(self) -> None:
        for name in ("seconds", "characters"):
            if not getattr(self, name) > 0:
                raise MtabError(f"at most {getattr(self, name)} {name}, expected more than 0")


NO_LIMITS = Limits(math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one batch may hold: utterances, and seconds of speech with their padding.

    An utterance that is longer than ``seconds`` makes a batch of its own.
    """

    utterances: int = BATCH_SIZE
    seconds: float = BATCH_SECONDS

    def __post_init__(self) -> None:
        if self.utterances < 1:
            raise MtabError(f"batches of {self.utterances} utterances, expected 1 or more")
        if not self.seconds > 0:
            raise MtabError(f"batches of {self.seconds} seconds, expected more than 0")
