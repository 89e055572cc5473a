// The bytes of a clip, wherever they lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "audio/audio.hpp"

namespace mtab_core::audio {

class Content {
 public:
  Content() = default;
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;
  virtual ~Content() = default;

  [[nodiscard]] virtual std::uint64_t size() const = 0;
  // Fill `data` with `count` bytes from `place` on; returns how many there were, fewer at the end alone.
  // Throws AudioError if the system cannot read them.
  virtual std::size_t read(std::uint64_t place, char* data, std::size_t count) const = 0;

  // Up to `count` bytes from `place` on.
  [[nodiscard]] std::string bytes(std::uint64_t place, std::size_t count) const;
};

using ContentPtr = std::shared_ptr<const Content>;

// The caller's bytes, which are not copied.
ContentPtr borrowed(const Bytes& bytes);
ContentPtr in_memory(std::string bytes);
// A file on a disk. Throws AudioError if it cannot be opened.
ContentPtr on_disk(const Path& path);
// The bytes of `whole` from `place` on, at most `count` of them.
ContentPtr part_of(ContentPtr whole, std::uint64_t place, std::uint64_t count = UINT64_MAX);
// The same bytes, but for `patch` at `place`.
ContentPtr patched(ContentPtr whole, std::uint64_t place, std::string patch);

enum class Order { kLittle, kBig };

// A whole number of up to eight bytes.
std::uint64_t number(std::string_view bytes, Order order);
// The four bytes that `value` is written as.
std::string four_bytes(std::uint32_t value, Order order);

}  // namespace mtab_core::audio
