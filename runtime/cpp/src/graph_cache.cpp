#include "graph_cache.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <system_error>

#include "error.hpp"
#include "hash_cache.hpp"
#include "json.hpp"
#include "machine.hpp"

namespace mtab_core {
namespace {

constexpr char kGraph[] = "graph.onnx";
constexpr char kStamp[] = "stamp.json";
constexpr char kPartial[] = ".partial-";
constexpr double kDay = 24 * 3600;
constexpr double kUnusedDays = 60;
// The weights are kept twice, as they were and as they are multiplied; as much again has to stay free.
constexpr std::uintmax_t kRoom = 4;

std::vector<Path> files_in(const Path& folder) {
  std::vector<Path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().filename() != kStamp) files.push_back(entry.path());
  }
  return files;
}

void remove_quietly(const Path& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

// Or a crash of the machine might leave the name without the content.
void synchronise(const Path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool done = file >= 0 && ::fsync(file) == 0;
  const int error = errno;
  if (file >= 0) ::close(file);
  if (!done) throw std::system_error(error, std::generic_category(), path.string());
}

}  // namespace

std::vector<Path> unstamped(const Path& folder, const Path& cache) {
  Json expected = Json::object();
  try {
    Json stamp = read_json(folder / kStamp);
    if (stamp.is_object()) expected = std::move(stamp);
  } catch (const Error&) {
    // Without a stamp nothing is as it was.
  }
  HashCache hashes(folder, cache);
  std::vector<Path> changed;
  for (const Path& file : files_in(folder)) {
    const std::string name = file.filename().string();
    const std::string hash = hashes.sha256(name);
    if (const auto known = expected.find(name); known == expected.end() || *known != hash)
      changed.push_back(file);
  }
  hashes.save();
  for (const auto& [name, hash] : expected.items()) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(folder / name, ignored)) changed.push_back(folder / name);
  }
  return changed;
}

void write_stamp(const Path& folder) {
  Json stamp = Json::object();
  for (const Path& file : files_in(folder)) stamp[file.filename().string()] = sha256_of_file(file);
  write_whole(folder / kStamp, stamp.dump(2) + "\n");
}

GraphCache::GraphCache(Path cache, const std::string& content, const std::string& version,
                       const std::string& build)
    : cache_(std::move(cache)),
      root_(cache_ / "graphs"),
      folder_(root_ /
              sha256(content + "\n" + version + "\n" + build + "\n" + processor_key()).substr(0, 32)) {}

std::optional<Path> GraphCache::kept() const {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder_, ignored)) return std::nullopt;
  try {
    if (!unstamped(folder_, cache_).empty() || !std::filesystem::is_regular_file(folder_ / kGraph)) {
      forget();
      return std::nullopt;
    }
  } catch (const std::system_error&) {
    return std::nullopt;
  }
  std::filesystem::last_write_time(folder_, std::filesystem::file_time_type::clock::now(), ignored);
  return folder_ / kGraph;
}

void GraphCache::keep(const Path& graph, const std::function<void(const Path&)>& write) const {
  std::filesystem::create_directories(root_);
  prune();
  std::uintmax_t size = 0;
  for (const Path& file : files_in(graph.parent_path())) {
    if (file.filename().string().rfind(graph.filename().string(), 0) == 0)
      size += std::filesystem::file_size(file);
  }
  if (std::filesystem::space(root_).available < kRoom * size) {
    throw std::system_error(ENOSPC, std::generic_category(), root_.string());
  }
  std::string name = (root_ / (std::string(kPartial) + "XXXXXX")).string();
  if (::mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::generic_category(), name);
  const Path partial = name;
  try {
    write(partial / kGraph);
    write_stamp(partial);
    for (const auto& entry : std::filesystem::directory_iterator(partial)) synchronise(entry.path());
    // Where another process was faster, its own stays.
    std::error_code ignored;
    std::filesystem::rename(partial, folder_, ignored);
  } catch (...) {
    remove_quietly(partial);
    throw;
  }
  remove_quietly(partial);
}

void GraphCache::forget() const { remove_quietly(folder_); }

void GraphCache::prune() const {
  const auto now = static_cast<double>(std::time(nullptr));
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(root_, failed)) {
    // What was begun a day ago belongs to a process that was killed.
    const bool begun = entry.path().filename().string().rfind(kPartial, 0) == 0;
    struct stat status {};
    if (::stat(entry.path().c_str(), &status) != 0) continue;
    if (static_cast<double>(status.st_mtime) < now - (begun ? 1 : kUnusedDays) * kDay) {
      remove_quietly(entry.path());
    }
  }
}

}  // namespace mtab_core
