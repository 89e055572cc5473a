"""What the labels of corpora are called in a model: by a table, or by the corpus that they are of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mtab.data.records import Corpus, Utterance
from mtab.data.tables import read_table
from mtab.data.text_files import read_utf8
from mtab.errors import DataError


@dataclass(frozen=True, slots=True)
class LabelMap:
    """``mapped`` is by corpus ("" for every one) and label; None leaves the utterances out."""

    file: Path
    mapped: Mapping[tuple[str, str], str | None]

    def knows(self, corpus: str, label: str) -> bool:
        """Whether a row tells what a label of a corpus is."""
        return (corpus, label) in self.mapped or ("", label) in self.mapped

    def of(self, corpus: str, label: str) -> str | None:
        """What a label of a corpus is called; its own row before that of every corpus."""
        own = (corpus, label)
        return self.mapped[own if own in self.mapped else ("", label)]


def read_label_map(file: Path) -> LabelMap:
    """Read a CSV file with the columns ``label``, ``mapped`` and, if it wants, ``corpus``.

    An empty ``mapped`` leaves the label's utterances out, an empty ``corpus`` is every corpus that has no row
    of its own. Raises `DataError` for a file that is none, or a row that cannot be used.
    """
    table = read_table(file, read_utf8(file, "a CSV file with columns label and mapped"), ("label", "mapped"))
    if table.problems:
        raise DataError(str(table.problems[0]))
    mapped: dict[tuple[str, str], str | None] = {}
    for row in table.rows:
        key = (row.cells.get("corpus", ""), row.cells["label"])
        if not key[1]:
            raise DataError(f"{file}:{row.line}: no label, expected one")
        if key in mapped:
            raise DataError(f"{file}:{row.line}: label {key[1]!r} a second time, expected once for a corpus")
        mapped[key] = row.cells["mapped"] or None
    return LabelMap(file, mapped)


def corpus_name(corpus: Corpus, utterance: Utterance) -> str:
    """What a label map calls the corpus of an utterance: its manifest's column, or the corpus's own name."""
    return utterance.corpus or corpus.own_name or corpus.name


def map_labels(corpus: Corpus, table: LabelMap) -> Corpus:
    """The corpus with the labels of ``table``; what it leaves out is counted in ``excluded``.

    Raises `DataError` for a label that it does not know.
    """
    kept: list[Utterance] = []
    excluded, unknown = Counter(corpus.excluded), Counter[tuple[str, str]]()
    for utterance in corpus.utterances:
        name, label = corpus_name(corpus, utterance), utterance.label
        if not table.knows(name, label):
            unknown[name, label] += 1
        elif (mapped := table.of(name, label)) is None:
            excluded[label] += 1
        else:
            kept.append(replace(utterance, label=mapped))
    if unknown:
        (name, label), count = min(unknown.items())
        raise DataError(
            f"{table.file}: no row for label {label!r} of {name} ({count} utterances), expected one; an "
            "empty cell mapped leaves them out"
        )
    return replace(_relabelled(corpus, kept), excluded=dict(excluded))


def class_by_corpus(corpus: str, label: str) -> str:
    """What a label is called where each corpus has classes of its own, such as ``emodb/anger``."""
    return f"{corpus}/{label}"


def labels_by_corpus(corpus: Corpus) -> Corpus:
    """The corpus with the labels of `class_by_corpus`.

    Raises `DataError` if its utterances are of one corpus, or of one with a slash in its name.
    """
    names = sorted({corpus_name(corpus, utterance) for utterance in corpus.utterances})
    if len(names) < 2:
        raise DataError(f"{corpus.place}: one corpus ({', '.join(names)}), expected several to tell apart")
    if slashed := [name for name in names if "/" in name]:
        raise DataError(f"{corpus.place}: corpus {slashed[0]!r}, expected a name without a slash")
    return _relabelled(
        corpus,
        [
            replace(each, label=class_by_corpus(corpus_name(corpus, each), each.label))
            for each in corpus.utterances
        ],
    )


def _relabelled(corpus: Corpus, utterances: Sequence[Utterance]) -> Corpus:
    return replace(
        corpus,
        name="manifest",
        own_name=corpus.own_name or corpus.name,
        columns={},
        labels=tuple(sorted({utterance.label for utterance in utterances})),
        utterances=tuple(utterances),
        kept=False,
    )
