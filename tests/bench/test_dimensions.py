"""The concordance of the dimensions in a report, and that a report without them says nothing of it."""

import csv
import json
from pathlib import Path

import audmetric
import numpy as np
import pytest
from click.testing import CliRunner

from mtab.data import Corpus
from mtab_bench.cli import main
from mtab_bench.render.tables import section_tables
from mtab_bench.report import Report
from mtab_bench.sections.accuracy import Concordance


def test_the_interval_holds_the_figure_and_grows_with_fewer_utterances() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=400)
    found = true + random.normal(size=400)
    many, few = Concordance.of(found, true), Concordance.of(found[:20], true[:20])
    assert many.ccc == pytest.approx(audmetric.concordance_cc(true, found))
    for each in (many, few):
        assert each.ccc is not None
        assert each.interval is not None
        assert each.interval[0] < each.ccc < each.interval[1]
    assert many.interval is not None
    assert few.interval is not None
    assert np.ptp(few.interval) > 2 * np.ptp(many.interval)
    true[:399] = np.nan
    assert Concordance.of(found, true) == Concordance(1, None, None)


def test_the_bench_of_a_bundle_that_has_them(
    rated_run: Path, rated_bundle: Path, rated_tones: Corpus, tmp_path: Path
) -> None:
    options = ("--bundle", rated_bundle, "--data-dir", rated_tones.root, "--out", tmp_path / "report")
    arguments = ["--dataset", "manifest", *map(str, options), "--threads", "1"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    evaluation = json.loads((tmp_path / "report" / "report.json").read_text())["evaluation"]
    rows = list(csv.DictReader((rated_run / "predictions.csv").open()))
    for backend in evaluation["backends"].values():
        if backend["skipped"]:
            continue
        for name, found in backend["accuracy"]["dimensions"].items():
            pairs = [(float(row[name]), float(row[f"predicted {name}"])) for row in rows if row[name]]
            assert found["rated"] == len(pairs)
            expected = audmetric.concordance_cc(*zip(*pairs, strict=True))
            assert found["ccc"] == pytest.approx(expected, abs=1e-3)
    moved = evaluation["backends"]["onnxruntime-fp32"]["parity"]["figures"]["dimensions"]
    assert 0 < moved["max_difference"] < 1e-4
    ccc = evaluation["backends"]["pytorch"]["accuracy"]["dimensions"]["arousal"]["ccc"]
    written = [(tmp_path / "report" / f"report.{kind}").read_text() for kind in ("md", "html")]
    for text in (done.output, *written):
        assert "Concordance of the dimensions" in text
        assert f"{ccc:.3f} (" in text


def test_a_report_without_them_has_no_table_of_them(report: Report) -> None:
    assert report.evaluation is not None
    titles = [table.title for table in section_tables(report.evaluation)]
    assert not [title for title in titles if "imension" in title]
