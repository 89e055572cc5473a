"""What a training step runs: the model on a batch that may hold cached encodings, and an auxiliary head."""

from torch import Tensor, nn

from mtab_train.batches import Batch
from mtab_train.config import TrainConfig
from mtab_train.lora import add_adapters
from mtab_train.losses import CharacterCtc
from mtab_train.model import MulTAB, Output


class BatchModel(nn.Module):
    """The model on a `Batch`, in which cached encodings may stand for what is frozen.

    Where the training asks for CTC it has the head for it, which is no part of the model; where it asks for
    LoRA it puts adapters into the model.
    """

    def __init__(self, model: MulTAB, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        if config.lora_rank:
            add_adapters(model, config.lora_rank, config.lora_alpha)
        self.ctc = None
        if config.ctc_weight:
            assert model.audio_encoder is not None
            self.ctc = CharacterCtc(model.audio_encoder.hidden_size)

    def forward(self, batch: Batch) -> tuple[Output, Tensor | None]:
        """The answers and, in training, the CTC loss where there is one."""
        model = self.model
        speech = frames = text = tokens = spelling = None
        if model.audio_encoder is not None:
            if "audio_states" in batch:
                speech, frames = batch["audio_states"], batch["audio_frames"]
            elif "audio_features" in batch:
                frames = batch["audio_frames"]
                speech = model.audio_encoder.context(batch["audio_features"], frames)
            else:
                speech, frames = model.audio_encoder(batch["input_values"], batch["audio_lengths"])
            if self.ctc is not None and self.training:
                spelling = self.ctc(speech, frames, batch["letters"], batch["letter_lengths"])
        if model.text_encoder is not None:
            tokens = batch["text_lengths"]
            cached = "text_states" in batch
            text = batch["text_states"] if cached else model.text_encoder(batch["input_ids"], tokens)
        return model.classify(*model.fuse(speech, frames, text, tokens)), spelling
