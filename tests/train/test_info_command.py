"""`mtab-train info`: the size of the presets, part by part."""

import dataclasses
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from mtab_train.config import PRESETS
from mtab_train.info_command import info, info_report
from mtab_train.model import MulTAB


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(info, arguments)
    return result.exit_code, result.output


def test_base_is_the_size_that_the_paper_prints() -> None:
    report = info_report("base")
    assert report["without_text_encoder"] == 142_807_940
    assert report["all"] == {"total": 266_862_980, "trained": 138_607_492, "frozen": 128_255_488}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_sums_add_up(preset: str) -> None:
    report = info_report(preset)
    for count in (*report["parts"].values(), report["all"]):
        assert count["total"] == count["trained"] + count["frozen"]
    for kind, total in report["all"].items():
        assert total == sum(count[kind] for count in report["parts"].values())
    text = report["parts"].get("text_encoder", {"total": 0})["total"]
    assert report["without_text_encoder"] == report["all"]["total"] - text
    assert report["classes"] == len(PRESETS[preset].model.labels)


def test_stand_ins_are_no_part_of_the_count_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    base = PRESETS["base"]
    model = dataclasses.replace(base.model, modality_dropout=0.1)
    monkeypatch.setitem(PRESETS, "stand-ins", dataclasses.replace(base, model=model))
    report = info_report("stand-ins")
    assert report["parts"]["stand_in"] == {"total": 1536, "trained": 1536, "frozen": 0}
    assert report["without_text_encoder"] == 142_807_940


def test_a_model_that_was_really_built_has_as_many() -> None:
    model = MulTAB.from_config(PRESETS["tiny"].model)
    assert info_report("tiny")["all"]["total"] == sum(p.numel() for p in model.parameters())


def test_table() -> None:
    code, output = run("--preset", "base")
    assert code == 0
    lines = [line.split() for line in output.splitlines()]
    assert ["audio", "encoder", "94,371,712", "90,171,264", "4,200,448"] in lines
    assert ["text", "encoder", "124,055,040", "0", "124,055,040"] in lines
    assert ["all", "266,862,980", "138,607,492", "128,255,488"] in lines
    assert "142,807,940" in output


def test_json() -> None:
    code, output = run("--preset", "tiny", "--json")
    assert code == 0
    assert json.loads(output) == info_report("tiny")


def test_wrong_use() -> None:
    assert run("--preset", "huge")[0] == 2
    assert run()[0] == 2


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\nfrom mtab_train.info_command import info\ninfo(['--help'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--preset [base|compact|tiny|mmer|mmer-tiny|tim-net]" in result.stdout
