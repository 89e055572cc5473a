// Hashes that were computed before, remembered in the user's cache as long as a file is not touched; as
// `mtab.hash_cache`, and in the same files.
#pragma once

#include <string>

#include "files.hpp"
#include "json.hpp"

namespace mtab_core {

class HashCache {
 public:
  // Of the files of one folder; an empty `cache` remembers nothing.
  HashCache(Path folder, const Path& cache);

  // The hash of a file, in hexadecimal. Throws std::system_error if it cannot be read.
  std::string sha256(const std::string& name);
  // Remember the hashes that were asked for; what cannot be written is not.
  void save() const;

 private:
  Path folder_;
  Path file_;
  Json known_ = Json::object();
  Json stamps_ = Json::object();
};

}  // namespace mtab_core
