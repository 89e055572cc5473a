"""What a page's model must answer before it may answer anything else, and whether it does under Node."""

import json
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from mtab.errors import MtabError
from mtab.graphs import Budget
from mtab.model import Model
from mtab.synthetic_inputs import speech, transcript

SAMPLES = "self-test.pcm"
"""The clips of the stored utterances one after another, 16 bits at 16 kHz."""

_SECONDS = (0.5, 2.0)
_WORDS = 6
# Where readers of a tokenizer.json differ first: special tokens, spaces, marks, scripts, emoji.
_TEXTS = (
    "I never said that!",
    "<s>no</s> <mask> <pad><unk>",
    "  two  spaces\tand a line\nmore ",
    "It's we'll I'VE 3rd 1,000.50 %",
    "café cafe\u0301 naïve ﬁne ｆｕｌｌ",
    "学校に行く。 ประเทศไทย 한국어 עברית العربية हिन्दी",
    "👩‍👩‍👧 🇩🇪 👍🏽 \U0001f9ff",
    "\u200b\ufeff\u00a0\u2028x\u0085y\u001fz\u0000",
    "ǅ ß ẞ İ ı ﷺ \U0001d54f",
    "a" * 300,
)


def self_test(model: Model, folder: Path, count: int, budget: Budget) -> dict[str, Any]:
    """``count`` utterances for each combination of modalities, with what ``model`` answers, as JSON values.

    Their samples go to ``folder``: an utterance has the ``first`` of its own and how many they are (0: no
    audio), its text (None: none) and the answers; a text has its token ids. What the page has to keep to of
    ``budget`` stands beside them.
    """
    random = np.random.default_rng(0)
    utterances: list[dict[str, Any]] = []
    samples = np.zeros(0, "<i2")
    for modalities in model.bundle.config.supported_modalities:
        for seconds in np.linspace(*_SECONDS, count):
            clip = np.round(32767 * speech(random, seconds)).astype("<i2") if "audio" in modalities else None
            text = transcript(random, _WORDS) if "text" in modalities else None
            result = model.predict(clip, text=text)
            utterances.append(
                {
                    "first": len(samples),
                    "count": 0 if clip is None else len(clip),
                    "text": text,
                    "probabilities": list(result.probabilities.values()),
                    "dimensions": list((result.dimensions or {}).values()),
                }
            )
            samples = samples if clip is None else np.concatenate([samples, clip])
    (folder / SAMPLES).write_bytes(samples.tobytes())
    tokenize = model.preprocess.tokenizer
    texts = () if tokenize is None else (*_TEXTS, "so " * tokenize.max_tokens)
    return {
        "samples": SAMPLES,
        "utterances": utterances,
        "texts": [{"text": each, "ids": tokenize(each)[0].tolist()} for each in texts if tokenize],
        "tolerance": budget.max_difference,
        "dimensions_tolerance": budget.max_dimension_difference,
    }


def refusal_under_node(site: Path) -> str | None:
    """Why the model in the folder of a site may not answer, in a line; None if it may.

    Raises `MtabError` if Node.js is not here.
    """
    node = shutil.which("node")
    if node is None:
        raise MtabError("node is not here, expected Node.js 20 or newer, to try the page's model")
    with as_file(files("mtab_serve") / "check.mjs") as script:
        done = subprocess.run([node, script, site], capture_output=True, text=True, errors="replace")
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "Error: " in line]
        return f"cannot be run: {errors[0].strip() if errors else f'exit code {done.returncode}'}"
    # A text in it may hold what Python takes for the end of a line.
    return json.loads(done.stdout.rstrip("\n").split("\n")[-1])
