#include "hash_cache.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <system_error>

#include "error.hpp"

namespace mtab_core {
namespace {

// Seconds since the last change from which on another one shows, whatever the file system's clock.
constexpr double kSettled = 2.0;

#ifdef __APPLE__
#define MTAB_TIME(status, kind) (status).st_##kind##timespec
#else
#define MTAB_TIME(status, kind) (status).st_##kind##tim
#endif

std::int64_t nanoseconds(const struct timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

HashCache::HashCache(Path folder, const Path& cache) : folder_(std::move(folder)) {
  if (cache.empty()) return;
  std::error_code failed;
  Path real = std::filesystem::weakly_canonical(folder_, failed);
  if (failed) return;
  // As Python's realpath, which ends in no separator.
  if (!real.has_filename() && real.has_parent_path() && real != real.root_path()) real = real.parent_path();
  file_ = cache / "verified" / (mtab_core::sha256(real.native()).substr(0, 32) + ".json");
  try {
    Json known = read_json(file_);
    if (known.is_object()) known_ = std::move(known);
  } catch (const Error&) {
    // It costs time, and is never an error.
  }
}

std::string HashCache::sha256(const std::string& name) {
  const Path path = folder_ / name;
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    throw std::system_error(errno, std::generic_category(), path.string());
  }
  const std::int64_t modified = nanoseconds(MTAB_TIME(status, m));
  const std::int64_t changed = nanoseconds(MTAB_TIME(status, c));
  const Json touched = {status.st_size, status.st_ino, status.st_dev, modified, changed};
  const auto known = known_.find(name);
  const bool remembered = known != known_.end() && known->is_array() && known->size() == 2 &&
                          (*known)[0].is_string() && (*known)[1] == touched;
  std::string found = remembered ? (*known)[0].get<std::string>() : sha256_of_file(path);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const double seconds = std::chrono::duration<double>(now).count();
  if (static_cast<double>(std::max(modified, changed)) * 1e-9 < seconds - kSettled) {
    stamps_[name] = {found, touched};
  }
  return found;
}

void HashCache::save() const {
  if (file_.empty() || stamps_ == known_) return;
  try {
    write_whole(file_, stamps_.dump(2) + "\n");
  } catch (const std::exception&) {
    // The same.
  }
}

}  // namespace mtab_core
