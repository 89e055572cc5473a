"""The repository as files: whole, of the bundle's own graph, described in Triton's own terms."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

import mtab
from mtab.bundle import file_entry, open_bundle
from mtab.config import to_dict
from mtab.errors import BundleError, MtabError
from mtab.files import sha256
from mtab_export.cli import main
from mtab_serve.triton.repository import write_repository

KINDS = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64"}


def written(bundle: Path, out: Path, **options: bool) -> Path:
    assert list(write_repository(open_bundle(bundle), out, **options))
    return out


def config(repository: Path, model: str):
    text = (repository / model / "config.pbtxt").read_text()
    return text_format.Parse(text, triton.ModelConfig())


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_the_graph_and_what_prepares_for_it(tone_bundle: Path, tmp_path: Path) -> None:
    repository = written(tone_bundle, tmp_path / "models")
    described = ["config.json", "preprocessor_config.json", "tokenizer.json", "manifest.json", "graph.json"]
    assert files(repository) == {
        *("mtab/config.pbtxt", "mtab/1/model.py", "mtab_graph/config.pbtxt"),
        *("mtab_graph/1/model.onnx", "mtab_graph/1/model.onnx.data"),
        *(f"mtab/1/bundle/{name}" for name in described),
    }
    for name in described[:3]:
        assert sha256(repository / "mtab/1/bundle" / name) == sha256(tone_bundle / name)
    for name in ("model.onnx", "model.onnx.data"):
        assert sha256(repository / "mtab_graph/1" / name) == sha256(tone_bundle / name)
    for path in repository.rglob("*"):
        assert path.is_dir() or str(tone_bundle).encode() not in path.read_bytes()


def test_the_graph_is_described_as_onnx_has_it(tone_bundle: Path, tmp_path: Path) -> None:
    """A first axis that Triton adds, and reshaping, give the graph's own shapes."""
    repository = written(tone_bundle, tmp_path / "models")
    found = config(repository, "mtab_graph")
    assert (found.name, found.backend) == ("mtab_graph", "onnxruntime")
    assert found.HasField("dynamic_batching")
    assert found.max_batch_size == 8
    graph = onnx.load(tone_bundle / "model.onnx", load_external_data=False).graph
    for described, tensors in ((found.input, graph.input), (found.output, graph.output)):
        assert [each.name for each in described] == [each.name for each in tensors]
        for each, tensor in zip(described, tensors, strict=True):
            kind = tensor.type.tensor_type
            assert triton.DataType.Name(each.data_type) == KINDS[kind.elem_type]
            axes = list(each.reshape.shape) if each.HasField("reshape") else list(each.dims)
            assert axes == [axis.dim_value or -1 for axis in kind.shape.dim[1:]]


def test_mtab_is_described_with_all_that_it_answers(rated_bundle: Path, tmp_path: Path) -> None:
    found = config(written(rated_bundle, tmp_path / "models"), "mtab")
    assert (found.name, found.backend) == ("mtab", "python")
    assert [(each.name, each.optional) for each in found.input] == [("audio", True), ("text", True)]
    shapes = {each.name: list(each.dims) for each in found.output}
    assert shapes == {"label": [1], "probabilities": [2], "dimensions": [2], "embedding": [32], "json": [1]}


def test_engines_stand_in_the_graphs_place(tone_bundle: Path, tmp_path: Path) -> None:
    """The description alone: no backend runs here, and the files are no engines."""
    bundle = shutil.copytree(tone_bundle, tmp_path / "bundle")
    shape = {"input_values": [4, 64_000], "audio_lengths": [4], "input_ids": [4, 16], "text_lengths": [4]}
    manifest = json.loads((bundle / "manifest.json").read_text())
    for sm in ("86", "120"):
        file = f"model_trt_sm{sm}.engine"
        (bundle / file).write_bytes(sm.encode())
        entry = {"file": file, "graph": "model.onnx", "flavor": "trt", "version": "10.9", "seconds": 1.0}
        entry |= {"compute_capability": sm, "key": "0" * 64, "verified": False}
        manifest["engines"].append(entry | {"profile": dict.fromkeys(("min", "opt", "max"), shape)})
        manifest["files"][file] = to_dict(file_entry(bundle / file))
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    repository = written(bundle, tmp_path / "models", tensorrt=True)
    found = config(repository, "mtab_graph")
    assert found.platform == "tensorrt_plan"
    assert dict(found.cc_model_filenames) == {
        "8.6": "model_trt_sm86.engine",
        "12.0": "model_trt_sm120.engine",
    }
    assert files(repository / "mtab_graph/1") == set(found.cc_model_filenames.values())
    # No batch may be larger than the profile.
    assert found.max_batch_size == 4
    assert config(repository, "mtab").parameters["batch_size"].string_value == "4"


def test_engines_that_are_not_there(tone_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no engine of model\.onnx, expected one of --target tensorrt"):
        written(tone_bundle, tmp_path / "models", tensorrt=True)


def test_a_precision_that_is_not_there(tone_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds fp32, expected the whole model in fp16"):
        list(write_repository(open_bundle(tone_bundle), tmp_path / "models", "fp16"))
    assert not (tmp_path / "models").exists()


def test_it_replaces_nothing_but_a_repository(tone_bundle: Path, tmp_path: Path) -> None:
    out = written(tone_bundle, tmp_path / "models")
    before = files(out)
    with pytest.raises(MtabError, match="exists already; choose another folder or give --overwrite"):
        written(tone_bundle, out)
    written(tone_bundle, out, overwrite=True)
    assert files(out) == before
    (out / "resnet").mkdir()
    with pytest.raises(MtabError, match="holds resnet, expected a folder of its own"):
        written(tone_bundle, out, overwrite=True)
    assert files(out) == before
    assert [each.name for each in tmp_path.iterdir()] == ["models"]


def test_the_command_needs_no_torch(tone_bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = sys.modules['transformers'] = None\n"
        "from mtab_export.cli import main; main(prog_name='mtab-export')\n"
    )
    out = tmp_path / "models"
    options = ["--target", "triton", "--bundle", str(tone_bundle), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{out}: mtab_graph is model.onnx, mtab takes audio and text",
        f"mtab needs mtab {mtab.__version__} in Triton's Python: pip install mtab=={mtab.__version__}",
        f"Start it with: tritonserver --model-repository {out}",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "triton", "--bundle", "b"], "--target triton needs --out, the folder to write"),
        (
            ["--target", "triton", "--bundle", "b", "--out", "o", "--atol", "1"],
            "--atol is for exporting a run, and not for --target triton",
        ),
        (
            ["--target", "triton", "--bundle", "b", "--out", "o", "--flavor", "rtx"],
            "--flavor is for exporting a run, and not for --target triton",
        ),
        (
            ["--target", "triton", "--bundle", "b", "--out", "o", "--dtype", "fp32", "--fp16"],
            "fp32 and fp16 for --target triton, expected one precision",
        ),
        (
            ["--target", "triton", "--bundle", "b", "--checkpoint", "r", "--out", "o"],
            "give one of --bundle and --checkpoint",
        ),
        (["--bundle", "b"], "--bundle needs --target triton or web, got onnx"),
    ],
)
def test_what_the_command_refuses(options: list[str], message: str) -> None:
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == f"Error: {message}"
