#include "graph_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <set>

#include "error.hpp"
#include "python_text.hpp"

namespace mtab_core {
namespace {

// The messages of onnx.proto that lead to a tensor.
enum class Message { kModel, kGraph, kNode, kAttribute, kTensor, kSparseTensor, kEntry, kFunction };

struct Field {
  Message in;
  std::uint64_t number;
  Message is;
};

constexpr Field kFields[] = {
    {Message::kModel, 7, Message::kGraph},
    {Message::kModel, 25, Message::kFunction},
    {Message::kFunction, 7, Message::kNode},
    {Message::kGraph, 1, Message::kNode},
    {Message::kGraph, 5, Message::kTensor},
    {Message::kGraph, 15, Message::kSparseTensor},
    {Message::kNode, 5, Message::kAttribute},
    {Message::kAttribute, 5, Message::kTensor},
    {Message::kAttribute, 6, Message::kGraph},
    {Message::kAttribute, 10, Message::kTensor},
    {Message::kAttribute, 11, Message::kGraph},
    {Message::kAttribute, 22, Message::kSparseTensor},
    {Message::kAttribute, 23, Message::kSparseTensor},
    {Message::kSparseTensor, 1, Message::kTensor},
    {Message::kSparseTensor, 2, Message::kTensor},
    {Message::kTensor, 13, Message::kEntry},
};

// Graphs within attributes within graphs: more than any exporter writes.
constexpr int kDeepest = 200;

class Reader {
 public:
  explicit Reader(const Path& path) : path_(path) {}

  void message(std::string_view content, Message kind, int depth = 0) {
    if (depth > kDeepest) throw broken();
    std::string key;
    std::string value;
    while (!content.empty()) {
      const std::uint64_t tag = varint(content);
      switch (tag & 7U) {
        case 0:
          varint(content);
          continue;
        case 1:
          taken(content, 8);
          continue;
        case 5:
          taken(content, 4);
          continue;
        case 2:
          break;
        default:
          throw broken();
      }
      const std::string_view part = taken(content, varint(content));
      if (kind == Message::kEntry && tag >> 3U == 1) key = part;
      if (kind == Message::kEntry && tag >> 3U == 2) value = part;
      for (const Field& field : kFields) {
        if (field.in == kind && field.number == tag >> 3U) message(part, field.is, depth + 1);
      }
    }
    if (key == "location" && known_.insert(value).second) found.push_back(value);
  }

  std::vector<std::string> found;

 private:
  [[nodiscard]] Error broken() const { return {MTAB_ENGINE_ERROR, path_.string() + ": is no ONNX graph"}; }

  std::uint64_t varint(std::string_view& content) const {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !content.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(content.front());
      content.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 127U) << shift;
      if (byte < 128) return value;
    }
    throw broken();
  }

  std::string_view taken(std::string_view& content, std::uint64_t size) const {
    if (size > content.size()) throw broken();
    const std::string_view part = content.substr(0, size);
    content.remove_prefix(size);
    return part;
  }

  const Path& path_;
  std::set<std::string> known_;
};

// A file's content where it lies.
class Mapped {
 public:
  explicit Mapped(const Path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (file >= 0 && ::fstat(file, &status) == 0 && status.st_size > 0) {
      size_ = static_cast<std::size_t>(status.st_size);
      data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    }
    if (file >= 0) ::close(file);
    if (data_ == MAP_FAILED)
      throw Error(MTAB_ENGINE_ERROR, path.string() + ": cannot be read, expected an ONNX graph");
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  ~Mapped() { ::munmap(data_, size_); }

  [[nodiscard]] std::string_view content() const { return {static_cast<const char*>(data_), size_}; }

 private:
  void* data_ = MAP_FAILED;
  std::size_t size_ = 0;
};

}  // namespace

std::vector<std::string> weight_files(std::string_view model, const Path& path) {
  Reader reader(path);
  reader.message(model, Message::kModel);
  return std::move(reader.found);
}

void require_own_weights(const Path& path) {
  const Mapped file(path);
  std::error_code failed;
  const Path folder =
      std::filesystem::canonical(path.parent_path().empty() ? "." : path.parent_path(), failed);
  for (const std::string& name : weight_files(file.content(), path)) {
    const Path place = Path(name);
    const Path real = std::filesystem::weakly_canonical(folder / place, failed);
    if (place.is_absolute() || failed || real.parent_path() != folder) {
      throw Error(MTAB_ENGINE_ERROR, path.string() + ": takes weights from " + in_quotes(name) +
                                         ", expected a file in its folder");
    }
  }
}

}  // namespace mtab_core
