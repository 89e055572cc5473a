"""``results.json``: what a training came to, and how it is shown on a terminal, chance beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mtab.config import load_config
from mtab.console import table
from mtab.provenance import Protocol, Scores
from mtab_train.metrics import Chance
from mtab_train.run import RESULTS


@dataclass(frozen=True, slots=True)
class TeacherResults:
    """The teacher on the test utterances, ``agreement`` the share of them that the student answers alike.

    ``heard`` is how many of their clips the teacher was trained on, which favours it and its student.
    """

    folder: str
    test: Scores
    agreement: float
    heard: int


@dataclass(frozen=True, slots=True)
class Results:
    """``results.json``: the chosen epoch, its scores on validation and test utterances, and what it took.

    ``selection`` are the scores that chose it, of the test set by the paper's protocol, and None where
    nothing did. ``chance`` is that of
    the test set, ``parameters`` are counted by part as `mtab_train.model.count_parameters` does. ``problems``
    were skipped. ``continued_after`` are the epochs at which an earlier training of the run had ended.
    """

    protocol: Protocol
    selected_epoch: int
    epochs: int
    selection: Scores | None
    test: Scores
    chance: Chance
    problems: int
    clips_cut: int
    parameters: dict[str, dict[str, int]]
    seconds: float
    continued_after: tuple[int, ...] = ()
    teacher: TeacherResults | None = None


def read_results(folder: Path) -> Results:
    """A finished run's results. Raises `ConfigError` if it has not finished, or a field is wrong."""
    return load_config(Results, folder / RESULTS)


def format_scores(scores: Scores, chance: Chance) -> str:
    """The figures, chance, each class's recall, and how the dimensions agree."""
    recalls = [(label, "-" if recall is None else f"{recall:.3f}") for label, recall in scores.recall.items()]
    figures = f"WAR {scores.war:.3f}  UAR {scores.uar:.3f}  weighted F1 {scores.weighted_f1:.3f}"
    lines = [figures, *_chance_lines(scores, chance), "", table(recalls, ("class", "recall"))]
    if scores.ccc is not None:
        lines += ["", f"{format_ccc(scores.ccc)} (chance 0)"]
    return "\n".join(lines)


def format_teacher(results: Results) -> str:
    """Student and teacher side by side, and how often they agree."""
    teacher = results.teacher
    assert teacher is not None
    rows = [
        (name, f"{scores.war:.3f}", f"{scores.uar:.3f}", f"{scores.weighted_f1:.3f}", scores.utterances)
        for name, scores in (("student", results.test), ("teacher", teacher.test))
    ]
    lines = [
        table(rows, ("", "WAR", "UAR", "weighted F1", "utterances")),
        f"agreement of student and teacher: {teacher.agreement:.3f}",
    ]
    if teacher.heard:
        lines.append(
            f"The teacher was trained on {teacher.heard} of these {teacher.test.utterances} clips: read both "
            "figures as those of training data, and see --fold"
        )
    return "\n".join(lines)


def format_ccc(ccc: Mapping[str, float | None]) -> str:
    """The concordance correlation coefficient of each dimension, ``-`` where there is none.

    >>> format_ccc({"valence": 0.5, "arousal": None})
    'CCC valence 0.500 arousal -'
    """
    return " ".join(["CCC", *(f"{name} {'-' if c is None else f'{c:z.3f}'}" for name, c in ccc.items())])


def _chance_lines(scores: Scores, chance: Chance) -> list[str]:
    """What chance would get, and a sentence if the model gets no more."""
    lines = [f"chance: WAR {chance.war:.3f}  UAR {chance.uar:.3f}"]
    if chance.explains(scores.war, scores.uar):
        lines.append(
            f"The model is at chance: on {scores.utterances} utterances, luck gives a WAR of up to "
            f"{chance.war_limit:.3f} and a UAR of up to {chance.uar_limit:.3f}."
        )
    return lines


def format_confusion(scores: Scores) -> str:
    """The confusion matrix: true classes down, predicted ones across."""
    labels = list(scores.recall)
    rows = [(label, *counts) for label, counts in zip(labels, scores.confusion_matrix, strict=True)]
    return table(rows, ("true \\ predicted", *labels))
