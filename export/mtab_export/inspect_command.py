"""``mtab-export inspect``: what a bundle's graphs are made of, to read or as JSON."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import click
import numpy as np

from mtab.bundle import Bundle, GraphEntry, open_bundle
from mtab.config import to_dict
from mtab.console import Command, table
from mtab.errors import BundleError
from mtab.graphs import CME, GRAPHS, TAB_HEAD, split_of
from mtab.options import bundle_argument, json_option
from mtab.progress import track
from mtab.types import Precision
from mtab_export.inspection import GraphFacts, Share, Use, inspect_graph

_ROWS = 12
"""How many operators and islands are printed; `--json` has all."""

_LAYER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@click.command(cls=Command)
@bundle_argument
@click.option(
    "--part",
    "parts",
    type=click.Choice(list(GRAPHS)),
    multiple=True,
    help="Part to show; may be given again.  [default: all]",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(get_args(Precision)),
    multiple=True,
    help="Precision to show; may be given again.  [default: all]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=4.5,
    show_default=True,
    help="Seconds of speech that FLOPs are counted for.",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="Number of tokens that FLOPs are counted for, special ones included.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Device to run on: cpu, cuda or cuda:N; a device that is not there is an error.",
)
@json_option
def inspect(
    bundle: Path,
    parts: tuple[str, ...],
    precisions: tuple[str, ...],
    seconds: float,
    tokens: int,
    device: str,
    as_json: bool,
) -> None:
    """List what each graph of BUNDLE holds: operators, parameters, bytes, FLOPs, float32 islands, providers.

    \b
    Examples:
      mtab-export inspect bundle
      mtab-export inspect bundle --part fused --precision fp16 --seconds 10 --json
    """
    opened = open_bundle(bundle)
    graphs = [
        graph
        for graph in opened.manifest.graphs
        if graph.part in (parts or GRAPHS) and graph.precision in (precisions or get_args(Precision))
    ]
    if not graphs:
        found = ", ".join(f"{graph.part} {graph.precision}" for graph in opened.manifest.graphs) or "none"
        expected = " ".join((*(parts or ("any part",)), *precisions))
        raise BundleError(f"{bundle}: graphs are {found}, expected {expected}")
    inputs = _inputs(opened, graphs, seconds, tokens, device)
    inspected = [
        (graph, inspect_graph(opened.path(graph.file), inputs, device))
        for graph in track(graphs, "inspecting", "graphs")
    ]
    if as_json:
        described = [{"part": g.part, "precision": g.precision, **to_dict(facts)} for g, facts in inspected]
        click.echo(json.dumps(described, indent=2, ensure_ascii=False))
        return
    texts = (f"{g.part} {g.precision}: {facts.file}\n{format_facts(facts)}" for g, facts in inspected)
    click.echo("\n\n\n".join(texts))


def _inputs(
    bundle: Bundle, graphs: Sequence[GraphEntry], seconds: float, tokens: int, device: str
) -> dict[str, np.ndarray]:
    """One utterance of noise; if later parts are among ``graphs``, also what the earlier ones make of it."""
    from mtab.engines.onnxruntime import OnnxRuntimeEngine
    from mtab.engines.opening import AUTO
    from mtab.preprocess import Features, Preprocessor

    preprocess = Preprocessor.from_folder(bundle.folder)
    config = preprocess.config
    samples = round(seconds * config.sampling_rate)
    if samples < config.min_samples:
        raise click.UsageError(
            f"--seconds {seconds}: the audio encoder takes {config.min_samples} samples or more"
        )
    if tokens > config.max_tokens:
        raise click.UsageError(f"--tokens {tokens}: the text encoder takes {config.max_tokens} or fewer")
    noise = np.random.default_rng(0).standard_normal(samples, dtype=np.float32)
    values = preprocess.collate([Features(noise, np.zeros(tokens, np.int64), seconds, False)])
    if any(graph.part in (CME.name, TAB_HEAD.name) for graph in graphs):
        for spec in split_of(bundle.config.modalities)[:-1]:
            entries = (bundle.manifest.graph(spec.name, precision) for precision in AUTO)
            graph = next((entry for entry in entries if entry is not None), None)
            needed = spec.of(bundle.config.modalities, bundle.config.sizes).inputs
            if graph is not None and all(tensor.name in values for tensor in needed):
                values |= OnnxRuntimeEngine(bundle.path(graph.file), device).run(values)
    return values


def format_facts(facts: GraphFacts) -> str:
    """The facts to read: the widest operators, the modules, islands with layers taken together, providers."""
    nodes = sum(share.nodes for share in facts.operators.values())
    weights = ", ".join(f"{dtype} {size / 1e6:.2f} MB" for dtype, size in facts.weights.items())
    lines = [f"opset {facts.opset}, {nodes} nodes, {facts.parameters:,} parameters; {weights}"]
    if facts.flops is not None:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in facts.inputs.items())
        lines.append(f"{facts.flops / 1e9:.4g} GFLOP, element-wise operators not counted, for {shapes}")
    if facts.not_run is not None:
        lines.append(f"not run, so without FLOPs and providers: {facts.not_run}")
    parts = [
        "\n".join(lines),
        _share_table("operator", facts.operators, facts.flops),
        _share_table("module", facts.modules, facts.flops),
    ]
    if facts.islands:
        parts.append(_island_table(facts.islands))
    if facts.providers is not None:
        parts.append(_provider_table(facts.providers))
    return "\n\n".join(parts)


def _share_table(what: str, shares: Mapping[str, Share], total: int | None) -> str:
    """``total`` is the graph's FLOPs."""
    shown, rest = list(shares.items())[:_ROWS], list(shares.values())[_ROWS:]
    if rest:
        flops = None if total is None else sum(share.flops or 0 for share in rest)
        shown.append((f"{len(rest)} more", Share(sum(share.nodes for share in rest), flops)))
    if total is None:
        return table([(name, share.nodes) for name, share in shown], (what, "nodes"))
    rows = [
        (name, share.nodes, f"{(share.flops or 0) / 1e6:,.2f}", f"{(share.flops or 0) / max(total, 1):.1%}")
        for name, share in shown
    ]
    return table(rows, (what, "nodes", "MFLOP", "share"))


def _island_table(islands: Mapping[str, Mapping[str, int]]) -> str:
    layers: dict[str, Counter[str]] = defaultdict(Counter)
    for module, operators in islands.items():
        layers[_LAYER.sub("*", module)].update(operators)
    order = sorted(layers, key=lambda module: -layers[module].total())
    rows = [
        (module, layers[module].total(), _counted(layers[module].most_common())) for module in order[:_ROWS]
    ]
    if rest := order[_ROWS:]:
        rows.append((f"{len(rest)} more", sum(layers[module].total() for module in rest), ""))
    return table(rows, ("float32 in", "nodes", "operators"))


def _provider_table(providers: Mapping[str, Mapping[str, Use]]) -> str:
    rows = []
    for provider, operators in providers.items():
        uses = operators.values()
        longest = [(operator, use.nodes) for operator, use in operators.items()]
        milliseconds = sum(use.milliseconds for use in uses)
        rows.append((provider, sum(use.nodes for use in uses), f"{milliseconds:.2f}", _counted(longest)))
    return table(rows, ("provider", "nodes", "ms", "operators, slowest first"))


def _counted(operators: Sequence[tuple[str, int]], most: int = 6) -> str:
    counted = [f"{operator} {count}" for operator, count in operators[:most]]
    return ", ".join(counted + ["..."] * (len(operators) > most))
