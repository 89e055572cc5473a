"""What a training step runs: the model on a batch that may hold cached encodings, and an auxiliary head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtab_train.acoustic import AcousticEncoder
from mtab_train.batches import Batch
from mtab_train.config import TrainConfig
from mtab_train.dropout import draw_cheaply
from mtab_train.encoders import AudioEncoder
from mtab_train.gradient_checkpointing import enable_gradient_checkpointing
from mtab_train.lora import add_adapters
from mtab_train.losses import CharacterCtc, OwnClasses
from mtab_train.model import Mix, MulTAB, Output


class Step(NamedTuple):
    """The answers to a batch; in training also the CTC loss and how utterances were mixed, if they were."""

    output: Output
    spelling: Tensor | None
    mix: Mix | None


class BatchModel(nn.Module):
    """The model on a `Batch`, in which cached encodings may stand for what is frozen.

    Where the training asks for CTC it has the head for it, which is no part of the model; where it asks for
    LoRA it puts adapters into the model. Of a model with a head for each of several corpora, an utterance's
    answer is that of its own, ``own_classes``, as its label tells; in training the loss sees to that.
    """

    def __init__(self, model: MulTAB, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.mixup_alpha = config.mixup_alpha
        self.own_classes = OwnClasses(model.config.corpora)
        if config.lora_rank:
            add_adapters(model, config.lora_rank, config.lora_alpha)
        draw_cheaply(model)
        if config.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        self.ctc = None
        if config.ctc_weight:
            assert model.audio_encoder is not None
            self.ctc = CharacterCtc(model.audio_encoder.hidden_size)

    def forward(self, batch: Batch) -> Step:
        """The model's answers to a batch, (B, ...)."""
        model = self.model
        heard, text, tokens, spelling = (), None, None, None
        if model.audio_encoder is not None:
            heard = self._listen(batch)
            if self.ctc is not None and self.training:
                speech, frames, *_ = heard
                spelling = self.ctc(speech, frames, batch["letters"], batch["letter_lengths"])
        if model.text_encoder is not None:
            text, tokens = self._read(batch), batch["text_lengths"]
        mix = self._draw_mix(batch["labels"]) if self.training and self.mixup_alpha else None
        output = model.answer(heard, text, tokens, mix)
        if not self.training:
            output = output._replace(logits=self.own_classes(output.logits, batch["labels"]))
        return Step(output, spelling, mix)

    def _listen(self, batch: Batch) -> tuple[Tensor, ...]:
        """As `MulTAB.listen`, on what the batch holds of the audio."""
        model = self.model
        assert model.audio_encoder is not None
        if "audio_frames" not in batch:
            return model.listen(batch["input_values"], batch["audio_lengths"])
        frames = batch["audio_frames"]
        if "audio_states" in batch:
            return batch["audio_states"], frames
        if "audio_hidden" in batch:
            assert isinstance(model.audio_encoder, AudioEncoder)
            return model.audio_encoder.upper(batch["audio_hidden"], frames), frames
        features = batch["audio_features"]
        if isinstance(model.audio_encoder, AcousticEncoder):
            heard = model.audio_encoder.context(features, frames)
            return model.without_speech(*heard, batch["audio_statistics"][:, 0])
        return model.audio_encoder.context(features, frames), frames

    def _read(self, batch: Batch) -> Tensor:
        """What the text encoder makes of a batch, (B, T, h)."""
        encoder, tokens = self.model.text_encoder, batch["text_lengths"]
        assert encoder is not None
        if "text_states" in batch:
            return batch["text_states"]
        if "text_hidden" in batch:
            return encoder.upper(batch["text_hidden"], tokens)
        return encoder(batch["input_ids"], tokens)

    def _draw_mix(self, labels: Tensor) -> Mix:
        share = torch.distributions.Beta(self.mixup_alpha, self.mixup_alpha).sample().item()
        return Mix(share, torch.randperm(len(labels), device=labels.device))
