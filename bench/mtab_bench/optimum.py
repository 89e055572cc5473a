"""The encoders as optimum exports them: in an environment of its own, for it needs an older transformers."""

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mtab.errors import EngineError
from mtab_bench.backends import Inputs, open_session

if TYPE_CHECKING:
    from mtab_train.encoders import AudioEncoder, TextEncoder

INSTALL = (
    "optimum-onnx needs transformers below 5, and so an environment of its own: there "
    "pip install 'optimum-onnx[onnxruntime]', and here --optimum ENVIRONMENT/bin/python"
)


def check_python(python: Path) -> None:
    """Raise `EngineError` if there is no such program: before the minutes of measuring."""
    if shutil.which(python) is None:
        raise EngineError(f"{python}: not found, expected a Python with optimum-onnx")


def export_by_optimum(python: Path, encoder: "AudioEncoder | TextEncoder", folder: Path) -> Path:
    """Save an encoder as transformers publishes it, and have optimum export it; the graph's path.

    Raises `EngineError`, with its last line, if that fails.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        encoder.backbone.save_pretrained(folder / "published")
    finally:
        logging.enable_progress_bar()
    command = [python, "-m", "optimum.exporters.onnx", "--task", "feature-extraction"]
    try:
        done = subprocess.run(
            [*map(str, command), "--model", str(folder / "published"), str(folder / "exported")],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise EngineError(f"{python}: {error.strerror}, expected a Python with optimum-onnx") from None
    graph = folder / "exported" / "model.onnx"
    if done.returncode or not graph.is_file():
        *_, last = ["no reason given", *filter(None, map(str.strip, done.stderr.splitlines()))]
        raise EngineError(f"{python}: optimum does not export the encoder ({last})")
    return graph


class PublishedEncoder:
    """What optimum exported, in ONNX Runtime with its default options: hidden states of whole batches.

    The published forward pass; it is ours where no utterance is padded.
    """

    def __init__(self, graph: Path, threads: int) -> None:
        self._session: Any = open_session(graph, threads)
        self._inputs = [each.name for each in self._session.get_inputs()]

    def run(self, inputs: Inputs) -> np.ndarray:
        """(batch, steps, hidden size) float32, from ``input_values`` or ``input_ids``."""
        main = inputs["input_values" if "input_values" in self._inputs else "input_ids"]
        every = {"attention_mask": np.ones, "token_type_ids": np.zeros}
        feed = {
            name: every[name](main.shape, np.int64) if name in every else inputs[name]
            for name in self._inputs
        }
        return self._session.run(None, feed)[0]
