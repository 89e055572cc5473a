#include "memory.hpp"

#include "error.hpp"
#include "support.hpp"

namespace mtab_core {
namespace {

using mtab_test::TemporaryFolder;

TEST(MemoryNeed, IsWhatItsBlocksLeave) {
  MemoryNeed need;
  need.per_sample = 4;
  need.per_frame = 100;
  need.per_score = 8;
  need.per_convolved = 512;
  // 2 utterances of 10 s: 160,000 samples and 500 frames each.
  EXPECT_DOUBLE_EQ(need.size(2, 10), 4.0 * (2 * (4 * 160000.0 + 100 * 500.0) + 3 * (8 * 2 * 500.0 * 500.0)));
  need.scores_at_once = 1000;
  need.frames_at_once = 64;
  EXPECT_DOUBLE_EQ(need.size(2, 10), 4.0 * (2 * (4 * 160000.0 + 100 * 500.0) + 3 * (512 * 64.0)));
}

TEST(AvailableMemory, IsTheLeastThatIsLeft) {
  const TemporaryFolder root;
  root.write("proc/meminfo", "MemTotal: 2000 kB\nMemAvailable: 1000 kB\n");
  EXPECT_EQ(available_memory(root.path())->first, 1024000.0);
  EXPECT_EQ(available_memory(root.path())->second, "this machine's memory");
  root.write("proc/self/cgroup", "0::/a/b\n");
  root.write("sys/fs/cgroup/a/memory.max", "900000\n");
  root.write("sys/fs/cgroup/a/memory.current", "500000\n");
  root.write("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 100000\n");
  root.write("sys/fs/cgroup/a/b/memory.max", "max\n");
  EXPECT_EQ(available_memory(root.path())->first, 500000.0);
  EXPECT_EQ(available_memory(root.path())->second, "its control group's memory");
}

TEST(AvailableMemory, ReadsVersionOneOfControlGroups) {
  const TemporaryFolder root;
  root.write("proc/self/cgroup", "3:cpu:/\n5:hugetlb,memory:/x\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "700000\n");
  root.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "300000\n");
  root.write("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 1000\n");
  EXPECT_EQ(available_memory(root.path())->first, 401000.0);
}

TEST(AvailableMemory, IsUnknownWhereTheSystemDoesNotTell) {
  const TemporaryFolder root;
  EXPECT_FALSE(available_memory(root.path()).has_value());
  root.write("proc/meminfo", "MemAvailable: lots\nnonsense\n:\n");
  EXPECT_FALSE(available_memory(root.path()).has_value());
}

TEST(RequireMemory, RefusesWhatDoesNotFit) {
  const TemporaryFolder root;
  root.write("proc/meminfo", "MemAvailable: 100000 kB\n");
  MemoryNeed need;
  need.per_sample = 1000;
  require_memory(need, 1, 1.0, root.path());
  try {
    require_memory(need, 2, 10.0, root.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), MTAB_MEMORY_LIMIT_ERROR);
    EXPECT_EQ(
        error.message(),
        "2 clips of up to 10.0 s: needs about 1.3 GB of memory, expected at most the 0.1 GB that are left of "
        "this machine's memory; take less of it at once with start and end, or raise that limit");
  }
}

}  // namespace
}  // namespace mtab_core
