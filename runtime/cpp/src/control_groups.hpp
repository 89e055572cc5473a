// The control groups of this process, as the kernel lists them.
#pragma once

#include <string>
#include <vector>

#include "files.hpp"

namespace mtab_core {

// A line of /proc/self/cgroup: version 2 has the number 0 and no controllers.
struct ControlGroup {
  std::string number;
  std::string controllers;
  std::string path;

  [[nodiscard]] bool has(const std::string& controller) const;
};

// `root` is where proc is.
std::vector<ControlGroup> control_groups(const Path& root);

}  // namespace mtab_core
