"""What an export or a verification measured, as plain tables."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mtab.console import table
from mtab.graphs import Budget

if TYPE_CHECKING:
    from mtab_export.gate import Verdict
    from mtab_export.graph_exporter import Outcome
    from mtab_export.reasons import ReasonsOutcome

MEASURED = (
    *("unbatched", "batched", "invariance", "logits", "near ties", "labels kept", "WAR change"),
    "verdict",
)
NOTE = (
    "unbatched, batched: largest difference of a probability from PyTorch's; invariance: between the two; "
    "near ties: labels changed there, of all such utterances"
)
DIMENSIONS_NOTE = (
    "dimensions: the largest of these three of a dimension, in standard deviations of its ratings in training"
)


def measured_table(rows: "Sequence[tuple[Sequence[str], Verdict]]", columns: Sequence[str]) -> str:
    """What was measured of some graphs: cells of their own under ``columns``, and their verdicts."""
    dimensions = any(verdict.certificate.dimensions is not None for _, verdict in rows)
    header = (*columns, *MEASURED[:-1], *(["dimensions"] if dimensions else []), MEASURED[-1])
    return table([(*cells, *_measured(verdict)) for cells, verdict in rows], header)


def _measured(verdict: "Verdict") -> tuple[str, ...]:
    """The columns `MEASURED` of one graph, and before the verdict its dimensions' if it has some."""
    certificate = verdict.certificate
    accuracy, moved = certificate.accuracy, certificate.dimensions
    return (
        f"{certificate.max_probability_difference:.1e}",
        f"{certificate.max_batched_difference:.1e}",
        f"{certificate.max_invariance_difference:.1e}",
        f"{certificate.relative_logits_difference:.1e}",
        f"{len(certificate.changed_near_ties)} of {len(certificate.near_ties)}",
        f"{certificate.label_agreement:.2%}",
        "-" if accuracy is None else f"{accuracy.war.change:+.3f}",
        *([] if moved is None else [f"{moved.largest:.1e}"]),
        "over budget" if verdict.failures else "passed",
    )


def format_budget(budget: Budget, utterances: int, dimensions: bool = False) -> str:
    """What a graph, with ``dimensions`` or without, may cost on so many utterances.

    >>> format_budget(Budget(2e-3, 0.995), 200)
    'differences up to 2e-03, 99.5% of labels kept; 1 more may change at near ties (a lead of up to 4e-03)'
    """
    dimension = f", of a dimension {budget.max_dimension_difference:.0e}" if dimensions else ""
    return (
        f"differences up to {budget.max_difference:.0e}{dimension}, "
        f"{100 * budget.min_agreement:g}% of labels kept; "
        f"{budget.exempt(utterances)} more may change at near ties (a lead of up to "
        f"{budget.near_tie_lead:.0e})"
    )


def format_notes(verdicts: "Mapping[str, Verdict]") -> str:
    """What the columns mean, and the budget of each precision of ``verdicts``."""
    certificates = {precision: verdict.certificate for precision, verdict in verdicts.items()}
    dimensions = any(each.dimensions is not None for each in certificates.values())
    budgets = [
        f"budget of {precision}: {format_budget(each.budget, each.utterances, dimensions)}"
        for precision, each in certificates.items()
    ]
    return "\n".join([NOTE, *([DIMENSIONS_NOTE] if dimensions else []), *budgets])


def format_outcomes(outcomes: "Sequence[Outcome]") -> Iterator[str]:
    """What was measured of every graph, and where the error of a refused one comes from."""
    first = outcomes[0].verdict.certificate
    yield f"Against PyTorch on {first.utterances} utterances of {first.corpus}:"
    rows = []
    for outcome in outcomes:
        place = f"{outcome.size / 1e6:.1f}", f"{outcome.seconds:.0f}"
        rows.append(((outcome.part, outcome.precision, *place), outcome.verdict))
    yield measured_table(rows, ("part", "precision", "MB", "seconds"))
    yield format_notes({outcome.precision: outcome.verdict for outcome in outcomes})
    for outcome in outcomes:
        for failure in outcome.verdict.failures:
            yield f"{outcome.part} {outcome.precision}: {failure}"
        if outcome.culprits:
            rows = [
                (
                    culprit.layer or "(the model itself)",
                    culprit.node.rpartition("/")[2],
                    "overflow" if math.isinf(culprit.error) else f"{culprit.error:.1e}",
                    "-" if culprit.largest is None else f"{culprit.largest:.3g}",
                    f"--fp32-nodes '{culprit.pattern}'",
                )
                for culprit in outcome.culprits
            ]
            yield table(
                rows, ("its error enters in", "first node", "adds", "largest number", "what cures it")
            )
        if outcome.fp32_nodes:
            yield f"{outcome.part} {outcome.precision}: in float32 are {' '.join(outcome.fp32_nodes)}"


def format_reasons(outcome: "ReasonsOutcome") -> Iterator[str]:
    """What was measured of the graph of reasons."""
    proven = outcome.entry.certificate
    yield (
        f"{outcome.entry.file}: attention, cut from the fused graph, whose weights it reads "
        f"({outcome.size / 1e6:.1f} MB, {outcome.seconds:.0f} s); largest differences from PyTorch's on "
        f"{proven.utterances} utterances, unbatched and batched:"
    )
    rows = [
        (name, f"{difference:.1e}", f"{proven.batched_differences[name]:.1e}")
        for name, difference in proven.differences.items()
    ]
    yield table(rows, ("attention", "unbatched", "batched"))
    yield from (f"{outcome.entry.file}: {failure}" for failure in outcome.failures)
