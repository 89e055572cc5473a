"""espeak-ng through ctypes: speech from text, the same samples for the same request every time."""

import _ctypes
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mtab.errors import MtabError

# speak_lib.h
_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def speak(text: str, voice: str, pitch: int, pitch_range: int, rate: int) -> tuple[np.ndarray, int]:
    """Say ``text``: mono float32 samples in [-1, 1], and their rate in Hz.

    ``voice`` is espeak's name with a variant (``en-us+f3``); ``pitch`` and ``pitch_range`` go from 0 to 99;
    ``rate`` is in words a minute. Raises `MtabError` for a voice that espeak does not have.
    """
    import espeakng_loader

    chunks: list[np.ndarray] = []

    def keep(samples, count: int, _events) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _Callback(keep)
    with _library() as espeak:
        data = espeakng_loader.get_data_path()
        sample_rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), 0)
        if sample_rate <= 0:
            raise MtabError(f"{data}: espeak_Initialize gave {sample_rate}, expected a sample rate")
        try:
            # Breath is noise, which starts from the clock otherwise.
            espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
            espeak.espeak_SetSynthCallback(callback)
            if espeak.espeak_SetVoiceByName(voice.encode()) != 0:
                raise MtabError(f"espeak-ng: no voice {voice!r}, expected one such as 'en-us+f3'")
            for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
                espeak.espeak_SetParameter(parameter, value, 0)
            encoded = text.encode() + b"\0"
            status = espeak.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, _UTF8, None, None)
        finally:
            espeak.espeak_Terminate()
    if status != 0 or not chunks:
        raise MtabError(f"espeak-ng: status {status} and {len(chunks)} blocks of speech for {text!r}")
    return np.concatenate(chunks).astype(np.float32) / 32768, sample_rate


def version() -> str:
    """espeak-ng's version, such as ``1.52.0``."""
    with _library() as espeak:
        espeak.espeak_Info.restype = ctypes.c_char_p
        return espeak.espeak_Info(None).decode()


@contextmanager
def _library() -> Iterator[ctypes.CDLL]:
    # The phase of the voice's flutter, its echo and its noise outlive espeak_Terminate and colour the next
    # utterance; only a library loaded anew starts from the same state.
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        yield library
    finally:
        _ctypes.dlclose(library._handle)
