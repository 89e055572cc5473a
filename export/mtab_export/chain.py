"""The model's parts one after another, each in PyTorch or as a graph."""

from collections.abc import Mapping, Sequence

import numpy as np

from mtab.graphs import split_of
from mtab.parity import Answers, Forward
from mtab.preprocess import Features, Preprocessor
from mtab_export.gate import Engine
from mtab_export.onnx_graph import graph_sizes, run_part
from mtab_train.model import MulTAB


class Chain:
    """A model's parts in sequence; what PyTorch computed for a batch is remembered."""

    def __init__(self, model: MulTAB, preprocess: Preprocessor) -> None:
        modalities = model.config.modalities
        self.model = model
        self.parts = tuple(spec.of(modalities, graph_sizes(model)) for spec in split_of(modalities))
        self.preprocess = preprocess
        self._remembered: dict[tuple[int, ...], dict[str, np.ndarray]] = {}

    def forward(self, engines: Mapping[str, Engine]) -> Forward:
        """The forward pass over padded batches, the parts that ``engines`` names computed by those."""
        return lambda features: self.values(features, engines)

    def values(self, features: Sequence[Features], engines: Mapping[str, Engine]) -> Answers:
        """Every part's inputs and outputs for one padded batch, by name."""
        remembered = self._remembered.setdefault(tuple(map(id, features)), {})
        values: dict[str, np.ndarray] = dict(self.preprocess.collate(features))
        in_pytorch = True
        for spec in self.parts:
            outputs = [tensor.name for tensor in spec.outputs]
            if spec.name in engines:
                values |= engines[spec.name].run(values)
                in_pytorch = False
            elif not in_pytorch:
                values |= run_part(self.model, spec, values)
            else:
                if outputs[0] not in remembered:
                    remembered |= run_part(self.model, spec, values)
                values |= {name: remembered[name] for name in outputs}
        return values
