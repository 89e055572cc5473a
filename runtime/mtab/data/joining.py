"""Several corpora as one, and the manifest that keeps it."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mtab.data.columns import COLUMNS
from mtab.data.labels import corpus_name
from mtab.data.records import PEOPLE, SYNTHETIC_MARKER, Corpus, Utterance
from mtab.errors import DataError
from mtab.files import path_component


def join_corpora(corpora: Sequence[Corpus]) -> Corpus:
    """One corpus of the utterances of several; equal labels are one class.

    Ids, speakers, sessions and dialogues get the name of their corpus before them: they are others. Raises
    `DataError` if two corpora have the same name.
    """
    names = [corpus.own_name or corpus.name for corpus in corpora]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"corpus {twice[0]!r} given twice, expected corpora of different names")
    return Corpus(
        "manifest",
        next((corpus.root for corpus in corpora if corpus.synthetic), corpora[0].root),
        tuple(sorted({utterance.label for corpus in corpora for utterance in corpus.utterances})),
        tuple(_named(corpus, utterance) for corpus in corpora for utterance in corpus.utterances),
        tuple(problem for corpus in corpora for problem in corpus.problems),
        dict(sum((Counter(corpus.excluded) for corpus in corpora), Counter[str]())),
        notices=tuple(notice for corpus in corpora for notice in corpus.notices),
        own_name=path_component("+".join(names)),
        kept=False,
    )


def keep_corpus(corpus: Corpus, folder: Path) -> Path:
    """Write a corpus into the new ``folder`` as a manifest, and return that file; clips stay where they are.

    The folder is marked as synthetic where the corpus is, wholly or in part.
    """
    folder.mkdir()
    path = folder / f"{corpus.own_name or corpus.name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(_cells, corpus.utterances))
    if corpus.synthetic:
        (folder / SYNTHETIC_MARKER).write_text("Holds utterances of a synthetic corpus.\n")
    return path


def _named(corpus: Corpus, utterance: Utterance) -> Utterance:
    name = corpus_name(corpus, utterance)
    named = utterance if utterance.corpus is not None else utterance.of_corpus(name)
    return replace(named, id=f"{name}-{utterance.id}")


def _cells(utterance: Utterance) -> list[object]:
    """The cells that `mtab.data.read_manifest` makes the same utterance of."""
    cells: dict[str, object] = {name: getattr(utterance, name) for name in COLUMNS}
    if utterance.corpus is not None:
        # Reading puts the name of the corpus before them.
        for name in PEOPLE:
            if (value := getattr(utterance, name)) is not None:
                cells[name] = value.removeprefix(f"{utterance.corpus}-")
    if utterance.audio is not None:
        cells["audio"] = utterance.audio.absolute()
    # Times of what is not to be cut would cut it.
    cells["start"], cells["end"] = utterance.span
    return list(cells.values())
