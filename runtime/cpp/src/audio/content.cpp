#include "audio/content.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "audio/samples.hpp"

namespace mtab_core::audio {
namespace {

// The part of `count` bytes from `place` on that lies within `size` bytes.
std::size_t within(std::uint64_t size, std::uint64_t place, std::size_t count) {
  if (place >= size) return 0;
  return static_cast<std::size_t>(std::min<std::uint64_t>(count, size - place));
}

class Borrowed : public Content {
 public:
  explicit Borrowed(const Bytes& bytes) : bytes_(bytes) {}

  [[nodiscard]] std::uint64_t size() const override { return bytes_.size; }

  std::size_t read(std::uint64_t place, char* data, std::size_t count) const override {
    const std::size_t there = within(bytes_.size, place, count);
    if (there != 0) std::memcpy(data, static_cast<const char*>(bytes_.data) + place, there);
    return there;
  }

 private:
  Bytes bytes_;
};

class Owned : public Content {
 public:
  explicit Owned(std::string bytes) : bytes_(std::move(bytes)) {}

  [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }

  std::size_t read(std::uint64_t place, char* data, std::size_t count) const override {
    const std::size_t there = within(bytes_.size(), place, count);
    if (there != 0) std::memcpy(data, bytes_.data() + place, there);
    return there;
  }

 private:
  std::string bytes_;
};

class OnDisk : public Content {
 public:
  // Not to block, should a pipe have taken the file's place.
  explicit OnDisk(const Path& path) : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (number_ < 0) throw unreadable_by_system(errno);
    struct stat status {};
    if (::fstat(number_, &status) != 0) {
      const int reason = errno;
      ::close(number_);
      throw unreadable_by_system(reason);
    }
    size_ = status.st_size > 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
  }
  ~OnDisk() override { ::close(number_); }

  [[nodiscard]] std::uint64_t size() const override { return size_; }

  std::size_t read(std::uint64_t place, char* data, std::size_t count) const override {
    const std::size_t there = within(size_, place, count);
    std::size_t done = 0;
    while (done < there) {
      const ssize_t got = ::pread(number_, data + done, there - done, static_cast<off_t>(place + done));
      if (got == 0) break;
      if (got > 0) {
        done += static_cast<std::size_t>(got);
      } else if (errno != EINTR) {
        throw unreadable_by_system(errno);
      }
    }
    return done;
  }

 private:
  int number_;
  std::uint64_t size_ = 0;
};

class PartOf : public Content {
 public:
  PartOf(ContentPtr whole, std::uint64_t place, std::uint64_t count) : whole_(std::move(whole)) {
    place_ = std::min(place, whole_->size());
    size_ = std::min(count, whole_->size() - place_);
  }

  [[nodiscard]] std::uint64_t size() const override { return size_; }

  std::size_t read(std::uint64_t place, char* data, std::size_t count) const override {
    const std::size_t there = within(size_, place, count);
    return there == 0 ? 0 : whole_->read(place_ + place, data, there);
  }

 private:
  ContentPtr whole_;
  std::uint64_t place_;
  std::uint64_t size_;
};

class Patched : public Content {
 public:
  Patched(ContentPtr whole, std::uint64_t place, std::string patch)
      : whole_(std::move(whole)), place_(place), patch_(std::move(patch)) {}

  [[nodiscard]] std::uint64_t size() const override { return whole_->size(); }

  std::size_t read(std::uint64_t place, char* data, std::size_t count) const override {
    const std::size_t there = whole_->read(place, data, count);
    const std::uint64_t first = std::max(place, place_);
    const std::uint64_t last = std::min(place + there, place_ + patch_.size());
    if (first < last) std::memcpy(data + (first - place), patch_.data() + (first - place_), last - first);
    return there;
  }

 private:
  ContentPtr whole_;
  std::uint64_t place_;
  std::string patch_;
};

}  // namespace

std::string Content::bytes(std::uint64_t place, std::size_t count) const {
  // No more than there is: `count` may be what a file says.
  std::string found(within(size(), place, count), '\0');
  found.resize(read(place, found.data(), found.size()));
  return found;
}

ContentPtr borrowed(const Bytes& bytes) { return std::make_shared<Borrowed>(bytes); }

ContentPtr in_memory(std::string bytes) { return std::make_shared<Owned>(std::move(bytes)); }

ContentPtr on_disk(const Path& path) { return std::make_shared<OnDisk>(path); }

ContentPtr part_of(ContentPtr whole, std::uint64_t place, std::uint64_t count) {
  return std::make_shared<PartOf>(std::move(whole), place, count);
}

ContentPtr patched(ContentPtr whole, std::uint64_t place, std::string patch) {
  return std::make_shared<Patched>(std::move(whole), place, std::move(patch));
}

std::uint64_t number(std::string_view bytes, Order order) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t place = order == Order::kBig ? i : bytes.size() - 1 - i;
    value = value << 8U | static_cast<unsigned char>(bytes[place]);
  }
  return value;
}

std::string four_bytes(std::uint32_t value, Order order) {
  std::string bytes;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned shift = 8 * (order == Order::kBig ? 3 - i : i);
    bytes += static_cast<char>(value >> shift & 0xFFU);
  }
  return bytes;
}

}  // namespace mtab_core::audio
