"""What can go wrong. Every message is one line: the file, what was found, what was expected."""


class MtabError(Exception):
    """Base of every error that mtab raises on purpose; the commands print it in one line and exit 1."""


class AudioError(MtabError):
    """An audio file or array cannot be used: unreadable, empty, truncated, NaN, too short or too long."""


class TextError(MtabError):
    """A transcript cannot be used: not valid Unicode, or not text."""


class ConfigError(MtabError):
    """A JSON file has a missing, unknown or wrong-typed field, or values that contradict each other."""


class DataError(MtabError):
    """A corpus cannot be used: not found, of another layout, or without a usable utterance."""


class BundleError(MtabError):
    """A bundle cannot be used: incomplete, tampered with, or made for another version."""


class EngineError(MtabError):
    """An inference engine or a device was asked for that cannot be had here."""


class MemoryLimitError(EngineError):
    """An utterance, or a batch, needs more memory than this process may take."""


class QueueFullError(MtabError):
    """As many requests as an `mtab.AsyncModel` takes are being answered: try again later, or elsewhere."""
