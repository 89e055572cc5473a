"""Shape profiles: the smallest, the usual and the largest inputs that a TensorRT engine is built for."""

import re
from collections.abc import Mapping

from mtab.audio import SAMPLE_RATE
from mtab.errors import ConfigError
from mtab.graphs import FUSED, GraphSpec
from mtab.preprocess import PreprocessorConfig

Shapes = dict[str, tuple[int, ...]]
Profile = dict[str, Shapes]
"""Shapes by input under ``min``, ``opt`` and ``max``, as the manifest keeps them for an engine."""

LEVELS = ("min", "opt", "max")
OPT_BATCH, OPT_SECONDS, OPT_TOKENS = 1, 4, 16
MAX_BATCH, MAX_SECONDS, MAX_TOKENS = 8, 30, 128

_SHAPE = re.compile(r"([^:]+):([0-9]{1,9}(?:x[0-9]{1,9})*)")


def parse_shapes(text: str, spec: GraphSpec, flag: str = "shapes") -> Shapes:
    """The shape of every input of ``spec``, from trtexec's ``input_values:1x16000,audio_lengths:1``.

    Raises `ConfigError`, naming ``flag``, for another form, an input that ``spec`` lacks, has not been given
    or has been given twice, a wrong rank, and an axis that is not as another input or ``spec`` has it.
    """
    shapes: Shapes = {}
    for item in text.split(","):
        match = _SHAPE.fullmatch(item.strip())
        if match is None:
            raise ConfigError(f"{flag}: {item!r}, expected as in input_values:1x16000,audio_lengths:1")
        name, sizes = match.groups()
        if name in shapes:
            raise ConfigError(f"{flag}: {name} is there twice, expected once")
        shapes[name] = tuple(map(int, sizes.split("x")))
    inputs = {tensor.name: tensor.axes for tensor in spec.inputs}
    if unknown := [name for name in shapes if name not in inputs]:
        raise ConfigError(f"{flag}: {spec.name} has no input {unknown[0]!r}, expected {', '.join(inputs)}")
    if missing := [name for name in inputs if name not in shapes]:
        raise ConfigError(f"{flag}: lacks {missing[0]}, expected all of {', '.join(inputs)}")
    expected: dict[str | int, tuple[int, str]] = {}
    for name, axes in inputs.items():
        shape = shapes[name]
        if len(shape) != len(axes):
            raise ConfigError(f"{flag}: {name} is {_form(shape)}, expected {_form(axes)}")
        for axis, size in zip(axes, shape, strict=True):
            if isinstance(axis, int) and axis != size:
                raise ConfigError(f"{flag}: {name} is {_form(shape)}, expected {_form(axes)}")
            agreed, where = expected.setdefault(axis, (size, name))
            if agreed != size:
                raise ConfigError(f"{flag}: {axis} of {name} is {size}, expected {agreed} as of {where}")
    return shapes


def format_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What `parse_shapes` reads; ONNX Runtime's providers take the same form."""
    return ",".join(f"{name}:{_form(shape)}" for name, shape in shapes.items())


def shape_profile(
    spec: GraphSpec,
    config: PreprocessorConfig,
    min_shapes: str | None = None,
    opt_shapes: str | None = None,
    max_shapes: str | None = None,
    samples_per_frame: int = 320,
) -> Profile:
    """The inputs that an engine of ``spec``, the graph of a model, is to take: from min to max, best at opt.

    Without shapes (in trtexec's form, see `parse_shapes`): at least one utterance of the least samples and
    one token; at best one of 4 s and 16 tokens; at most 8 of 30 s and 128 tokens, or as many as the model
    takes. Shapes that are given move those that are not out of their way.

    The inputs of a part may be given by its own names, or by those of the whole model: frames follow from
    samples, with ``samples_per_frame`` between two, the product of the audio encoder's strides.

    Raises `ConfigError`, naming the flag, as `parse_shapes`, for fewer samples than ``config.min_samples``,
    more tokens than ``config.max_tokens``, none of an axis, and shapes that are not from small to large.
    """

    def complete(sizes: dict[str, int]) -> dict[str, int]:
        if "samples" in sizes:
            sizes["frames"] = (sizes["samples"] - config.min_samples) // samples_per_frame + 1
        # The fused sequence is as long as the speech, or as the text of a model that hears nothing.
        if steps := sizes.get("frames" if "audio" in config.modalities else "tokens"):
            sizes.setdefault("steps", steps)
        return sizes

    least = {"batch": 1, "samples": config.min_samples, "tokens": 1, "frames": 1, "steps": 1}
    defaults = {"min": least}
    for level, batch, seconds, tokens in (
        ("opt", OPT_BATCH, OPT_SECONDS, OPT_TOKENS),
        ("max", MAX_BATCH, MAX_SECONDS, MAX_TOKENS),
    ):
        samples = max(seconds * SAMPLE_RATE, config.min_samples)
        defaults[level] = complete(
            {"batch": batch, "samples": samples, "tokens": min(tokens, config.max_tokens)}
        )
    given = {
        level: complete(_given_sizes(text, spec, config, least, _flag(level)))
        for level, text in zip(LEVELS, (min_shapes, opt_shapes, max_shapes), strict=True)
        if text is not None
    }
    sizes = {
        axis: _ordered(axis, defaults, given)
        for axis in {axis for tensor in spec.inputs for axis in tensor.axes if isinstance(axis, str)}
    }
    return {
        level: {
            tensor.name: tuple(axis if isinstance(axis, int) else sizes[axis][level] for axis in tensor.axes)
            for tensor in spec.inputs
        }
        for level in LEVELS
    }


def _given_sizes(
    text: str, spec: GraphSpec, config: PreprocessorConfig, least: Mapping[str, int], flag: str
) -> dict[str, int]:
    """The size of each axis that changes, as ``text`` says, and within the model's limits."""
    whole = FUSED.of(config.modalities, {})
    names = {item.partition(":")[0].strip() for item in text.split(",")}
    own, of_model = ({tensor.name for tensor in graph.inputs} for graph in (spec, whole))
    graph = whole if not names <= own and names <= of_model else spec
    sizes: dict[str, int] = {}
    shapes = parse_shapes(text, graph, flag)
    for tensor in graph.inputs:
        for axis, size in zip(tensor.axes, shapes[tensor.name], strict=True):
            if isinstance(axis, int):
                continue
            if size < least[axis]:
                raise ConfigError(
                    f"{flag}: {axis} of {tensor.name} is {size}, expected {least[axis]} or more"
                )
            if axis == "tokens" and size > config.max_tokens:
                raise ConfigError(
                    f"{flag}: {axis} of {tensor.name} is {size}, expected {config.max_tokens} or fewer"
                )
            sizes[axis] = size
    return sizes


def _ordered(
    axis: str, defaults: Mapping[str, Mapping[str, int]], given: Mapping[str, Mapping[str, int]]
) -> dict[str, int]:
    """An axis from min to max: the sizes that are given, and the defaults moved out of their way."""
    chosen = {level: sizes[axis] for level, sizes in given.items()}
    for i, level in enumerate(LEVELS):
        for larger in LEVELS[i + 1 :]:
            if level in chosen and larger in chosen and chosen[level] > chosen[larger]:
                raise ConfigError(
                    f"{_flag(level)}: {axis} is {chosen[level]}, "
                    f"expected at most the {chosen[larger]} of {_flag(larger)}"
                )
    least = chosen.get("min", min([defaults["min"][axis], *chosen.values()]))
    most = chosen.get("max", max([defaults["max"][axis], *chosen.values()]))
    return {"min": least, "opt": chosen.get("opt", min(max(defaults["opt"][axis], least), most)), "max": most}


def _flag(level: str) -> str:
    return f"--{level}-shapes"


def _form(axes: tuple[str | int, ...]) -> str:
    return "x".join(map(str, axes))
