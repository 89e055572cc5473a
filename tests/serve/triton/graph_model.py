"""For tests alone: the model ``mtab_graph`` on Triton's Python backend and ONNX Runtime.

The server that a wheel brings has no onnxruntime backend. This stands in its place, with the same inputs and
outputs of the same ``config.pbtxt``, so that all before the graph is run for real.
"""

from pathlib import Path

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        file = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = [each.name for each in self.session.get_inputs()]
        self.outputs = [each.name for each in self.session.get_outputs()]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        feed = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        print("batch", {name: array.shape for name, array in feed.items()}, flush=True)
        answers = dict(zip(self.outputs, self.session.run(self.outputs, feed), strict=True))
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, answers[name]) for name in wanted])
