"""Configurations: frozen dataclasses read from, and saved as, JSON. Validated here and nowhere else."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from mtab.errors import ConfigError
from mtab.files import read_json

T = TypeVar("T")


def from_dict(cls: type[T], value: Any, source: str | Path) -> T:
    """Make the dataclass ``cls`` from parsed JSON.

    Raises `ConfigError`, naming ``source`` and the field, for a missing, an unknown and a wrong-typed field.
    A ``ValueError`` raised by ``__post_init__`` (values that contradict each other) becomes one too.
    """
    return _convert(cls, value, str(source), "")


def load_config(cls: type[T], path: Path | str) -> T:
    """Read the dataclass ``cls`` from a JSON file; `ConfigError` names the file."""
    return from_dict(cls, read_json(path), path)


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as plain JSON values (tuples become lists)."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _convert(kind: Any, value: Any, source: str, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _convert_dataclass(kind, value, source, where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        choices = [argument for argument in arguments if argument is not type(None)]
        if len(choices) == 1:
            return _convert(choices[0], value, source, where)
    if origin is Literal:
        if value in arguments:
            return value
        raise _wrong(source, where, repr(value), "one of " + ", ".join(map(repr, arguments)))
    if origin is tuple and isinstance(value, (list, tuple)):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item, source, f"{where}[{i}]") for i, item in enumerate(value))
        if len(arguments) == len(value):
            return tuple(_convert(a, v, source, f"{where}[{i}]") for i, (a, v) in enumerate(zip(arguments, value)))
    if origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], item, source, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (bool, int, str) and type(value) is kind:
        return value
    raise _wrong(source, where, _describe(value), getattr(kind, "__name__", None) or str(kind))


def _convert_dataclass(kind: Any, value: Any, source: str, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(source, where, _describe(value), f"an object ({kind.__name__})")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    prefix = f"{where}." if where else ""
    if unknown := sorted(set(value) - set(fields)):
        raise ConfigError(f"{source}: unknown field {prefix + unknown[0]!r}; known: {', '.join(fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise ConfigError(f"{source}: field {prefix + name!r} is missing")
    converted = {name: _convert(hints[name], item, source, prefix + name) for name, item in value.items()}
    try:
        return kind(**converted)
    except ValueError as error:
        raise ConfigError(f"{source}: {prefix.rstrip('.') + ': ' if prefix else ''}{error}") from None


def _wrong(source: str, where: str, found: str, expected: str) -> ConfigError:
    return ConfigError(f"{source}: field {where or 'at the top'!r} is {found}, expected {expected}")


def _describe(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
