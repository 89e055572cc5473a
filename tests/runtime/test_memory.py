"""What a batch needs is held against what is left: of machine, control groups and address space."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mtab.errors import EngineError, MemoryLimitError
from mtab.memory import MemoryNeed, MemoryRoom, assumed_need, available_memory, require_memory

BLOCKS = MemoryNeed(12, 2304, 8, 4096, scores_at_once=2**22, frames_at_once=1024)


def machine(root: Path, free_kb: int = 8_000_000) -> None:
    path = root / "proc/meminfo"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"MemTotal:       16000000 kB\nMemAvailable:   {free_kb} kB\n")


def group(folder: Path, names: tuple[str, str], most: str, used: int, stat: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(stat)


V2 = ("memory.max", "memory.current")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def test_a_machine_without_limits_has_what_is_free(tmp_path: Path) -> None:
    machine(tmp_path, 1_000)
    assert available_memory(tmp_path) == (1_024_000, "this machine's memory")


def test_the_least_of_all_groups_above_counts_without_what_files_have_cached(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_text("0::/pod/box\n")
    group(tmp_path / "sys/fs/cgroup/pod", V2, "3000000", 2_000_000, "anon 1\ninactive_file 500000\n")
    group(tmp_path / "sys/fs/cgroup/pod/box", V2, "max", 1_000_000, "inactive_file 0\n")
    assert available_memory(tmp_path) == (1_500_000, "its control group's memory")


def test_groups_of_version_1_and_those_of_a_container_count(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_text("9:cpu:/x\n4:cpuset,memory:/docker/of-the-host\n0::/\n")
    # Inside, the group itself is mounted at the top.
    group(tmp_path / "sys/fs/cgroup/memory", V1, "5000", 7_000, "total_inactive_file 1000\n")
    assert available_memory(tmp_path) == (0, "its control group's memory")
    group(tmp_path / "sys/fs/cgroup/memory", V1, str(2**63 - 4096), 7_000, "")
    assert available_memory(tmp_path) == (8_192_000_000, "this machine's memory")


def test_a_system_that_tells_nothing_refuses_nothing(tmp_path: Path) -> None:
    require_memory(assumed_need(768), 1, 600, tmp_path)


def test_what_needs_more_than_is_left_is_refused_with_the_way_out(tmp_path: Path) -> None:
    machine(tmp_path, 300_000)
    require_memory(BLOCKS, 8, 7.5, tmp_path)
    with pytest.raises(MemoryLimitError, match="start and end") as caught:
        require_memory(BLOCKS, 1, 300, tmp_path)
    assert isinstance(caught.value, EngineError)
    assert "300.0 s" in str(caught.value)
    assert "0.3 GB" in str(caught.value)
    with pytest.raises(MemoryLimitError, match="8 clips"):
        require_memory(BLOCKS, 8, 60, tmp_path)


def test_what_fits_but_for_another_waits_for_it(tmp_path: Path) -> None:
    machine(tmp_path, 300_000)
    room = MemoryRoom(tmp_path)
    order: list[str] = []

    def take(name: str, utterances: int) -> None:
        with room.taken(BLOCKS, utterances, 7.5):
            order.append(name)

    with ThreadPoolExecutor() as pool:
        with room.taken(BLOCKS, 8, 7.5):
            waiting = pool.submit(take, "as large", 8)
            time.sleep(0.05)
            assert order == []
        waiting.result(60)
        with room.taken(BLOCKS, 1, 1.0):
            pool.submit(take, "small beside small", 1).result(60)
    assert order == ["as large", "small beside small"]
    with pytest.raises(MemoryLimitError, match="8 clips"), room.taken(BLOCKS, 8, 60):
        pass
    take("after a refusal", 8)
    assert order[-1] == "after a refusal"


def test_in_blocks_a_need_grows_with_the_length_and_whole_with_its_square() -> None:
    whole = MemoryNeed(12, 2304, 8, 4096)
    assert whole.size(1, 600) > 3.9 * whole.size(1, 300)
    assert BLOCKS.size(1, 600) < 2 * BLOCKS.size(1, 300)
    assert BLOCKS.size(1, 600) < 2e9
