#include "audio/sources.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

#include "audio/samples.hpp"
#include "audio/truncation.hpp"
#include "python_text.hpp"

namespace mtab_core::audio {
namespace {

using Clock = std::chrono::steady_clock;

// How long a pipe may have nobody who writes to it, and how long it is waited between two looks.
constexpr std::chrono::seconds kWriterWait{10};
constexpr int kLookMilliseconds = 100;

class Pipe {
 public:
  explicit Pipe(const Path& path) : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    // Opened to block, it would wait for a writer for ever.
    if (number_ < 0) throw unreadable_by_system(errno);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() { ::close(number_); }

  // The content, once whoever writes to it has closed it.
  [[nodiscard]] std::string read_all() const {
    const auto latest = Clock::now() + kWriterWait;
    std::array<char, 65'536> block{};
    std::string content;
    bool written = false;
    for (;;) {
      const ssize_t count = ::read(number_, block.data(), block.size());
      if (count > 0) {
        content.append(block.data(), static_cast<std::size_t>(count));
      } else if (count == 0) {
        // Before the first writer comes, a pipe is at its end too.
        if (written || !content.empty()) return content;
        written = is_touched_within(kLookMilliseconds);
        if (!written && Clock::now() > latest) {
          throw audio_error("is a pipe that nobody writes to, expected a clip");
        }
      } else if (errno == EAGAIN) {
        // There is a writer, who has not written yet.
        written = is_touched_within(-1);
      } else if (errno != EINTR) {
        throw unreadable_by_system(errno);
      }
    }
  }

 private:
  int number_;

  // Whether somebody wrote, or closed the pipe, within that time; -1 waits until then.
  [[nodiscard]] bool is_touched_within(int milliseconds) const {
    pollfd look{number_, POLLIN, 0};
    return ::poll(&look, 1, milliseconds) > 0;
  }
};

std::string suffix_of(const Path& path) {
  const std::string text = path.string();
  const std::string name = text.substr(text.rfind('/') + 1);
  const std::size_t dot = name.rfind('.');
  if (dot == std::string::npos || dot == 0 || dot + 1 == name.size()) return "";
  std::string suffix = name.substr(dot);
  for (char& c : suffix) {
    if ('A' <= c && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return suffix;
}

// What the system says of a path; nothing where there is no file.
std::optional<struct stat> status_of(const Path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return status;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  throw unreadable_by_system(errno);
}

void require_file(const std::optional<struct stat>& status) {
  if (!status) throw audio_error("not found, expected a clip");
  if (S_ISDIR(status->st_mode)) throw audio_error("not found (but a folder), expected a clip");
  if (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)) throw audio_error("is a device, expected a clip");
  if (S_ISSOCK(status->st_mode)) throw audio_error("is a socket, expected a clip");
  if (status->st_size == 0) throw unreadable("0 bytes");
}

// The recording without the ID3 tag before it; an mp3's own stays. Before a wav libsndfile takes it for some
// of the samples.
Recording untagged(Recording recording) {
  const std::uint64_t place = after_tags(*recording.content);
  if (place != 0 && is_tagless(magic_of(*recording.content, place))) {
    recording.content = part_of(recording.content, place);
  }
  return recording;
}

Recording of_content(ContentPtr content) {
  if (content->size() == 0) throw unreadable("0 bytes");
  return untagged({std::move(content), ""});
}

}  // namespace

Recording opened(const Path& path) {
  if (path.empty()) throw audio_error("not found, expected a clip");
  if (path.native().find('\0') != Path::string_type::npos) throw unreadable("embedded null byte");
  const Path plain = plain_path(path.string());
  const std::optional<struct stat> status = status_of(plain);
  if (status && S_ISFIFO(status->st_mode)) return of_content(in_memory(Pipe(plain).read_all()));
  require_file(status);
  return untagged({on_disk(plain), suffix_of(plain)});
}

Recording opened(const Bytes& bytes) { return of_content(borrowed(bytes)); }

}  // namespace mtab_core::audio
