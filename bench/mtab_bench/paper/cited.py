"""What papers print, as data: Appl. Sci. 2024, 14(8), 3276, and the systems that it compares with.

None of these figures was measured here. Every table that shows one calls it cited. Shares are in 0..1.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CitedRow:
    """A row of ours as the paper prints it: WAR by fold, by the paper's protocol, or the best alone."""

    row: str
    war_by_fold: tuple[float, ...] | None
    best_war: float
    best_uar: float | None = None

    @property
    def mean_war(self) -> float | None:
        """The mean over the folds, None where the paper prints no fold."""
        return None if self.war_by_fold is None else sum(self.war_by_fold) / len(self.war_by_fold)


@dataclass(frozen=True, slots=True)
class CitedSystem:
    """A system that the paper compares with, as the paper's table prints it."""

    title: str
    uar: float | None
    war: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class CitedCorpus:
    """What the paper reports on a corpus: how it divided it, its classes, its rows and its rivals'."""

    folds: str
    classes: tuple[str, ...]
    rows: tuple[CitedRow, ...]
    systems: tuple[CitedSystem, ...]
    note: str


CITED = {
    "iemocap": CitedCorpus(
        folds="session",
        classes=("anger", "happiness", "neutral", "sadness"),
        rows=(
            CitedRow("mul-tab", (0.789, 0.839, 0.751, 0.797, 0.762), 0.839, 0.820),
            CitedRow("without-tab", (0.782, 0.829, 0.751, 0.795, 0.779), 0.829),
            CitedRow("without-mha", (0.786, 0.823, 0.762, 0.781, 0.776), 0.823),
        ),
        systems=(
            CitedSystem("MHA+DRN", 0.6740, None),
            CitedSystem("CNN+Bi-GRU", 0.7172, 0.7039),
            CitedSystem("MSCNN-SPU", 0.7820, 0.7740),
            CitedSystem("LightSER", 0.7076, 0.7023),
            CitedSystem("[56]", None, 0.7631, "the paper gives no name"),
            CitedSystem("TIM-Net", 0.7250, 0.7165),
            CitedSystem("MMER", 0.7869, 0.8018, "without its augmented data"),
            CitedSystem("Mul-TAB", 0.8192, 0.8385, "the best of five folds"),
        ),
        note="The paper's headline is its best fold; its means lie below MMER's figure.",
    ),
    "meld": CitedCorpus(
        folds="official",
        classes=("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"),
        rows=(
            CitedRow("mul-tab", None, 0.636),
            CitedRow("without-tab", None, 0.602),
            CitedRow("without-mha", None, 0.594),
        ),
        systems=(
            CitedSystem("MTAF", 0.4812, None),
            CitedSystem("BLSTM+IA-MMTF", 0.5479, None),
            CitedSystem("M2R2", 0.5583, None),
            CitedSystem("MMGCN", 0.5865, None),
            CitedSystem("DAG-ERC", 0.6104, None),
            CitedSystem("CTNet", 0.620, None),
            CitedSystem("Mul-TAB", 0.636, None),
        ),
        note="The paper calls these figures UAR; the recalls of its own confusion matrix force a far lower "
        "UAR for Mul-TAB, so that its figure is an accuracy. Its abstract says 0.627.",
    ),
}
"""By the layout of the corpus."""
