"""Losses beside the cross-entropy of the paper's own model, all of them options.

The cross-entropy of one head a corpus, a teacher's answers, the concordance correlation coefficient for the
dimensions, and the auxiliary losses of MMER, the paper's baseline.
"""

import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor, nn

CHARACTERS = "|'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What CTC spells with, as wav2vec2-base-960h does (``|`` is a space); class 0 is the blank."""


class OwnClasses(nn.Module):
    """Logits of the classes of each utterance's own corpus; ``corpora`` are `ModelConfig.corpora`."""

    corpora: Tensor

    def __init__(self, corpora: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("corpora", torch.tensor(corpora), persistent=False)

    def own(self, labels: Tensor) -> Tensor:
        """Which classes are of the label's corpus: (B,) -> (B, C) bool."""
        return self.corpora[labels][:, None] == self.corpora

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(B, C), (B,) -> (B, C), minus infinity for the classes of other corpora than the label's."""
        return logits.masked_fill(~self.own(labels), -torch.inf)


class CorpusCrossEntropy(nn.CrossEntropyLoss):
    """`torch.nn.CrossEntropyLoss` with a head for each corpus: over the classes of an utterance's own alone.

    The label is smoothed over these, and the mean is weighted over all utterances.
    """

    def __init__(self, corpora: Sequence[int], weight: Tensor | None, label_smoothing: float) -> None:
        weight = torch.ones(len(corpora)) if weight is None else weight
        super().__init__(weight, label_smoothing=label_smoothing)
        self.own_classes = OwnClasses(corpora)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(B, C), (B,) -> a scalar."""
        assert self.weight is not None
        own = self.own_classes.own(labels)
        losses = -self.own_classes(logits, labels).log_softmax(dim=1)
        weighted = self.weight * losses.masked_fill(~own, 0)
        true = weighted.gather(1, labels[:, None]).squeeze(1)
        smooth = weighted.sum(dim=1) / own.sum(dim=1)
        return torch.lerp(true, smooth, self.label_smoothing).sum() / self.weight[labels].sum()


class Distillation(nn.CrossEntropyLoss):
    """What a label and a teacher's answer say together (Hinton et al., 2015).

    Of an utterance with a label (1 - w) CE + w T^2 KL(teacher, student), both softmaxes at temperature T; of
    one without a label the second term alone, whole. The mean is weighted by class; without a label that is
    the one which the teacher finds likeliest.
    """

    def __init__(
        self, teacher_share: float, temperature: float, weight: Tensor | None, label_smoothing: float
    ) -> None:
        super().__init__(weight, reduction="none", label_smoothing=label_smoothing)
        self.teacher_share, self.temperature = teacher_share, temperature

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, logits: Tensor, labels: Tensor, annotated: Tensor, teacher_logits: Tensor
    ) -> Tensor:
        """(B, C), (B,), (B,) bool, (B, C) -> a scalar."""
        weights = torch.ones_like(logits[:, 0]) if self.weight is None else self.weight[labels]
        student = (logits.float() / self.temperature).log_softmax(dim=1)
        teacher = (teacher_logits / self.temperature).log_softmax(dim=1)
        divergence = (teacher.exp() * (teacher - student)).sum(dim=1) * self.temperature**2
        share = torch.where(annotated, self.teacher_share, 1.0)
        losses = (1 - share) * super().forward(logits.float(), labels) + share * weights * divergence
        return losses.sum() / weights.sum()


def likeness_loss(embeddings: Tensor, teacher: Tensor) -> Tensor:
    """1 - CKA (Kornblith et al., 2019): whether utterances that are alike to a teacher are so to the student.

    (B, E), (B, F) -> a scalar. With K and L the products of the centred embeddings of each two utterances,
    CKA = <K, L> / (|K| |L|): 1 where both are the same but for rotation and scale, whatever their widths. 0
    for a batch whose embeddings are all the same, to either.
    """
    grams = [(centred := x.float() - x.float().mean(dim=0)) @ centred.T for x in (embeddings, teacher)]
    norms = [gram.norm() for gram in grams]
    if min(norms) == 0:
        return embeddings.sum() * 0
    return 1 - (grams[0] / norms[0] * grams[1] / norms[1]).sum()


def concordance_loss(found: Tensor, true: Tensor) -> Tensor:
    """1 - CCC (Lin, 1989), the mean over the dimensions: (B, D), (B, D) with NaN for no rating -> a scalar.

    CCC = 2 cov(x, y) / (var x + var y + (mean x - mean y)^2), over the utterances that have a rating. It is
    the same in any units. A dimension without two different ratings in the batch has none and does not
    count; 0 if none does.
    """
    rated = true.isfinite()
    count = rated.sum(dim=0).clamp(min=1)
    found, true = found.float().masked_fill(~rated, 0), true.float().masked_fill(~rated, 0)
    found_mean, true_mean = found.sum(dim=0) / count, true.sum(dim=0) / count
    found_off, true_off = ((found - found_mean) * rated, (true - true_mean) * rated)
    covariance = (found_off * true_off).sum(dim=0) / count
    variances = (found_off**2 + true_off**2).sum(dim=0) / count
    highest = true.masked_fill(~rated, -torch.inf).amax(dim=0)
    defined = highest > true.masked_fill(~rated, torch.inf).amin(dim=0)
    divisor = (variances + (found_mean - true_mean) ** 2).masked_fill(~defined, 1)
    return ((1 - 2 * covariance / divisor) * defined).sum() / defined.sum().clamp(min=1)


def supervised_contrastive(embeddings: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """Khosla et al. (2020), eq. 2: utterances of one label attract each other, others repel.

    (B, E), (B,) -> a scalar: over the utterances i whose label another one shares, the mean of
    -1/|P(i)| sum_p log(exp(z_i z_p / t) / sum_a exp(z_i z_a / t)), where z has unit length, P(i) are the
    others of its label and a runs over all others. 0 if no label occurs twice.
    """
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    anchors = positive.any(dim=1)
    if not anchors.any():
        return embeddings.sum() * 0
    z = nn.functional.normalize(embeddings.float(), dim=1)
    similarity = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    log_share = similarity - similarity.logsumexp(dim=1, keepdim=True)
    mean = log_share.masked_fill(~positive, 0).sum(dim=1)[anchors] / positive.sum(dim=1)[anchors]
    return -mean.mean()


def spell(text: str) -> list[int]:
    """A transcript as classes of `CHARACTERS`: capitals without accents, words apart; the rest is dropped."""
    plain = unicodedata.normalize("NFKD", text).upper()
    letters = "|".join(plain.split())
    return [1 + CHARACTERS.index(letter) for letter in letters if letter in CHARACTERS]


class CharacterCtc(nn.Module):
    """Connectionist temporal classification of the transcript's letters from the audio encoder's frames."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(hidden_size, 1 + len(CHARACTERS))

    def forward(self, speech: Tensor, frames: Tensor, letters: Tensor, letter_lengths: Tensor) -> Tensor:
        """(B, S, h), (B,), (B, L) int64, (B,) -> the mean loss a letter, a scalar.

        An utterance without audio or letters, or with more letters than its frames can spell, does not count.
        """
        scores = self.classifier(speech).float().log_softmax(dim=2).transpose(0, 1)
        losses = nn.functional.ctc_loss(
            scores, letters, frames, letter_lengths, reduction="none", zero_infinity=True
        )
        counted = (frames > 0) & (letter_lengths > 0) & (losses > 0)
        a_letter = losses / letter_lengths.clamp(min=1)
        return (a_letter * counted).sum() / counted.sum().clamp(min=1)
