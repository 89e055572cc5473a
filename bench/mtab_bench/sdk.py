"""The C interface of libmtab through ctypes, as far as the bench measures it; ``mtab.h`` documents it."""

import ctypes
import re
from pathlib import Path

from mtab.errors import EngineError

_RAN = re.compile(rb"ran \d+ x \d+ samples, \d+ tokens in ([0-9.]+) ms")
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)


class _LoadOptions(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("engine", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
        ("precision", ctypes.c_char_p),
        ("threads", ctypes.c_int32),
        ("skip_verification", ctypes.c_int32),
        ("onnxruntime_library", ctypes.c_char_p),
        ("provider_library", ctypes.c_char_p),
        ("cache_dir", ctypes.c_char_p),
        ("max_seconds", ctypes.c_double),
        ("max_characters", ctypes.c_size_t),
        ("log", _LOG),
        ("log_context", ctypes.c_void_p),
        ("log_level", ctypes.c_int),
    )


class _Input(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("path", ctypes.c_char_p),
        ("content", ctypes.c_void_p),
        ("content_size", ctypes.c_size_t),
        ("samples", ctypes.c_void_p),
        ("frames", ctypes.c_size_t),
        ("channels", ctypes.c_int32),
        ("sample_type", ctypes.c_int32),
        ("sample_rate", ctypes.c_double),
        ("start", ctypes.c_double),
        ("end", ctypes.c_double),
        ("text", ctypes.c_char_p),
        ("text_size", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
    )


class SdkModel:
    """A bundle in libmtab on the CPU; ``ran`` are the seconds of ONNX Runtime in the last request."""

    def __init__(
        self, library: Path, onnxruntime: Path, bundle: Path, precision: str, threads: int | None = None
    ) -> None:
        """Raises `EngineError`, with libmtab's own message, if it cannot be had."""
        try:
            self._mtab = ctypes.CDLL(str(library))
        except OSError as error:
            raise EngineError(f"{library}: cannot be loaded ({error}), expected libmtab") from None
        for name in ("mtab_error_message", "mtab_result_class"):
            getattr(self._mtab, name).restype = ctypes.c_char_p
        self._mtab.mtab_result_probability.restype = ctypes.c_float
        self._mtab.mtab_result_count.restype = ctypes.c_size_t
        self.ran = 0.0
        # Kept as long as the model calls it.
        self._log = _LOG(self._heard)
        options = _LoadOptions(
            ctypes.sizeof(_LoadOptions),
            engine=b"onnxruntime",
            device=b"cpu",
            precision=precision.encode(),
            threads=threads or 0,
            onnxruntime_library=bytes(onnxruntime),
            log=self._log,
        )
        self._model = ctypes.c_void_p()
        self._call("mtab_load", bytes(bundle), ctypes.byref(options), ctypes.byref(self._model))

    def predict(self, clip: Path, text: str) -> dict[str, float]:
        """The probabilities of an utterance by class. Raises `EngineError`."""
        given = _Input(ctypes.sizeof(_Input), path=bytes(clip), text=text.encode())
        result = ctypes.c_void_p()
        self._call("mtab_predict", self._model, ctypes.byref(given), None, ctypes.byref(result))
        found = {
            self._mtab.mtab_result_class(result, ctypes.c_size_t(i)).decode(): float(
                self._mtab.mtab_result_probability(result, ctypes.c_size_t(i))
            )
            for i in range(self._mtab.mtab_result_count(result))
        }
        self._mtab.mtab_result_free(result)
        return found

    def close(self) -> None:
        """Free the model."""
        self._mtab.mtab_model_free(self._model)
        self._model = ctypes.c_void_p()

    def _call(self, name: str, *arguments: object) -> None:
        error = ctypes.c_void_p()
        if getattr(self._mtab, name)(*arguments, ctypes.byref(error)):
            message = self._mtab.mtab_error_message(error).decode(errors="replace")
            self._mtab.mtab_error_free(error)
            raise EngineError(message)

    def _heard(self, _context: object, _level: int, message: bytes) -> None:
        if match := _RAN.fullmatch(message):
            self.ran = float(match[1]) / 1e3
