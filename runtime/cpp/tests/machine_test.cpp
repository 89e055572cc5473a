#include "machine.hpp"

#include "support.hpp"

namespace mtab_core {
namespace {

using mtab_test::TemporaryFolder;

constexpr char kTwoCores[] =
    "processor\t: 0\nmodel name\t: A CPU\nphysical id\t: 0\ncore id\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n\n"
    "processor\t: 1\nmodel name\t: A CPU\nphysical id\t: 0\ncore id\t: 1\nflags\t\t: fpu avx2 "
    "avx512_vnni\n\n";

TEST(Machine, IsWhatPythonSees) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  const auto expected = mtab_test::json_of(golden / "machine.json");
  EXPECT_EQ(processor_key(), expected.at("processor_key"));
  EXPECT_EQ(limited_cores(), expected.at("limited_cores"));
}

TEST(Machine, KnowsWhereInt8Saturates) {
  const TemporaryFolder root;
  root.write("proc/cpuinfo", kTwoCores);
  EXPECT_FALSE(saturates_int8(root.path()));
#if defined(__x86_64__)
  root.write("proc/cpuinfo", "model name : B\nflags : avx2\n");
  EXPECT_TRUE(saturates_int8(root.path()));
#endif
}

TEST(Machine, HasAKeyOfItsOwn) {
  const TemporaryFolder root;
  root.write("proc/cpuinfo", kTwoCores);
  const std::string key = processor_key(root.path());
  root.write("proc/cpuinfo", "model name : A CPU\nflags : fpu avx2\n");
  EXPECT_NE(processor_key(root.path()), key);
}

TEST(LimitedCores, AreThoseOfTheQuota) {
  const TemporaryFolder root;
  root.write("proc/cpuinfo", [] {
    std::string many;
    for (int i = 0; i < 1024; ++i) many += "physical id : 0\ncore id : " + std::to_string(i) + "\n\n";
    return many;
  }());
  const int allowed = limited_cores(root.path());
  EXPECT_GE(allowed, 1);
  root.write("proc/self/cgroup", "0::/a/b\n");
  root.write("proc/self/mountinfo", "30 20 0:1 / /sys/fs/cgroup\\040here rw - cgroup2 cgroup2 rw\n");
  root.write("sys/fs/cgroup here/a/cpu.max", "50000 100000\n");
  root.write("sys/fs/cgroup here/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(limited_cores(root.path()), 1);
  root.write("proc/self/mountinfo", "nonsense\n - \n");
  EXPECT_EQ(limited_cores(root.path()), allowed);
}

}  // namespace
}  // namespace mtab_core
