"""``mtab-bench sdk``: libmtab beside the Python runtime."""

import json
from pathlib import Path

import onnxruntime
import pytest
from click.testing import CliRunner

from mtab_bench.cli import main

BUILD = Path(__file__).parents[2] / "build" / "cpp" / "release"


def test_without_the_library_it_says_so(tone_bundle: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["sdk", str(tone_bundle), "--build", str(tmp_path)])
    assert done.exit_code == 1
    assert f"{tmp_path / 'libmtab.so'}: cannot be loaded (" in done.output
    assert "expected libmtab" in done.output


@pytest.mark.skipif(not (BUILD / "libmtab.so").exists(), reason="make cpp builds libmtab")
def test_requests_and_starts_of_all(tone_bundle: Path, tone_run: Path) -> None:
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    asked = ["--build", BUILD, "--onnxruntime", library, "--checkpoint", tone_run, "--precision", "fp32"]
    asked += ["--requests", 2, "--starts", 1, "--json"]
    done = CliRunner().invoke(main, ["sdk", str(tone_bundle), *map(str, asked)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["largest_difference"] <= 1e-5
    for each in found["requests"].values():
        assert 0 < each["onnxruntime"] < each["request"]
    assert set(found["starts"]) == {"mtab-cli", "mtab predict", "PyTorch"}
