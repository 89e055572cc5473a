"""What the rooms of mtab have in common to speak of: modalities, dimensions, precisions and the like."""

from typing import Literal

Modality = Literal["audio", "text"]
Part = Literal["fused", "audio_encoder", "text_encoder", "cme", "tab_head"]
Dataset = Literal["iemocap", "meld", "ravdess", "cremad", "tess", "nemo", "emodb", "manifest"]
Dimension = Literal["valence", "arousal", "dominance"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8-static"]
TunedFor = Literal["latency", "throughput"]
OperatorKind = Literal["convolutions", "attention", "feed_forward"]
"""What int8 multiplies: wide convolutions, the projections around attention, and all other matrices."""
