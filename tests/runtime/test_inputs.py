"""What people hand to a model: every utterance has its answer or one error, in its own place."""

import array
import io
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import mtab
from mtab import AsyncModel, Failure, Input, Model, Result
from mtab.errors import AudioError, MtabError, TextError


@pytest.fixture(scope="module")
def model(tone_bundle: Path) -> Model:
    return mtab.load(tone_bundle, threads=1)


@pytest.fixture(scope="module")
def dropping(drop_bundle: Path) -> Model:
    return mtab.load(drop_bundle, threads=1)


WAVE = np.round(9_000 * np.sin(np.arange(8_000) / 20)).astype(np.int16)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "a.wav"
    soundfile.write(path, WAVE, 16_000)
    return path


class Unreadable:
    """As a tensor on a device that NumPy cannot look into."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("not on this device")


class Column:
    """A column of a table, as pandas has them."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)
        self.dtype = self._values.dtype
        self.ndim = 1

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self._values

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


BAD_UTTERANCES: list[tuple[Any, str]] = [
    (None, "is NoneType, expected a clip, a pair of clip and transcript, or an mtab.Input"),
    (float("nan"), "is float, expected a clip"),
    ({"audio": "a.wav", "text": "a"}, "is dict, expected a clip"),
    ({"a.wav", "a"}, "is set, expected a clip"),
    (7, "is int, expected a clip"),
    (object(), "is object, expected a clip"),
    ((), "is a tuple of 0, expected a clip"),
    (("a.wav",), "is a tuple of 1, expected a clip"),
    (("a.wav", "a", 1.0), "is a tuple of 3, expected a clip"),
    ((7, "a"), "audio array: is int, expected a NumPy array, a path, bytes or a binary file"),
    ((float("nan"), "a"), "audio array: is float, expected"),
    (({}, "a"), "audio array: is dict, expected"),
    (([0.1, 0.2], "a"), "audio array: is list, expected"),
    ((WAVE, float("nan")), "text is float, expected a string"),
    ((WAVE, b"a"), "text is bytes, expected a string"),
    ((WAVE, ["a"]), "text is list, expected a string"),
    ((WAVE, np.array("a")), "text is ndarray, expected a string"),
    ((WAVE.astype(np.int64), "a"), "audio array: holds int64 samples from -9000 to 9000, expected int16, "),
    ((WAVE > 0, "a"), "audio array: has dtype bool"),
    ((WAVE.astype(complex), "a"), "audio array: has dtype complex128"),
    ((WAVE.astype(object), "a"), "audio array: has dtype object"),
    ((np.zeros(800, [("x", "f4")]), "a"), "audio array: has dtype [('x', '<f4')]"),
    ((np.float32(1), "a"), "audio array: has shape ()"),
    ((WAVE[:0], "a"), "audio array: holds no sample"),
    ((np.ma.masked_less(WAVE, -8_999), "a"), "audio array: holds 30 masked samples, expected none"),
    ((Unreadable(), "a"), "audio array: Unreadable gives no array (not on this device), expected samples"),
    ((torch.ones(800, requires_grad=True), "a"), "audio array: Tensor gives no array (Can't call numpy()"),
    ((b"", "a"), "audio bytes: unreadable (0 bytes)"),
    ((b"no sound" * 10, "a"), "audio bytes: "),
    ((io.StringIO("a"), "a"), "audio file: is open as text"),
    ((io.BytesIO(), "a"), "audio file: unreadable (0 bytes)"),
    (Input(WAVE, "a", start="0.1"), "start is str, expected a number of seconds"),  # pyright: ignore
    (Input(WAVE, "a", end=b"1"), "end is bytes, expected a number of seconds"),  # pyright: ignore
    (Input(WAVE, "a", start=[0]), "start is list, expected a number of seconds"),  # pyright: ignore
    (Input(WAVE, "a", end=True), "end is bool, expected a number of seconds"),
    (Input(WAVE, "a", end=10**400), "audio array: 0.50 s long, expected at least inf s"),
    (Input(WAVE, "a", start=float("nan")), "audio array: part from nan"),
    (Input(WAVE, "a", sampling_rate=None), "sampling_rate is NoneType, expected a number of Hz"),  # pyright: ignore
    (Input(WAVE, "a", sampling_rate="16000"), "sampling_rate is str, expected"),  # pyright: ignore
    (Input(WAVE, "a", sampling_rate=True), "sampling_rate is bool, expected"),
    (Input(WAVE, "a", sampling_rate=float("nan")), "has a sample rate of nan Hz"),
    (Input(WAVE, "a", sampling_rate=10**400), "has a sample rate of inf Hz"),
    (Input({}, {}, {}, {}, {}), "sampling_rate is dict"),  # pyright: ignore
]


# By the message: the name of an object differs between the processes that run tests side by side.
@pytest.mark.parametrize(
    ("bad", "message"), BAD_UTTERANCES, ids=[message[:40] for _, message in BAD_UTTERANCES]
)
def test_one_error_in_its_own_place(model: Model, clip: Path, bad: Any, message: str) -> None:
    utterances = [(clip, "a"), bad, (WAVE, "b")]
    first, failure, last = model.stream(utterances, on_error="skip")
    assert isinstance(first, Result)
    assert isinstance(last, Result)
    assert isinstance(failure, Failure)
    assert str(failure.error).startswith(f"utterance 1: {message}")
    assert "\n" not in str(failure.error)
    # And raised in its turn, after the result before it.
    found = model.stream(utterances)
    assert next(found).probabilities == pytest.approx(first.probabilities, abs=1e-5)
    with pytest.raises(MtabError) as caught:
        next(found)
    assert str(caught.value) == str(failure.error)
    if isinstance(bad, tuple) and not isinstance(bad, Input) and len(bad) == 2:
        with closing(AsyncModel(model, max_latency=0)) as server:
            answer = server.submit(*bad)
            assert isinstance(answer.exception(60), AudioError | TextError)


def test_an_utterance_may_have_any_name(model: Model) -> None:
    (failure,) = model.stream([Input(None, "a", name=7)], on_error="skip")  # pyright: ignore
    assert isinstance(failure, Failure)
    assert failure.name == "7"


def test_what_the_source_raises_comes_in_its_turn(model: Model, clip: Path) -> None:
    def utterances() -> Iterator[Any]:
        yield clip, "a"
        yield WAVE, "b"
        raise ConnectionError("gone")

    found = model.stream(utterances(), on_error="skip")
    assert all(isinstance(next(found), Result) for _ in range(2))
    with pytest.raises(ConnectionError, match=r"^gone$"):
        next(found)


@pytest.mark.parametrize(
    "form",
    [
        lambda clip: clip,
        str,
        lambda clip: clip.read_bytes(),
        lambda clip: bytearray(clip.read_bytes()),
        lambda clip: memoryview(clip.read_bytes()),
        lambda clip: io.BytesIO(clip.read_bytes()),
        lambda clip: clip.open("rb"),
        lambda clip: WAVE,
        lambda clip: WAVE[:, None],
        lambda clip: torch.from_numpy(WAVE),
        lambda clip: torch.from_numpy(WAVE / 2**15).float(),
        lambda clip: (WAVE / 2**15).astype(np.float64),
        lambda clip: WAVE.astype(np.float32),  # on a scale of 16 bits
        lambda clip: WAVE.astype(np.int32) << 16,
        lambda clip: Column(WAVE),
        lambda clip: np.ma.masked_less(WAVE, -10_000),  # nothing is masked
        lambda clip: array.array("h", WAVE.tolist()),
        lambda clip: array.array("d", (WAVE / 2**15).tolist()),
        lambda clip: memoryview(WAVE),
        lambda clip: memoryview((WAVE / 2**15).astype("<f4")),
    ],
)
def test_every_form_of_a_clip(model: Model, clip: Path, form: Callable[[Path], Any]) -> None:
    expected = model.predict(clip, "a")
    results = [
        model.predict(form(clip), "a"),
        *model.predict([form(clip)], ["a"]),
        *model.stream([(form(clip), "a"), (form(clip), np.str_("a")), Input(form(clip), "a")]),
    ]
    with closing(AsyncModel(model, max_latency=0)) as server:
        results.append(server.submit(form(clip), "a").result(60))
    for result in results:
        assert result.duration == 0.5
        assert result.probabilities == pytest.approx(expected.probabilities, abs=1e-4)


def test_a_clip_alone_in_a_stream(dropping: Model, clip: Path) -> None:
    forms = [clip, clip.read_bytes(), io.BytesIO(clip.read_bytes()), WAVE, torch.from_numpy(WAVE)]
    assert {result.duration for result in dropping.stream(forms)} == {0.5}


def test_every_form_of_a_list(model: Model, dropping: Model, clip: Path) -> None:
    name = str(clip)
    expected = model.predict([clip, clip], ["a", "b"])
    for audio, text in (
        ((clip, name), ("a", "b")),
        (np.array([name, name]), np.array(["a", "b"])),
        (np.array([clip, WAVE], dtype=object), np.array(["a", "b"], dtype=object)),
        (Column([name, name]), Column(["a", "b"])),
        ((each for each in [clip, clip]), iter(["a", "b"])),
        ({0: clip, 1: clip}.values(), {"a": 0, "b": 1}.keys()),
    ):
        found = model.predict(audio, text)  # pyright: ignore
        assert [each.probabilities for each in found] == [
            pytest.approx(each.probabilities, abs=1e-5) for each in expected
        ]
    assert len(dropping.predict(None, Column(["a", "b"]))) == 2  # pyright: ignore


@pytest.mark.parametrize(
    ("audio", "text", "message"),
    [
        (WAVE, float("nan"), "utterance: text is float, expected a string"),
        (b"a", b"a", "utterance: audio bytes: "),
        ("", "a", "'': not found, expected a clip"),
        ({"raw": WAVE}, "a", "utterance: audio array: is dict, expected a NumPy array"),
        ({"a.wav"}, "a", "utterance: audio array: is set, expected"),
        (float("nan"), "a", "utterance: audio array: is float, expected"),
        (
            ["a.wav"],
            float("nan"),
            "audio is list and text is float, expected one of each or a list of each; ",
        ),
        (np.array(["a.wav"]), "a", "audio is ndarray of <U5 and text is str, expected one of each or a list"),
        ([0.1, 0.2], "a", "audio is list and text is str, expected one of each or a list of each; a clip's "),
        (np.array([0.1], object), "a", "audio is ndarray of object and text is str, expected one of each or"),
        (Input("a.wav", "a"), None, "utterance: audio array: is Input, expected a NumPy array, a path"),
        (iter(["a.wav"]), ["a", "b"], "2 transcripts for 1 clips, expected one each"),
        ([0.1, 0.2], ["a", "b"], "utterance 0: audio array: is float, expected"),
    ],
)
def test_what_is_no_question(model: Model, audio: Any, text: Any, message: str) -> None:
    with pytest.raises(MtabError) as caught:
        model.predict(audio, text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("utterances", "found"),
    [
        (None, "NoneType"),
        (5, "int"),
        ("clip.wav", "str"),
        (Path("clip.wav"), "PosixPath"),
        (b"RIFF", "bytes"),
        (io.BytesIO(b"RIFF"), "BytesIO"),
        ({"a.wav": "a"}, "dict"),
        (WAVE, "ndarray of int16"),
        (array.array("h", [1, 2]), "array"),
        (torch.from_numpy(WAVE), "Tensor of torch.int16"),
        (Input("clip.wav", "a"), "Input"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stream_of_what_is_no_list(model: Model, utterances: Any, found: str) -> None:
    for on_error in ("raise", "skip"):
        with pytest.raises(MtabError) as caught:
            model.stream(utterances, on_error=on_error)
        expected = "an iterable of clips, of pairs of clip and transcript, or of Input"
        assert str(caught.value) == f"utterances is {found}, expected {expected}"


def test_a_data_set_that_has_only_its_items(model: Model) -> None:
    class Items:
        def __getitem__(self, place: int) -> tuple[np.ndarray, str]:
            return [(WAVE, "a"), (WAVE, "b")][place]

    assert len(list(model.stream(Items()))) == 2  # pyright: ignore[reportArgumentType, reportCallIssue]


@pytest.mark.parametrize("options", [{"top_k": "2"}, {"top_k": 1.5}, {"abstain": "a"}, {"abstain": [0.5]}])
def test_options_of_another_type(model: Model, options: dict[str, Any]) -> None:
    with pytest.raises(MtabError, match=r"^(top_k|abstain) is "):
        model.predict(WAVE, "a", **options)
