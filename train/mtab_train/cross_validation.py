"""Every fold of a corpus in turn, and what they come to."""

from pathlib import Path
from typing import Any

import numpy as np

from mtab.data import Corpus, make_folds
from mtab.errors import DataError
from mtab.files import atomic_folder, read_json, write_json
from mtab_train.metrics import chance_of
from mtab_train.run import RESULTS, RUN, SUMMARY, Run, open_run, write_run
from mtab_train.start import Start, begin_run, describe_run
from mtab_train.trainer import Trainer

KEYS = ("war", "uar", "weighted_f1")


def begin_cross_validation(
    folder: Path, start: Start, corpus: Corpus, folds: str, overwrite: bool = False
) -> Run:
    """Make a folder that describes the runs to come below it, one for each fold.

    Raises `DataError` if there is but one.
    """
    if len(make_folds(corpus, folds, start.train.seed)) < 2:
        raise DataError(f"{corpus.root}: {folds} is one fold, expected two or more; see mtab-train fit")
    with atomic_folder(folder, overwrite) as partial:
        write_run(describe_run(partial, start, corpus, folds, None))
    return open_run(folder)


def cross_validate(run: Run, corpus: Corpus, **machine: Any) -> dict[str, Any]:
    """Train on every fold that is not done yet; the summary, as in ``summary.json``.

    ``machine`` are `Trainer`'s options of that kind.
    """
    config = run.config
    assert config.folds is not None
    start = Start(
        run.model, run.train, config.preset, None if config.init_from is None else Path(config.init_from)
    )
    results = {}
    for fold in make_folds(corpus, config.folds, run.train.seed):
        folder = run.folder / fold.folder
        if not (folder / RESULTS).is_file():
            if (folder / RUN).is_file():
                opened = open_run(folder)
            else:
                opened = begin_run(folder, start, corpus, config.folds, fold.name, overwrite=True)
            print(f"\n{config.title}, fold {fold.name}, protocol {run.train.protocol}", flush=True)
            Trainer(opened, corpus, **machine).fit()
        results[fold.name] = read_json(folder / RESULTS)
    summary = summarize(results)
    write_json(run.folder / SUMMARY, summary)
    return summary


def summarize(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation (n - 1) and best of the folds' test scores; each fold weighs the same.

    ``chance`` is the mean of theirs, ``at_chance`` are the folds whose model is no better.
    """
    tests = {fold: result["test"] for fold, result in results.items()}
    chances = {fold: chance_of(test["confusion_matrix"]) for fold, test in tests.items()}
    return {
        "mean": {key: float(np.mean([test[key] for test in tests.values()])) for key in KEYS},
        "std": {key: float(np.std([test[key] for test in tests.values()], ddof=1)) for key in KEYS},
        "chance": {
            "war": float(np.mean([each.war for each in chances.values()])),
            "uar": float(np.mean([each.uar for each in chances.values()])),
        },
        "at_chance": [
            fold for fold, test in tests.items() if chances[fold].explains(test["war"], test["uar"])
        ],
        "best_fold": max(tests, key=lambda fold: tests[fold]["war"]),
        "folds": [
            {
                "fold": fold,
                **{key: test[key] for key in KEYS},
                "utterances": test["utterances"],
                "selected_epoch": results[fold]["selected_epoch"],
            }
            for fold, test in tests.items()
        ],
        "problems": max(result["problems"] for result in results.values()),
    }
