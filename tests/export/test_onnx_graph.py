"""The exported graph answers as PyTorch does, for every kind of model, alone and in any padded batch."""

import copy
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import parametrize

from mtab.config import to_dict
from mtab.engines.onnxruntime import OnnxRuntimeEngine
from mtab.errors import BundleError
from mtab.graphs import FUSED
from mtab_export.onnx_graph import check_graph, export_graph
from mtab_train.config import PRESETS, AcousticConfig, ModelConfig
from mtab_train.encoders import AudioEncoder
from mtab_train.model import MulTAB

OUTPUTS = FUSED.of(("audio", "text"), {"dimensions": 0}).outputs
"""Those of a model without dimensions."""

AUDIO = {
    "conv_dim": [8, 8],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "num_feat_extract_layers": 2,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
TEXT = {
    "model_type": "roberta",
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 66,
    "type_vocab_size": 1,
}
SMALL = ModelConfig(
    labels=("anger", "joy, or so", "sadness"),
    audio_config=AUDIO | {"model_type": "wav2vec2"},
    text_config=TEXT,
    hidden_size=16,
    num_attention_heads=2,
    intermediate_size=16,
    num_self_attention_layers=1,
)
MODELS = {
    # The first convolution's GroupNorm, and stand-ins for what an utterance lacks.
    "wav2vec2 and text": dataclasses.replace(SMALL, modality_dropout=0.2),
    # Two layers, because the second takes the first one's relative position bias.
    "wavlm alone": dataclasses.replace(
        SMALL,
        audio_config=AUDIO | LAYER_NORM | {"model_type": "wavlm", "num_hidden_layers": 2},
        text_config=None,
    ),
    # Its statistics go past the fused sequence to the head, and have a stand-in too.
    "light encoder and text": dataclasses.replace(
        SMALL, audio_config=to_dict(AcousticConfig(hidden_size=8, statistics_size=6)), modality_dropout=0.2
    ),
    "text alone": dataclasses.replace(SMALL, audio_config=None),
    "data2vec-audio and bert": dataclasses.replace(
        SMALL,
        audio_config=AUDIO
        | {"model_type": "data2vec-audio", "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5},
        text_config=TEXT | {"model_type": "bert", "type_vocab_size": 2, "pad_token_id": 0},
        use_weighted_layer_sum=True,
    ),
    "distilbert alone": dataclasses.replace(
        SMALL,
        audio_config=None,
        text_config={
            "model_type": "distilbert",
            "vocab_size": 50,
            "dim": 16,
            "n_layers": 1,
            "n_heads": 2,
            "hidden_dim": 16,
            "max_position_embeddings": 66,
        },
    ),
    "preset tiny": PRESETS["tiny"].model,
}
PLAIN_HUBERT = dataclasses.replace(
    SMALL,
    audio_config=AUDIO | LAYER_NORM | {"model_type": "hubert"},
    fusion_align="pool",
    num_tab_layers=0,
    num_self_attention_layers=0,
)
METADATA = {"labels": '["anger"]', "mtab_version": "0.1.0", "checkpoint_sha256": "c0ffee"}

Row = tuple[int | None, int | None]
"""An utterance's samples and tokens; None for a modality that it lacks."""


def least_samples(model: MulTAB) -> int:
    return 1 if model.audio_encoder is None else model.audio_encoder.min_samples


def arrays(model: MulTAB, rows: Sequence[Row]) -> Iterator[dict[str, np.ndarray]]:
    """The rows as one padded batch, then each alone, for the modalities of the model."""
    random = np.random.default_rng(5)
    clips = [random.normal(size=samples or 0).astype(np.float32) for samples, _ in rows]
    texts = [random.integers(4, 50, size=tokens or 0) for _, tokens in rows]
    for indices in (range(len(rows)), *([i] for i in range(len(rows)))):
        batch: dict[str, np.ndarray] = {}
        for modality, columns, sequences, names, fill in (
            ("audio", least_samples(model), clips, ("input_values", "audio_lengths"), 0),
            ("text", 1, texts, ("input_ids", "text_lengths"), 1),
        ):
            if modality not in model.config.modalities:
                continue
            lengths = np.array([len(sequences[i]) for i in indices])
            padded = np.full((len(lengths), max(columns, lengths.max())), fill, sequences[0].dtype)
            for target, i in zip(padded, indices, strict=True):
                target[: len(sequences[i])] = sequences[i]
            batch |= {names[0]: padded, names[1]: lengths}
        yield batch


def pytorch(model: MulTAB, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    training = model.training
    with torch.no_grad():
        output = model.eval()(**{name: torch.from_numpy(array) for name, array in batch.items()})
    model.train(training)
    return {name: tensor.numpy() for name, tensor in output._asdict().items() if tensor is not None}


def make_model(config: ModelConfig) -> MulTAB:
    torch.manual_seed(0)
    model = MulTAB.from_config(config)
    with torch.no_grad():
        for name, buffer in model.named_buffers():  # fresh statistics normalise nothing
            if name.endswith("running_mean"):
                buffer.uniform_(-0.1, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
        # Random weights alone answer every utterance alike.
        model.head.classifier.weight.mul_(50)
        batch, *_ = arrays(model, [(5000, 30), (900, 3), (2500, 11)])
        model.head.classifier.bias.sub_(torch.from_numpy(pytorch(model, batch)["logits"].mean(axis=0)))
    return model


@dataclass(frozen=True)
class Exported:
    model: MulTAB
    path: Path
    engine: OnnxRuntimeEngine
    state_before: dict[str, torch.Tensor]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name.startswith("preset") else ()) for name in MODELS
    ],
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    model = make_model(MODELS[request.param]).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_graph(model, path, 18, METADATA)
    return Exported(model, path, OnnxRuntimeEngine(path, threads=1), before)


def assert_within_tolerance(found: Mapping[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for tensor in OUTPUTS:
        assert tensor.tolerance is not None
        assert found[tensor.name].dtype == tensor.dtype
        used = tensor.tolerance.used(found[tensor.name], expected[tensor.name])
        assert used.max() <= 1, (tensor.name, used)


def assert_answers_as_pytorch(model: MulTAB, engine: OnnxRuntimeEngine, rows: Sequence[Row]) -> None:
    """The graph, batched and alone, against PyTorch alone."""
    batch, *singles = arrays(model, rows)
    batched = engine.run(batch)
    for i, single in enumerate(singles):
        expected = pytorch(model, single)
        assert_within_tolerance(engine.run(single), expected)
        assert_within_tolerance({name: array[i : i + 1] for name, array in batched.items()}, expected)


def rows_for(model: MulTAB, most: int) -> st.SearchStrategy[list[Row]]:
    least = least_samples(model)
    samples = st.one_of(st.integers(least, least + 40), st.integers(least, most))
    tokens = st.integers(1, 40)
    kinds = [st.tuples(samples, tokens)]
    if model.config.modality_dropout:
        kinds += [st.tuples(samples, st.none()), st.tuples(st.none(), tokens)]
    return st.lists(st.one_of(kinds), min_size=1, max_size=5)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(data=st.data())
def test_the_graph_answers_as_pytorch_in_any_batch(exported: Exported, data: st.DataObject) -> None:
    rows = data.draw(rows_for(exported.model, 6000))
    assert_answers_as_pytorch(exported.model, exported.engine, rows)


def test_the_least_and_the_missing(exported: Exported) -> None:
    model, least = exported.model, least_samples(exported.model)
    edges: list[list[Row]] = [
        [(least, 1)],
        [(least, 1), (least, 1)],
        [(least, 40)],
        [(least + 1, 2), (5000, 1), (least, 40)],
    ]
    if model.config.modality_dropout:
        edges += [
            [(None, 1)],
            [(least, None)],
            [(None, 30), (None, 2)],
            [(least, None), (3000, None)],
            # Speech too short for a frame is none; more tokens than frames, so that the stand-in is longest.
            [(least - 1, 7), (1, 3), (least, 40), (None, 40), (2000, None)],
        ]
    for rows in edges:
        assert_answers_as_pytorch(model, exported.engine, rows)


def test_the_answers_are_worth_comparing(exported: Exported) -> None:
    """Without this, a graph that ignores its input could pass."""
    batch, *_ = arrays(exported.model, [(5000, 30), (900, 3), (2500, 11)])
    assert np.ptp(exported.engine.run(batch)["probabilities"], axis=0).max() > 0.05


def test_inputs_and_outputs_are_those_of_the_table(exported: Exported) -> None:
    proto = onnx.load(exported.path, load_external_data=False)
    config = exported.model.config
    sizes = {"classes": len(config.labels), "embedding": config.embedding_size}
    wanted = {tensor.name: tensor for tensor in FUSED.inputs if tensor.modality in config.modalities}
    wanted |= {tensor.name: tensor for tensor in OUTPUTS}
    found = [*proto.graph.input, *proto.graph.output]
    assert [value.name for value in found] == list(wanted)
    for value in found:
        axes = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        assert axes == [sizes.get(str(axis), axis) for axis in wanted[value.name].axes]
    assert {node.domain for node in proto.graph.node} == {""}
    assert not proto.functions
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 18)]


def test_the_file_carries_its_metadata_and_nothing_of_this_machine(exported: Exported) -> None:
    proto = onnx.load(exported.path, load_external_data=False)
    assert {each.key: each.value for each in proto.metadata_props} == METADATA
    content = exported.path.read_bytes()
    for own in (MulTAB.__module__.encode(), str(Path(torch.__file__).parent).encode(), b".py"):
        assert own not in content


def test_the_weights_lie_in_the_file_beside(exported: Exported) -> None:
    proto = onnx.load(exported.path, load_external_data=False)
    model = exported.model
    weights = [t for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert {entry.value for t in weights for entry in t.external_data if entry.key == "location"} == {
        "model.onnx.data"
    }
    # Every weight once: weight norm's two tensors are one, SpecAugment's filler and the like are gone.
    total = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    assert 0.9 * total < sum(np.prod(t.dims) for t in proto.graph.initializer) < 1.1 * total
    assert sorted(path.name for path in exported.path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_the_model_is_left_as_it_was(exported: Exported) -> None:
    model = exported.model
    assert model.training
    after = model.state_dict()
    assert after.keys() == exported.state_before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in exported.state_before.items())
    encoder = model.audio_encoder
    if isinstance(encoder, AudioEncoder) and encoder.backbone.config.model_type != "data2vec-audio":
        assert parametrize.is_parametrized(encoder.backbone.encoder.pos_conv_embed.conv)
    # The two halves of weight norm still learn.
    learner = copy.deepcopy(model)
    batch, *_ = arrays(model, [(3000, 5), (900, 3)])
    learner(**{name: torch.from_numpy(array) for name, array in batch.items()}).logits.sum().backward()
    assert all(p.grad is not None for name, p in learner.named_parameters() if "pos_conv" in name)


def every_operator(graph: onnx.GraphProto) -> Iterator[str]:
    """Also of the graphs inside, those of loops."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            yield from every_operator(attribute.g)


def test_onnx_runtime_knows_every_gelu(exported: Exported, tmp_path: Path) -> None:
    """Each error function is that of a GELU, and is fused."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(exported.path, options, providers=["CPUExecutionProvider"])
    plain, fused = (
        Counter(every_operator(onnx.load(path, load_external_data=False).graph))
        for path in (exported.path, tmp_path / "optimised.onnx")
    )
    assert plain["Erf"] > 0
    assert fused["Gelu"] + fused["BiasGelu"] == plain["Erf"]
    assert fused["Erf"] == 0


@pytest.mark.parametrize("exported", ["wavlm alone"], indirect=True)
def test_another_runtime_agrees(exported: Exported) -> None:
    """ONNX's own reference implementation, written apart from ONNX Runtime."""
    session = onnx.reference.ReferenceEvaluator(onnx.load(exported.path))
    least = least_samples(exported.model)
    batch, *_ = arrays(exported.model, [(least + 200, 3), (least, 5), (least + 90, 1)])
    answers = session.run([tensor.name for tensor in OUTPUTS], batch)
    named = {tensor.name: np.asarray(array) for tensor, array in zip(OUTPUTS, answers, strict=True)}
    assert_within_tolerance(named, pytorch(exported.model, batch))


EXPORT = """
import json, sys
from pathlib import Path
import torch
from mtab.config import from_dict
from mtab_export.onnx_graph import export_graph
from mtab_train.config import ModelConfig
from mtab_train.model import MulTAB

torch.manual_seed(0)
model = MulTAB.from_config(from_dict(ModelConfig, json.loads(sys.argv[1]), "test"))
export_graph(model, Path(sys.argv[2]))
"""


def test_an_export_in_a_new_process_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    command = [sys.executable, "-c", EXPORT, json.dumps(to_dict(PLAIN_HUBERT)), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    torch.manual_seed(0)
    model = MulTAB.from_config(PLAIN_HUBERT)
    engine = OnnxRuntimeEngine(path, threads=1)
    least = least_samples(model)
    for rows in ([(least, 1)], [(least + 1, 2), (4000, 40), (least, 1)], [(700, 3), (2500, 30)]):
        assert_answers_as_pytorch(model, engine, rows)


def make_graph(path: Path, domain: str = "", batch: str | int = "batch", op: str = "Neg") -> None:
    """Text in, answers out, in the least number of nodes."""
    integers, floats = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Cast", ["text_lengths"], ["lengths"], to=floats),
            onnx.helper.make_node("Unsqueeze", ["lengths", "axis"], ["logits"]),
            onnx.helper.make_node("Softmax", ["logits"], ["probabilities"]),
            onnx.helper.make_node(op, ["logits"], ["embeddings"], domain=domain),
        ],
        "fused",
        [value("input_ids", integers, ["batch", "tokens"]), value("text_lengths", integers, [batch])],
        [value(name, floats, [batch, 1]) for name in ("logits", "probabilities", "embeddings")],
        [onnx.helper.make_tensor("axis", integers, [1], [1])],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def test_a_graph_that_is_not_as_declared_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    spec = FUSED.of(("text",), {"classes": 1, "embedding": 1})
    make_graph(path)
    check_graph(path, spec)
    with pytest.raises(BundleError, match=r"expected .*input_values"):
        check_graph(path, FUSED.of(("audio", "text"), {"classes": 1, "embedding": 1}))
    make_graph(path, batch=2)
    with pytest.raises(BundleError, match=r"'text_lengths', 'int64', \(2,\)"):
        check_graph(path, spec)
    make_graph(path, domain="com.microsoft", op="Gelu")
    with pytest.raises(BundleError, match=r"operators of com\.microsoft"):
        check_graph(path, spec)
    make_graph(path, op="Shape")
    with pytest.raises(BundleError, match="no valid ONNX"):
        check_graph(path, spec)
