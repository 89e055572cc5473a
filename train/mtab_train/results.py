"""How a model's scores are shown on a terminal, chance beside them."""

from collections.abc import Mapping
from typing import Any

from mtab.console import table
from mtab_train.metrics import chance_of


def format_scores(scores: Mapping[str, Any]) -> str:
    """Scores as `mtab_train.metrics.scores` gives them: the figures, chance, and each class's recall."""
    recalls = [
        (name, "-" if recall is None else f"{recall:.3f}") for name, recall in scores["recall"].items()
    ]
    figures = f"WAR {scores['war']:.3f}  UAR {scores['uar']:.3f}  weighted F1 {scores['weighted_f1']:.3f}"
    return "\n".join([figures, *chance_lines(scores), "", table(recalls, ("class", "recall"))])


def chance_lines(scores: Mapping[str, Any]) -> list[str]:
    """What chance would get, and a sentence if the model gets no more."""
    chance = chance_of(scores["confusion_matrix"])
    lines = [f"chance: WAR {chance.war:.3f}  UAR {chance.uar:.3f}"]
    if chance.explains(scores["war"], scores["uar"]):
        lines.append(
            f"The model is at chance: on {scores['utterances']} utterances, luck gives a WAR of up to "
            f"{chance.war_limit:.3f} and a UAR of up to {chance.uar_limit:.3f}."
        )
    return lines


def format_confusion(scores: Mapping[str, Any]) -> str:
    """The confusion matrix: true classes down, predicted ones across."""
    labels = list(scores["recall"])
    rows = [(label, *counts) for label, counts in zip(labels, scores["confusion_matrix"], strict=True)]
    return table(rows, ("true \\ predicted", *labels))
