"""The model ``mtab`` in Triton's Python backend: audio and text in, the answers of the runtime out.

It stands in a repository that ``mtab-export --target triton`` wrote, and needs `mtab` in Triton's Python.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # pyright: ignore[reportMissingImports]

from mtab.bundle import GraphEntry, open_bundle
from mtab.config import load_config
from mtab.engines.base import Engine, Tensor, one_line
from mtab.errors import EngineError
from mtab.graphs import FUSED
from mtab.inputs import Input
from mtab.loading import open_preprocessor
from mtab.model import Model
from mtab.output import record
from mtab.results import Failure, Result
from mtab_serve.triton.model_config import GRAPH_MODEL

NAME = "utterance"


class GraphInTriton(Engine):
    """The model `GRAPH_MODEL` of the same server, on whatever backend and device it runs there."""

    title = "Triton"

    def _compute(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        # Of a length Triton wants an axis beside that of the batch.
        tensors = [
            pb_utils.Tensor(name, array[:, None] if array.ndim == 1 else array)
            for name, array in feed.items()
        ]
        response = pb_utils.InferenceRequest(
            model_name=GRAPH_MODEL,
            inputs=tensors,
            requested_output_names=list(self.outputs),
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        ).exec()
        if response.has_error():
            raise EngineError(response.error().message())
        found = (pb_utils.get_output_tensor_by_name(response, name) for name in self.outputs)
        return [np.array(tensor.as_numpy()) for tensor in found]


class TritonPythonModel:
    """What Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the description of the bundle beside this file."""
        folder = Path(args["model_repository"]) / args["model_version"] / "bundle"
        bundle = open_bundle(folder)
        graph = load_config(GraphEntry, folder / "graph.json")
        spec = FUSED.of(bundle.config.modalities, bundle.config.sizes)
        inputs, outputs = (
            [Tensor(each.name, each.dtype, each.axes) for each in side]
            for side in (spec.inputs, spec.outputs)
        )
        engine = GraphInTriton("triton", folder, "triton", graph.precision, inputs, outputs)
        self.model = Model(bundle, graph, engine, open_preprocessor(bundle))
        parameters = json.loads(args["model_config"])["parameters"]
        self.batch_size = int(parameters["batch_size"]["string_value"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A response for each request; an utterance without an answer makes its own request an error."""
        utterances = [list(_utterances(request)) for request in requests]
        answers = self.model.stream(
            (each for request in utterances for each in request),
            on_error="skip",
            return_embedding=True,
            batch_size=self.batch_size,
        )
        return [
            self._response([next(answers) for _ in of_request], request.requested_output_names())
            for of_request, request in zip(utterances, requests, strict=True)
        ]

    def _response(self, answers: Sequence[Result | Failure], wanted: Sequence[str]) -> Any:
        results = [each for each in answers if isinstance(each, Result)]
        if failed := next((each for each in answers if isinstance(each, Failure)), None):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(one_line(failed.error)))
        records = [record(NAME, each) for each in results]
        outputs = {
            "label": _strings([each.label for each in results]),
            "probabilities": np.array([list(each.probabilities.values()) for each in results], np.float32),
            "embedding": np.array([each.embedding for each in results], np.float32),
            "json": _strings([json.dumps(each, ensure_ascii=False) for each in records]),
        }
        if self.model.dimensions:
            rated = [list((each.dimensions or {}).values()) for each in results]
            outputs["dimensions"] = np.array(rated, np.float32)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, outputs[name]) for name in wanted])


def _utterances(request: Any) -> Iterator[Input]:
    """The utterances of a request: its rows, named by their number where there are several."""
    found = {name: pb_utils.get_input_tensor_by_name(request, name) for name in ("audio", "text")}
    columns = {name: tensor.as_numpy().ravel() for name, tensor in found.items() if tensor is not None}
    rows = len(next(iter(columns.values())))
    for row in range(rows):
        audio, text = (columns[name][row] if name in columns else None for name in ("audio", "text"))
        # What is no UTF-8 stays in the text, and is refused there.
        said = None if text is None else text.decode("utf-8", "surrogateescape")
        yield Input(audio, said, name=NAME if rows == 1 else f"{NAME} {row}")


def _strings(values: Sequence[str]) -> np.ndarray:
    return np.array([[value.encode()] for value in values], np.object_)
