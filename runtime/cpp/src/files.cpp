#include "files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <sstream>
#include <system_error>
#include <vector>

#include "sha256.hpp"

namespace mtab_core {
namespace {

class Descriptor {
 public:
  Descriptor(const Path& path, int flags, mode_t mode = 0)
      : path_(path), number_(::open(path.c_str(), flags, mode)) {
    if (number_ < 0) throw std::system_error(errno, std::generic_category(), path_.string());
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }

  // Up to `size` bytes; 0 at the end.
  std::size_t read(char* data, std::size_t size) const {
    for (;;) {
      const ssize_t count = ::read(number_, data, size);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) throw std::system_error(errno, std::generic_category(), path_.string());
    }
  }

  void write(std::string_view content) const {
    while (!content.empty()) {
      const ssize_t count = ::write(number_, content.data(), content.size());
      if (count >= 0) {
        content.remove_prefix(static_cast<std::size_t>(count));
      } else if (errno != EINTR) {
        throw std::system_error(errno, std::generic_category(), path_.string());
      }
    }
  }

 private:
  Path path_;
  int number_;
};

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

std::string read_file(const Path& path) {
  const Descriptor file(path, O_RDONLY | O_CLOEXEC);
  std::string content;
  std::array<char, 65536> block{};
  while (const std::size_t count = file.read(block.data(), block.size())) content.append(block.data(), count);
  return content;
}

std::string text_of(const Path& path) {
  try {
    return read_file(path);
  } catch (const std::system_error&) {
    return "";
  }
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string sha256(std::string_view content) {
  Sha256 hash;
  hash.add(content);
  return hash.hex();
}

std::string sha256_of_file(const Path& path) {
  const Descriptor file(path, O_RDONLY | O_CLOEXEC);
  Sha256 hash;
  std::vector<char> block(std::size_t{1} << 18);
  while (const std::size_t count = file.read(block.data(), block.size())) hash.add({block.data(), count});
  return hash.hex();
}

void write_whole(const Path& path, std::string_view content) {
  std::filesystem::create_directories(path.parent_path());
  Path partial = path;
  partial.replace_filename("." + path.stem().string() + "." + std::to_string(::getpid()) + ".partial" +
                           path.extension().string());
  try {
    Descriptor(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666).write(content);
    std::filesystem::rename(partial, path);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    throw;
  }
}

Path default_cache_dir() {
  const Path home = environment("HOME");
  if (const std::string chosen = environment("MTAB_CACHE"); !chosen.empty()) {
    if (chosen[0] != '~') return chosen;
    // Another user's home is not looked for.
    return chosen == "~" || chosen[1] == '/'
               ? (home.is_absolute() ? home / chosen.substr(std::min<std::size_t>(2, chosen.size())) : Path())
               : Path(chosen);
  }
  const Path xdg = environment("XDG_CACHE_HOME");
  if (xdg.is_absolute()) return xdg / "mtab";
  return home.is_absolute() ? home / ".cache" / "mtab" : Path();
}

std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (!space) {
      line += c;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  if (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

}  // namespace mtab_core
