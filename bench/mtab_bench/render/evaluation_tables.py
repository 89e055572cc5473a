"""The tables of the section ``evaluation``."""

from collections.abc import Iterator

from mtab_bench.render.answers import chosen, unheard_classes
from mtab_bench.render.backends import BACKEND, latency_cells, latency_columns, skipped_row
from mtab_bench.render.breakdown_tables import breakdown_tables
from mtab_bench.render.formats import (
    coefficient,
    count,
    difference,
    percent,
    points,
    probability,
    two_digits,
)
from mtab_bench.render.table import Cell, Column, Row, Table, figure
from mtab_bench.sections.accuracy import Concordance
from mtab_bench.sections.evaluation import EvaluatedBackend, Evaluation


def evaluation_tables(section: Evaluation) -> list[Table]:
    """Those that stand above the pictures: scores, recall, dimensions, breakdowns, parity, latency."""
    return [
        *(_scores(section), _recall(section), *_dimensions(section)),
        *breakdown_tables(section),
        *(*_parity(section), *_dimension_parity(section), _latency(section)),
    ]


def _rows(section: Evaluation, cells: dict[str, tuple[Cell, ...]]) -> tuple[Row, ...]:
    """A row for each backend: its title and ``cells``, or why it was skipped."""
    best = chosen(section)
    return tuple(
        Row((backend.title, *cells[key]), main=key == best) if key in cells else skipped_row(backend)
        for key, backend in section.backends.items()
        if key in cells or backend.skipped
    )


def _scores(section: Evaluation) -> Table:
    cells: dict[str, tuple[Cell, ...]] = {}
    for key, backend in section.measured.items():
        accuracy, parity = backend.accuracy, backend.parity
        assert accuracy is not None
        cells[key] = (
            figure(percent, accuracy.war),
            figure(percent, accuracy.uar),
            figure(percent, accuracy.chance.uar),
            figure(percent, accuracy.weighted_f1),
            figure(percent, accuracy.ece),
            figure(points, parity and parity.war_difference),
            figure(points, parity and parity.uar_difference),
            figure(points, parity and parity.weighted_f1_difference),
        )
    unheard = unheard_classes(section.protocol)
    return Table(
        "Scores",
        (
            BACKEND,
            Column("WAR"),
            Column("UAR"),
            Column("chance"),
            Column("weighted F1"),
            Column("ECE"),
            *(Column(title, page_only=True) for title in ("WAR moved", "UAR moved", "F1 moved")),
        ),
        _rows(section, cells),
        "WAR is accuracy, UAR the mean recall of the classes that have a test utterance, chance the UAR of "
        f"one who guesses among these{f' ({unheard[:-1]})' if unheard else ''}. ECE is the expected "
        "calibration error. What moved is points of the backend less the reference's.",
    )


def _recall(section: Evaluation) -> Table:
    classes = section.protocol.classes
    counts = section.protocol.utterances_per_class or {}
    cells: dict[str, tuple[Cell, ...]] = {
        key: tuple(figure(percent, backend.accuracy.recall[label]) for label in classes)
        for key, backend in section.measured.items()
        if backend.accuracy is not None
    }
    utterances = Row(("test utterances", *(figure(count, counts.get(label)) for label in classes)))
    return Table(
        "Recall of each class",
        (BACKEND, *map(Column, classes)),
        (utterances, *_rows(section, cells)),
        "– has no test utterance.",
    )


def _dimensions(section: Evaluation) -> Iterator[Table]:
    found = {
        key: backend.accuracy.dimensions
        for key, backend in section.measured.items()
        if backend.accuracy is not None and backend.accuracy.dimensions is not None
    }
    if not found:
        return
    cells: dict[str, tuple[Cell, ...]] = {
        key: tuple(_concordance(each) for each in dimensions.values()) for key, dimensions in found.items()
    }
    first = next(iter(found.values()))
    rated = Row(("rated utterances", *(figure(count, each.rated) for each in first.values())))
    yield Table(
        "Concordance of the dimensions",
        (BACKEND, *map(Column, first)),
        (rated, *_rows(section, cells)),
        "The concordance correlation coefficient (CCC) with people's ratings, and the 95 % interval of a "
        "bootstrap over the utterances: 1 is agreement, 0 chance.",
    )


def _concordance(found: Concordance) -> Cell:
    if found.ccc is None or found.interval is None:
        return "–"
    low, high = found.interval
    return f"{coefficient(found.ccc)} ({coefficient(low)} to {coefficient(high)})"


def _dimension_parity(section: Evaluation) -> Iterator[Table]:
    cells: dict[str, tuple[Cell, ...]] = {}
    for key, backend in section.measured.items():
        if backend.parity is not None and (moved := backend.parity.figures.dimensions) is not None:
            cells[key] = (
                figure(difference, moved.max_difference),
                figure(difference, moved.max_batched_difference),
                figure(difference, moved.max_invariance_difference),
                figure(difference, backend.parity.budget.max_dimension_difference),
            )
    if cells:
        reference = section.backends[section.reference].title
        yield Table(
            f"Dimensions beside {reference}'s",
            (BACKEND, *map(Column, ("unbatched", "batched", "invariance", "budget"))),
            _rows(section, cells),
            "The largest difference of a dimension, in standard deviations of its ratings in training; "
            "columns are as in the table above.",
        )


def _parity(section: Evaluation) -> Iterator[Table]:
    reference = section.backends[section.reference].title
    cells: dict[str, tuple[Cell, ...]] = {}
    for key, backend in section.measured.items():
        if (parity := backend.parity) is not None:
            cells[key] = (
                figure(percent, parity.figures.label_agreement),
                figure(count, parity.labels_changed),
                figure(count, len(parity.figures.near_ties)),
                figure(count, len(parity.figures.changed_near_ties)),
                figure(difference, parity.figures.max_probability_difference),
                figure(difference, parity.figures.max_batched_difference),
                figure(difference, parity.figures.max_invariance_difference),
                figure(difference, parity.figures.mean_probability_difference),
                figure(difference, parity.budget.max_difference),
                figure(count, parity.mcnemar.only_reference_right),
                figure(count, parity.mcnemar.only_backend_right),
                figure(two_digits, parity.mcnemar.p_value),
            )
    beyond = [
        f" Over budget: {backend.title}: {'; '.join(backend.parity.failures)}."
        for backend in section.measured.values()
        if backend.parity is not None and backend.parity.failures
    ]
    if cells:
        yield Table(
            f"Parity with {reference}",
            (
                BACKEND,
                Column("same label"),
                Column("changed"),
                Column("near ties", page_only=True),
                Column("changed at near ties"),
                Column("unbatched"),
                Column("batched"),
                Column("invariance", page_only=True),
                Column("mean difference", page_only=True),
                Column("budget"),
                Column(f"only {reference} right", page_only=True),
                Column("only the backend right", page_only=True),
                Column("McNemar's p"),
            ),
            _rows(section, cells),
            f"The largest difference of a probability from {reference}'s unbatched one: each utterance by "
            "itself, and in padded batches; invariance is the backend in batches against itself. A label "
            "counts as changed if it is in one of both. A near tie is an utterance whose first two classes "
            f"{reference} tells apart by no more than twice the budget. McNemar's exact test compares the "
            f"utterances that one of the two alone gets right.{''.join(beyond)}",
        )


def _latency(section: Evaluation) -> Table:
    cells: dict[str, tuple[Cell, ...]] = {}
    for key, backend in section.measured.items():
        timed = backend.timed
        if timed is not None:
            cells[key] = (
                *latency_cells(timed),
                figure(count, timed.latency.count),
                figure(count, backend.threads),
            )
    reference = section.backends[section.reference].title
    return Table(
        "Latency on the test set",
        (
            BACKEND,
            *latency_columns(reference),
            Column("samples", page_only=True),
            Column("threads", page_only=True),
        ),
        _rows(section, cells),
        "One utterance at a time, each of a new length; “repeated” is the median of lengths that came "
        "before. RTF is seconds of computing for a second of speech.",
    )


def confusion_table(section: Evaluation, backend: EvaluatedBackend) -> Table:
    """True classes down, predicted ones across."""
    classes = section.protocol.classes
    assert backend.accuracy is not None
    rows = [
        Row((label, *(figure(count, each) for each in row)))
        for label, row in zip(classes, backend.accuracy.confusion_matrix, strict=True)
    ]
    return Table(
        f"Confusion matrix of {backend.title}",
        (Column("true", words=True), *map(Column, classes)),
        tuple(rows),
        "True classes down, predicted ones across.",
    )


def changed_table(section: Evaluation, backend: EvaluatedBackend) -> Table | None:
    """Every utterance whose label changed: the reference's answer above, the backend's below."""
    if backend.parity is None or not backend.parity.changed:
        return None
    reference = section.backends[section.reference]
    rows = []
    for each in backend.parity.changed:
        name = each.id + (f" ({each.audio})" if each.audio else "")
        tie = "yes" if each.near_tie else "no"
        for first, title, answer in (
            ((name, each.true, tie), reference.title, each.reference),
            (("", "", ""), backend.title, each.backend),
        ):
            shares = (figure(probability, share) for share in answer.probabilities.values())
            rows.append(Row((*first, title, answer.label, *shares)))
    return Table(
        f"Utterances whose label changed with {backend.title}",
        (
            Column("utterance", words=True),
            Column("true class", words=True),
            Column("near tie", words=True),
            Column("backend", words=True),
            Column("label", words=True),
            *map(Column, section.protocol.classes),
        ),
        tuple(rows),
        f"{reference.title}'s probabilities above, {backend.title}'s below.",
    )
