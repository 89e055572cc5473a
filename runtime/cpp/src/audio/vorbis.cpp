#include "audio/vorbis.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "audio/samples.hpp"

namespace mtab_core::audio {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kHead = 27;
constexpr std::size_t kChecksum = 22;
constexpr unsigned kContinued = 1;
constexpr unsigned kFirst = 2;

Error malformed() { return unreadable("Supported file format but file is malformed"); }

std::uint32_t checksum(std::string_view bytes) {
  constexpr std::uint32_t kPolynomial = 0x04C1'1DB7;
  constexpr std::uint32_t kTop = 0x8000'0000;
  std::uint32_t sum = 0;
  for (const char byte : bytes) {
    sum ^= std::uint32_t{static_cast<unsigned char>(byte)} << 24U;
    for (int bit = 0; bit < 8; ++bit) sum = (sum & kTop) != 0 ? sum << 1U ^ kPolynomial : sum << 1U;
  }
  return sum;
}

// A whole page of an ogg.
class Page {
 public:
  // Nothing where a file has no valid page at `place`.
  static std::optional<Page> read(const Content& file, std::uint64_t place) {
    std::string bytes = file.bytes(place, kHead);
    if (bytes.size() < kHead || bytes.compare(0, 5, "OggS\0"sv) != 0) return std::nullopt;
    const std::size_t count = static_cast<unsigned char>(bytes.back());
    const std::string sizes = file.bytes(place + kHead, count);
    if (sizes.size() < count) return std::nullopt;
    std::size_t body = 0;
    for (const char size : sizes) body += static_cast<unsigned char>(size);
    bytes = file.bytes(place, kHead + count + body);
    if (bytes.size() < kHead + count + body) return std::nullopt;
    const std::uint64_t expected = number(std::string_view(bytes).substr(kChecksum, 4), Order::kLittle);
    bytes.replace(kChecksum, 4, 4, '\0');
    if (checksum(bytes) != expected) return std::nullopt;
    return Page(std::move(bytes), count);
  }

  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] bool is(unsigned flag) const { return (static_cast<unsigned char>(bytes_[5]) & flag) != 0; }
  [[nodiscard]] std::uint64_t stream() const { return field(14); }
  [[nodiscard]] std::uint32_t place_in_stream() const { return static_cast<std::uint32_t>(field(18)); }
  // The sizes of its segments: one of less than 255 bytes ends a packet.
  [[nodiscard]] std::string_view segments() const { return view().substr(kHead, count_); }
  [[nodiscard]] std::string_view body() const { return view().substr(kHead + count_); }

 private:
  Page(std::string bytes, std::size_t count) : bytes_(std::move(bytes)), count_(count) {}

  [[nodiscard]] std::string_view view() const { return bytes_; }
  [[nodiscard]] std::uint64_t field(std::size_t place) const {
    return number(view().substr(place, 4), Order::kLittle);
  }

  std::string bytes_;
  std::size_t count_;
};

// How many packets end on a page; the rest of one that began on a page that is not there is none.
int packets_of(const Page& page, bool within_packet) {
  std::string_view segments = page.segments();
  const auto ends = [](char size) { return size != '\xFF'; };
  if (page.is(kContinued) && !within_packet) {
    const auto* const end = std::find_if(segments.begin(), segments.end(), ends);
    segments.remove_prefix(std::min(segments.size(), static_cast<std::size_t>(end - segments.begin()) + 1));
  }
  return static_cast<int>(std::count_if(segments.begin(), segments.end(), ends));
}

bool ends_within_packet(const Page& page, bool within_packet) {
  return page.segments().empty() ? within_packet : page.segments().back() == '\xFF';
}

// Whether the identification header says what Vorbis can be.
bool is_identification(std::string_view packet) {
  if (packet.size() < 30) return false;
  const auto byte = [packet](std::size_t i) { return static_cast<unsigned char>(packet[i]); };
  const std::uint64_t version = number(packet.substr(7, 4), Order::kLittle);
  const auto rate = static_cast<std::int32_t>(number(packet.substr(12, 4), Order::kLittle));
  const unsigned short_block = byte(28) & 0xFU;
  const unsigned long_block = byte(28) >> 4U;
  return version == 0 && byte(11) >= 1 && rate >= 1 && 6 <= short_block && short_block <= long_block &&
         long_block <= 13 && (byte(29) & 1U) != 0;
}

}  // namespace

void require_vorbis_headers(const Content& file) {
  constexpr int kHeaders = 3;
  const std::optional<Page> first = Page::read(file, 0);
  if (!first) throw malformed();
  if (first->body().substr(0, 7) != "\x01vorbis") return;
  int packets = packets_of(*first, false);
  if (!first->is(kFirst) || packets != 1 || !is_identification(first->body())) throw malformed();
  bool within_packet = ends_within_packet(*first, false);
  std::uint32_t expected = first->place_in_stream();
  for (std::uint64_t place = first->size(); packets < kHeaders;) {
    const std::optional<Page> page = Page::read(file, place);
    if (!page) throw malformed();
    place += page->size();
    if (page->stream() != first->stream()) continue;
    if (page->place_in_stream() != ++expected) throw malformed();
    packets += packets_of(*page, within_packet);
    within_packet = ends_within_packet(*page, within_packet);
  }
}

}  // namespace mtab_core::audio
