"""Dividing a corpus into training, validation and test utterances."""

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from mtab.data.records import Corpus, Fold, Utterance
from mtab.errors import DataError
from mtab.files import path_component

SCHEMES = "session, speaker, speaker-pair, speaker:K, speaker-group:K, random:K, official or official-dev"
_SCHEME = re.compile(r"session|speaker|speaker-pair|(speaker|speaker-group|random):\d+|official(-dev)?")
_USUAL = {
    "iemocap": "session",
    "meld": "official",
    "emodb": "speaker",
    "nemo": "speaker",
    "tess": "speaker",
    "ravdess": "speaker-group:5",
    "cremad": "speaker-group:5",
}
VALIDATION_SHARE = 0.1
_MIN_SPEAKERS = 4


def is_scheme(text: str) -> bool:
    """Whether ``text`` has the form of one of `SCHEMES`; a corpus may not allow it all the same."""
    return _SCHEME.fullmatch(text) is not None


def default_scheme(corpus: Corpus) -> str:
    """The usual division of a corpus; for a manifest the first that its columns allow.

    IEMOCAP: session; MELD: official, without its test split official-dev; EmoDB, nEMO and TESS: speaker;
    RAVDESS and CREMA-D: speaker-group:5; a manifest: official, session, speaker, random:5.
    """
    splits = {utterance.split for utterance in corpus.utterances}
    if corpus.name in _USUAL:
        usual = _USUAL[corpus.name]
        return "official-dev" if usual == "official" and "test" not in splits else usual
    if splits >= {"train", "test"} and _all_have(corpus, "split"):
        return "official"
    for field in ("session", "speaker"):
        if _all_have(corpus, field) and len(_groups(corpus.utterances, field)) > 1:
            return field
    return "random:5"


def make_folds(corpus: Corpus, scheme: str | None = None, seed: int = 0) -> list[Fold]:
    """Divide the utterances by ``scheme`` (None: `default_scheme`): each is in one part of a fold.

    Test is one session, speaker, pair of speakers (sorted, two by two), one of K groups of speakers (with
    about as many utterances each by ``speaker:K``, next to each other in their order by ``speaker-group:K``),
    random K-th part (stratified by label), or the corpus's own test split; by ``official-dev`` its own dev
    split, and the test split is left out.
    Validation is the corpus's own dev split, or about 10 % drawn from the training part, the same for the
    same ``seed`` and fold: whole speakers if there are four or more, else whole dialogues, else utterances
    stratified by label.

    Raises `DataError` for an unknown scheme, or one that these utterances do not allow.
    """
    scheme = scheme or default_scheme(corpus)
    if not corpus.utterances:
        raise DataError(f"{corpus.place}: no usable utterance, expected some to divide")
    if not is_scheme(scheme):
        raise DataError(f"{corpus.place}: unknown folds {scheme!r}, expected {SCHEMES}")
    if scheme in ("official", "official-dev"):
        return [_official(corpus, scheme, seed)]
    held_out = _held_out(corpus, scheme, seed)
    if len(held_out) < 2:
        raise DataError(
            f"{corpus.place}: {scheme} makes one group, expected at least 2: {', '.join(held_out)}"
        )
    folds = []
    for (name, ids), folder in zip(held_out.items(), _folders(held_out), strict=True):
        rest = [utterance for utterance in corpus.utterances if utterance.id not in ids]
        test = tuple(utterance for utterance in corpus.utterances if utterance.id in ids)
        folds.append(Fold(name, folder, *_divide(rest, f"{seed} {name}"), test))
    return folds


def fold_warnings(corpus: Corpus, scheme: str, folds: Sequence[Fold]) -> list[str]:
    """What to know of the folds' figures: voices in two parts, a part or a class without an utterance.

    The corpus's own division is taken as its authors meant it.
    """
    warnings = []
    mixed = set()
    for fold in folds:
        mixed |= _speakers(fold.test) & _speakers((*fold.train, *fold.validation))
    if scheme == "official-dev":
        warnings.append(
            "official-dev: tested on the corpus's dev split; the figures are not those of its test split"
        )
    elif mixed and scheme != "official":
        every = len(_speakers(corpus.utterances))
        warnings.append(
            f"{scheme}: {len(mixed)} of {every} speakers are in training and test, so that figures are of "
            "known voices; --folds speaker or speaker:K keeps them apart"
        )
    if empty := [fold.name for fold in folds if not fold.validation]:
        warnings.append(
            f"no validation utterance in {_some(empty)}: no epoch can be chosen without the test part"
        )
    for label in corpus.labels:
        if lacking := [fold.name for fold in folds if all(each.label != label for each in fold.train)]:
            warnings.append(
                f"no training utterance of {label} in {_some(lacking)}: it cannot be learned there"
            )
    return warnings


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more folds" if len(names) > 3 else "")


def _speakers(utterances: Iterable[Utterance]) -> set[str]:
    return {utterance.speaker for utterance in utterances if utterance.speaker is not None}


def _folders(names: Iterable[str]) -> list[str]:
    """Path components; one that had to change, or differs from another in capitals alone, gets a hash."""
    names = list(names)
    plain = [path_component(name) for name in names]
    count = Counter(each.casefold() for each in plain)
    return [
        each
        if each == name and count[each.casefold()] == 1
        else f"{each}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"
        for name, each in zip(names, plain, strict=True)
    ]


def find_fold(corpus: Corpus, scheme: str | None, name: str | None, seed: int = 0) -> Fold:
    """The fold ``name`` of `make_folds`. Raises `DataError`, with those that there are, for another name."""
    folds = {fold.name: fold for fold in make_folds(corpus, scheme, seed)}
    if name not in folds:
        raise DataError(f"{corpus.place}: no fold {name!r}, expected one of {', '.join(folds)}")
    return folds[name]


def _official(corpus: Corpus, scheme: str, seed: int) -> Fold:
    parts = _groups(_require(corpus, "split", scheme), "split")
    tested = "dev" if scheme == "official-dev" else "test"
    for part in ("train", tested):
        if part not in parts:
            hint = "; see --folds official-dev" if part == "test" and "dev" in parts else ""
            raise DataError(
                f"{corpus.place}: no usable utterance in split {part}, expected some for {scheme}{hint}"
            )
    if tested == "test" and "dev" in parts:
        train, validation = tuple(parts["train"]), tuple(parts["dev"])
    else:
        train, validation = _divide(parts["train"], f"{seed} official")
    return Fold(scheme, scheme, train, validation, tuple(parts[tested]))


def _held_out(corpus: Corpus, scheme: str, seed: int) -> dict[str, set[str]]:
    """The ids of each fold's test part, by the fold's name."""
    kind, _, count = scheme.partition(":")
    if kind == "random":
        k = int(count)
        if not 2 <= k <= len(corpus.utterances):
            raise DataError(
                f"{corpus.place}: {scheme} of {len(corpus.utterances)} utterances, expected 2 to that many"
            )
        ordered = _by_label(corpus.utterances, random.Random(f"{seed} random"))
        return {f"random-{i + 1}": _ids(ordered[i::k]) for i in range(k)}
    if count:
        return _speaker_groups(corpus, scheme, int(count))
    if scheme in ("session", "speaker"):
        groups = _groups(_require(corpus, scheme, scheme), scheme)
        return {f"{scheme}-{name}": _ids(groups[name]) for name in sorted(groups)}
    groups = _groups(_require(corpus, "speaker", scheme), "speaker")
    names = sorted(groups)
    pairs = [names[i : i + 2] for i in range(0, len(names), 2)]
    return {
        "speakers-" + "+".join(pair): set().union(*(_ids(groups[name]) for name in pair)) for pair in pairs
    }


def _speaker_groups(corpus: Corpus, scheme: str, k: int) -> dict[str, set[str]]:
    """K groups of whole speakers.

    ``speaker:K``: the one with most utterances goes to the group with fewest, and so on. ``speaker-group:K``:
    neighbours in the order of their names, the groups as even as can be; a corpus that numbers men and women
    in turn has both in every group. Of several corpora each is divided, and a group has some of each.
    """
    speakers = _groups(_require(corpus, "speaker", scheme), "speaker")
    if not 2 <= k <= len(speakers):
        raise DataError(f"{corpus.place}: {scheme} of {len(speakers)} speakers, expected 2 to that many")
    groups: list[set[str]] = [set() for _ in range(k)]
    if scheme.startswith("speaker-group"):
        for utterances in _groups(corpus.utterances, "corpus").values():
            names = sorted({utterance.speaker or "" for utterance in utterances})
            for place, name in enumerate(names):
                groups[place * k // len(names)].update(_ids(speakers[name]))
        if not all(groups):
            raise DataError(f"{corpus.place}: {scheme} of corpora that all have fewer speakers")
    else:
        for name in sorted(speakers, key=lambda name: (-len(speakers[name]), name)):
            min(groups, key=len).update(_ids(speakers[name]))
    return {f"speakers-{i + 1}-of-{k}": ids for i, ids in enumerate(groups)}


def _divide(
    utterances: Sequence[Utterance], seed: str
) -> tuple[tuple[Utterance, ...], tuple[Utterance, ...]]:
    """Training and validation part."""
    draw = random.Random(seed)
    chosen = (
        _whole_groups(utterances, "speaker", _MIN_SPEAKERS, draw)
        or _whole_groups(utterances, "dialogue", 2, draw)
        or _stratified(utterances, draw)
    )
    train = tuple(utterance for utterance in utterances if utterance.id not in chosen)
    return train, tuple(utterance for utterance in utterances if utterance.id in chosen)


def _whole_groups(utterances: Sequence[Utterance], field: str, least: int, draw: random.Random) -> set[str]:
    """Ids of randomly drawn groups that reach the validation share, none superfluous; empty if none do.

    Half of the utterances at most: a corpus of one large group and a few small ones is not divided this way.
    """
    groups = _groups(utterances, field)
    if None in groups or len(groups) < least:
        return set()
    quota = VALIDATION_SHARE * len(utterances)
    names = sorted(groups)
    draw.shuffle(names)
    chosen: list[str] = []
    size = 0
    for name in names:
        if size < quota and size + len(groups[name]) <= len(utterances) / 2:
            chosen.append(name)
            size += len(groups[name])
    if size < quota:
        return set()
    for name in tuple(chosen):
        if size - len(groups[name]) >= quota:
            chosen.remove(name)
            size -= len(groups[name])
    return set().union(*(_ids(groups[name]) for name in chosen))


def _stratified(utterances: Sequence[Utterance], draw: random.Random) -> set[str]:
    if len(utterances) < 2:
        return set()
    step = round(1 / VALIDATION_SHARE)
    offset = draw.randrange(min(step, len(utterances)))
    return _ids(_by_label(utterances, draw)[offset::step])


def _by_label(utterances: Sequence[Utterance], draw: random.Random) -> list[Utterance]:
    """In random order within each label: every k-th of them is a stratified sample."""
    shuffled = list(utterances)
    draw.shuffle(shuffled)
    return sorted(shuffled, key=lambda utterance: utterance.label)


def _groups(utterances: Sequence[Utterance], field: str) -> dict[str, list[Utterance]]:
    groups: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        groups.setdefault(getattr(utterance, field), []).append(utterance)
    return groups


def _ids(utterances: Sequence[Utterance]) -> set[str]:
    return {utterance.id for utterance in utterances}


def _all_have(corpus: Corpus, field: str) -> bool:
    return all(getattr(utterance, field) is not None for utterance in corpus.utterances)


def _require(corpus: Corpus, field: str, scheme: str) -> tuple[Utterance, ...]:
    lacking = sum(getattr(utterance, field) is None for utterance in corpus.utterances)
    if lacking:
        raise DataError(
            f"{corpus.place}: {lacking} of {len(corpus.utterances)} utterances have no {field}, "
            f"expected one for all with folds {scheme}"
        )
    return corpus.utterances
