"""NVIDIA's driver, acted out; and the real one where there is a GPU."""

import ctypes
from pathlib import Path

import pytest

from mtab import cuda
from mtab.cuda import Cuda, Gpu, find_cuda, find_gpu, has_nvidia_device, query_cuda
from mtab.errors import EngineError


class FakeCuda:
    """The C functions of a driver with some GPUs: they write where they are pointed and return a status."""

    NO_DEVICE = 100

    def __init__(self, driver: int, *gpus: tuple[bytes, int, int, int], init: int = 0) -> None:
        self.driver, self.gpus, self.init, self.ready = driver, gpus, init, False

    def cuDriverGetVersion(self, number) -> int:
        number._obj.value = self.driver
        return 0

    def cuInit(self, flags: int) -> int:
        self.ready = not self.init
        return self.init if flags == 0 else 1

    def cuGetErrorString(self, status: int, text) -> int:
        text._obj.value = b"no CUDA-capable device is detected" if status == self.NO_DEVICE else None
        return 0

    def cuDeviceGetCount(self, count) -> int:
        count._obj.value = len(self.gpus)
        return 0 if self.ready else 3

    def cuDeviceGet(self, device, index: int) -> int:
        # A handle that is not the index.
        device._obj.value = 40 + index
        return 0

    def cuDeviceGetName(self, buffer, size: int, device: int) -> int:
        buffer.value = self.gpus[device - 40][0][: size - 1]
        return 0

    def cuDeviceTotalMem_v2(self, memory, device: int) -> int:
        assert ctypes.sizeof(memory._obj) == 8
        memory._obj.value = self.gpus[device - 40][1]
        return 0

    def cuDeviceGetAttribute(self, value, attribute: int, device: int) -> int:
        # As cuda.h numbers them.
        value._obj.value = self.gpus[device - 40][{75: 2, 76: 3}[attribute]]
        return 0


def test_gpus() -> None:
    memory = 17_175_674_880
    library = FakeCuda(
        13010, (b"NVIDIA GeForce RTX 4060 Ti", memory, 8, 9), (b"NVIDIA H100", 8 * memory, 9, 0)
    )
    assert query_cuda(library) == Cuda(
        "13.1",
        (Gpu(0, "NVIDIA GeForce RTX 4060 Ti", memory, "89"), Gpu(1, "NVIDIA H100", 8 * memory, "90")),
    )


@pytest.mark.parametrize(
    ("init", "problem"),
    [
        (100, "cuInit: no CUDA-capable device is detected (100)"),
        (803, "cuInit: unknown error (803)"),
    ],
)
def test_a_driver_that_finds_no_gpu(init: int, problem: str) -> None:
    assert query_cuda(FakeCuda(12040, init=init)) == Cuda("12.4", (), problem)


def test_nvidias_device_on_the_bus(tmp_path: Path) -> None:
    for slot, vendor in (("0000:00:01.0", "0x8086"), ("0000:01:00.0", "0x10de")):
        (tmp_path / slot).mkdir()
        (tmp_path / slot / "vendor").write_text(f"{vendor}\n")
        assert has_nvidia_device(tmp_path) is (vendor == "0x10de")
    assert not has_nvidia_device(tmp_path / "none")


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_load", lambda: FakeCuda(13010, (b"one", 2**30, 12, 0)))
    assert find_gpu(0) == Gpu(0, "one", 2**30, "120")
    with pytest.raises(EngineError, match=r"^device cuda:1: the driver sees 1 GPUs, expected more$"):
        find_gpu(1)
    monkeypatch.setattr(cuda, "_load", lambda: FakeCuda(13010, init=100))
    with pytest.raises(EngineError, match=r"^device cuda: cuInit: no CUDA-capable device"):
        find_gpu(0)


@pytest.mark.gpu
def test_the_gpu_is_the_one_that_torch_sees() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    seen = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found = find_cuda()
    assert found.problem is None
    assert [(gpu.name, gpu.memory, gpu.compute_capability) for gpu in found.gpus] == [
        (gpu.name, gpu.total_memory, f"{gpu.major}{gpu.minor}") for gpu in seen
    ]
