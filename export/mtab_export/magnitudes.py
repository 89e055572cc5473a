"""How large the tensors of a graph get, on inputs that are its own."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx_ir.tape import Tape

from mtab_export.blocks import load_model


def largest_magnitudes(
    source: Path, names: Sequence[str], feeds: Iterable[Mapping[str, np.ndarray]]
) -> np.ndarray:
    """Largest magnitude of each float32 tensor in ``names`` on each of ``feeds``: (feeds, names) float32.

    The graph itself reduces each tensor to one number, so that none outlives its use.
    """
    model = load_model(source)
    graph = model.graph
    values = ir.convenience.create_value_mapping(graph)
    tape = Tape(graph)
    reduced = [tape.op("ReduceMax", [tape.op("Abs", [values[name]])], {"keepdims": 0}) for name in names]
    for output in reduced:
        output.type, output.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(())
    graph.outputs[:] = reduced
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The weights stay where they are.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(source.parent)
    )
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = [value.name for value in session.get_inputs()]
    found = [session.run(None, {name: feed[name] for name in inputs}) for feed in feeds]
    return np.array(found, np.float32).reshape(len(found), len(names))
