// Graphs as ONNX Runtime optimised and laid them out for this processor, kept in the user's cache; as
// `mtab.engines.graph_cache`, in the same folders, so that either runtime begins from what the other left.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "files.hpp"

namespace mtab_core {

// The files in `folder` that are not as `write_stamp` found them, and those that are gone; every file where
// there is no stamp. A file is read again only when it was touched, as `cache` remembers. Throws
// std::system_error.
std::vector<Path> unstamped(const Path& folder, const Path& cache);
// Note the hash of every file in `folder`. Throws std::system_error.
void write_stamp(const Path& folder);

class GraphCache {
 public:
  // Of one graph by `content`, a hash of it and its weights. How weights are laid out depends on ONNX
  // Runtime's version and build, and on the processor.
  GraphCache(Path cache, const std::string& content, const std::string& version, const std::string& build);

  // The graph as it was made; nothing if there is none. It counts as used today.
  [[nodiscard]] std::optional<Path> kept() const;
  // Have `write` leave what a session makes of `graph` at a path; it is kept if nothing fails. Throws what
  // `write` throws, and std::system_error if there is no room or the cache cannot be written.
  void keep(const Path& graph, const std::function<void(const Path&)>& write) const;
  // Delete a graph that turned out to be unusable.
  void forget() const;

 private:
  void prune() const;

  Path cache_;
  Path root_;
  Path folder_;
};

}  // namespace mtab_core
