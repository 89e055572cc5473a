#include "audio/truncation.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "audio/samples.hpp"

namespace mtab_core::audio {
namespace {

using namespace std::string_view_literals;

// A wav written to a pipe has 0 or 0xFFFFFFFF for a size, or a value near 0x7FFFFFFF of whole frames.
constexpr std::uint64_t kNoRiffSize = 0x7FFF'0000;
constexpr std::uint64_t kMaxOggPage = 65'307;
constexpr std::size_t kOggHead = 27;
constexpr std::uint64_t kExtensible = 0xFFFE;
constexpr std::uint64_t kMp3 = 0x55;

// A file of chunks: how it begins, where the first chunk does, the bytes of a chunk's name and of its size,
// what chunks are aligned to, whether a size counts the chunk's head, and the names of the samples' chunk.
struct Layout {
  std::string_view magic;
  std::uint64_t first;
  std::size_t name;
  std::size_t size;
  Order order;
  std::uint64_t align;
  std::array<std::string_view, 2> data;
  bool with_head = false;

  [[nodiscard]] bool holds_samples(std::string_view chunk) const {
    return chunk == data[0] || (!data[1].empty() && chunk == data[1]);
  }
};

constexpr std::array kLayouts = {
    Layout{"RIFF"sv, 12, 4, 4, Order::kLittle, 2, {"data"sv}},
    Layout{"RF64"sv, 12, 4, 4, Order::kLittle, 2, {"data"sv}},
    Layout{"BW64"sv, 12, 4, 4, Order::kLittle, 2, {"data"sv}},
    Layout{"RIFX"sv, 12, 4, 4, Order::kBig, 2, {"data"sv}},
    Layout{"riff"sv, 40, 16, 8, Order::kLittle, 8, {"data"sv}, true},
    Layout{"caff"sv, 8, 4, 8, Order::kBig, 1, {"data"sv}},
    Layout{"FORM"sv, 12, 4, 4, Order::kBig, 2, {"SSND"sv, "BODY"sv}},
    Layout{"Crea"sv, 26, 1, 3, Order::kLittle, 1, {"\x01"sv, "\x09"sv}},
};

const Layout* layout_of(std::string_view magic) {
  const auto* const found = std::find_if(kLayouts.begin(), kLayouts.end(),
                                         [magic](const Layout& each) { return each.magic == magic; });
  return found == kLayouts.end() ? nullptr : found;
}

// What a chunk of samples holds: from where on, how many bytes by its head, how many there are; less than
// none where the file ends before it.
struct Chunk {
  std::uint64_t offset;
  std::uint64_t promised;
  std::int64_t available;

  [[nodiscard]] std::uint64_t held() const {
    return available > 0 ? static_cast<std::uint64_t>(available) : 0;
  }
};

Chunk chunk_of(const Content& file, std::uint64_t offset, std::uint64_t promised) {
  return {offset, promised, static_cast<std::int64_t>(file.size()) - static_cast<std::int64_t>(offset)};
}

std::uint64_t sum(std::uint64_t a, std::uint64_t b) { return a + std::min(b, UINT64_MAX - a); }

std::uint64_t product(std::uint64_t a, std::uint64_t b) {
  return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

// From `no_size` on a size says that it is not known.
void require_all(const Chunk& chunk, std::uint64_t no_size) {
  const bool whole = chunk.available >= 0 && chunk.held() >= chunk.promised;
  if (whole || chunk.promised >= no_size) return;
  throw audio_error("truncated: holds " + std::to_string(chunk.held()) + " bytes of samples, expected " +
                    std::to_string(chunk.promised) + " by its header");
}

std::uint64_t no_size(std::size_t bytes) {
  if (bytes == 8) return std::uint64_t{1} << 62U;
  return (std::uint64_t{1} << 8 * bytes) - 1;
}

// The chunk of samples, if there is one, and the first bytes of the chunks before it that say what they are.
struct Chunks {
  std::optional<Chunk> samples;
  std::string form;
  std::string long_sizes;
};

Chunks chunks_of(const Content& file, const Layout& layout) {
  constexpr std::uint64_t kHead = 40;
  Chunks chunks;
  const std::size_t head_size = layout.name + layout.size;
  std::uint64_t place = layout.first;
  while (sum(place, head_size) <= file.size()) {
    const std::string head = file.bytes(place, head_size);
    const std::string name = head.substr(0, std::min<std::size_t>(layout.name, 4));
    std::uint64_t size =
        number(std::string_view(head).substr(std::min(layout.name, head.size())), layout.order);
    if (layout.with_head) size -= std::min<std::uint64_t>(size, head_size);
    const std::uint64_t offset = place + head_size;
    if (layout.holds_samples(name)) {
      chunks.samples = chunk_of(file, offset, size);
      break;
    }
    if (name == "fmt ") chunks.form = file.bytes(offset, std::min(size, kHead));
    if (name == "ds64") chunks.long_sizes = file.bytes(offset, std::min(size, kHead));
    place = sum(sum(offset, size), (layout.align - size % layout.align) % layout.align);
  }
  return chunks;
}

// `text` from `place` on, at most `count` bytes; nothing beyond its end.
std::string_view part(std::string_view text, std::size_t place, std::size_t count) {
  return place < text.size() ? text.substr(place, count) : std::string_view();
}

bool is_digit(char c) { return '0' <= c && c <= '9'; }
bool is_word(char c) { return is_digit(c) || c == '_' || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z'); }

// The number that digits write, or the greatest there is.
std::uint64_t decimal(std::string_view digits) {
  std::uint64_t value = 0;
  for (const char digit : digits) value = sum(product(value, 10), static_cast<std::uint64_t>(digit - '0'));
  return value;
}

template <typename Test>
std::string_view leading(std::string_view text, Test test) {
  const auto* const end = std::find_if_not(text.begin(), text.end(), test);
  return text.substr(0, static_cast<std::size_t>(end - text.begin()));
}

// The count of a line like "sample_count -i 16000".
std::optional<std::uint64_t> sphere_count(std::string_view line, std::string_view name) {
  if (line.substr(0, name.size()) != name) return std::nullopt;
  line.remove_prefix(name.size());
  if (line.substr(0, 2) != " -") return std::nullopt;
  line.remove_prefix(2);
  const std::string_view type = leading(line, is_word);
  line.remove_prefix(type.size());
  if (type.empty() || line.empty() || line[0] != ' ') return std::nullopt;
  const std::string_view digits = leading(line.substr(1), is_digit);
  if (digits.empty()) return std::nullopt;
  return decimal(digits);
}

// Where the samples of a NIST SPHERE begin.
std::uint64_t sphere_offset(const Content& file) {
  const auto space = [](char c) { return c == ' ' || ('\t' <= c && c <= '\r'); };
  const std::string field = file.bytes(8, 8);
  std::string_view size = field;
  size.remove_prefix(leading(size, space).size());
  while (!size.empty() && space(size.back())) size.remove_suffix(1);
  const bool digits = !size.empty() && leading(size, is_digit).size() == size.size();
  return digits ? decimal(size) : 1'024;
}

// The samples of a NIST SPHERE by the lines of its head; nothing where they are compressed.
std::optional<Chunk> sphere_samples(const Content& file) {
  const std::uint64_t offset = sphere_offset(file);
  const std::string head = file.bytes(0, static_cast<std::size_t>(offset));
  std::uint64_t count = 0;
  std::uint64_t bytes = 2;
  std::uint64_t channels = 1;
  for (std::string_view rest = head; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    constexpr std::string_view kCoding = "sample_coding ";
    if (line.substr(0, kCoding.size()) == kCoding &&
        line.find("embedded", kCoding.size()) != std::string_view::npos) {
      return std::nullopt;
    }
    count = sphere_count(line, "sample_count").value_or(count);
    bytes = sphere_count(line, "sample_n_bytes").value_or(bytes);
    channels = sphere_count(line, "channel_count").value_or(channels);
  }
  return chunk_of(file, offset, product(count, product(bytes, channels)));
}

// The samples of an AVR by its head of 128 bytes: mono or stereo, of 8 or 16 bits.
Chunk avr_samples(const Content& file) {
  const std::string head = file.bytes(12, 18);
  const std::uint64_t channels = part(head, 0, 2) == "\xFF\xFF" ? 2 : 1;
  const std::uint64_t bits = number(part(head, 2, 2), Order::kBig);
  const std::uint64_t count = number(part(head, 14, 4), Order::kBig);
  return chunk_of(file, 128, count * channels * bits / 8);
}

Chunk au_samples(const Content& file, Order order) {
  const std::string head = file.bytes(4, 8);
  return chunk_of(file, number(part(head, 0, 4), order), number(part(head, 4, 4), order));
}

// Calls `visit` with what lies at each place of a file, up to `ahead` bytes of it, until it returns false. It
// tells how many places it used up.
template <typename Visit>
void scan(const Content& file, std::size_t ahead, Visit visit) {
  constexpr std::size_t kBlock = std::size_t{1} << 16U;
  std::vector<char> block(kBlock + ahead);
  std::size_t skip = 0;
  for (std::uint64_t place = 0; place < file.size(); place += kBlock) {
    const std::string_view there(block.data(), file.read(place, block.data(), block.size()));
    std::size_t i = skip;
    while (i < std::min(kBlock, there.size())) {
      const std::size_t used = visit(there.substr(i, ahead));
      if (used == 0) return;
      i += used;
    }
    skip = i - std::min(i, kBlock);
  }
}

// Whether an ogg's pages begin a stream again behind one that does not.
bool is_ogg_chain(const Content& file) {
  constexpr std::string_view kPage = "OggS\0"sv;
  constexpr unsigned kAllFlags = 7;
  constexpr unsigned kFirst = 2;
  bool later = false;
  bool again = false;
  scan(file, kPage.size() + 1, [&](std::string_view bytes) -> std::size_t {
    if (bytes.size() <= kPage.size() || bytes.substr(0, kPage.size()) != kPage) return 1;
    const auto flags = static_cast<unsigned char>(bytes.back());
    if (flags > kAllFlags) return 1;
    const bool first = (flags & kFirst) != 0;
    again = later && first;
    later = later || !first;
    return again ? 0 : bytes.size();
  });
  return again;
}

// How long the beginning of an mp3 frame with a Xing header is; 0 where `bytes` are none.
std::size_t xing_frame(std::string_view bytes) {
  if (bytes.size() < 2 || bytes[0] != '\xFF' || static_cast<unsigned char>(bytes[1]) < 0xE2) return 0;
  // Where in a frame the header is depends on its version and channels.
  for (const std::size_t between : {15U, 11U, 19U, 34U}) {
    const std::string_view name = part(bytes, 2 + between, 4);
    if (name == "Xing" || name == "Info") return 2 + between + 4;
  }
  return 0;
}

}  // namespace

void require_whole(const ContentPtr& file) {
  const std::string magic = magic_of(*file);
  if (is_wav(magic) || magic == "BW64") {
    whole_wav(file);
  } else if (const Layout* layout = layout_of(magic)) {
    if (const auto samples = chunks_of(*file, *layout).samples) require_all(*samples, no_size(layout->size));
  } else if (magic == ".snd" || magic == "dns.") {
    require_all(au_samples(*file, magic == ".snd" ? Order::kBig : Order::kLittle), no_size(4));
  } else if (magic == "NIST") {
    if (const auto samples = sphere_samples(*file)) require_all(*samples, no_size(8));
  } else if (magic == "2BIT") {
    require_all(avr_samples(*file), no_size(4));
  } else if (magic == "OggS") {
    whole_ogg(file);
  }
}

std::string magic_of(const Content& file, std::uint64_t place) { return file.bytes(place, 4); }

bool is_tagless(const std::string& magic) {
  return layout_of(magic) != nullptr || magic == ".snd" || magic == "dns." || magic == "OggS" ||
         magic == "fLaC";
}

bool is_wav(const std::string& magic) { return magic == "RIFF" || magic == "RIFX" || magic == "RF64"; }

std::uint64_t after_tags(const Content& file) {
  constexpr std::size_t kHead = 10;
  constexpr unsigned kFoot = 0x10;
  std::uint64_t place = 0;
  for (;;) {
    const std::string head = file.bytes(place, kHead);
    if (part(head, 0, 3) != "ID3") return place;
    // Four times seven bits, without the tag's head and, where one is flagged, its foot.
    std::uint64_t size = 0;
    for (const char byte : part(head, 6, 4)) size = (size << 7U) + static_cast<unsigned char>(byte);
    const bool foot = head.size() > 5 && (static_cast<unsigned char>(head[5]) & kFoot) != 0;
    place += kHead + size + (foot ? kHead : 0);
  }
}

bool is_chain(const Content& file) {
  if (magic_of(file) == "OggS") return is_ogg_chain(file);
  if (!has_xing(file)) return false;
  constexpr std::size_t kLongest = 40;
  unsigned found = 0;
  scan(file, kLongest, [&found](std::string_view bytes) -> std::size_t {
    const std::size_t size = xing_frame(bytes);
    if (size == 0) return 1;
    return ++found > 1 ? 0 : size;
  });
  return found > 1;
}

ContentPtr whole_wav(const ContentPtr& file) {
  const Layout* layout = layout_of(magic_of(*file));
  if (layout == nullptr) return file;
  const Chunks chunks = chunks_of(*file, *layout);
  if (!chunks.samples) return file;  // libsndfile says what is wrong with it
  const Chunk& samples = *chunks.samples;
  const std::uint64_t riff_end = number(file->bytes(4, 4), layout->order) + 8;
  // A size of 0 may be true: then the file is at its end, or RIFF's own size counts another chunk.
  const bool counts_another = samples.offset < riff_end && riff_end < kNoRiffSize;
  const bool unsized = samples.promised == 0 && samples.held() != 0 && !counts_another;
  const std::string_view long_size = part(chunks.long_sizes, 8, 8);
  const std::uint64_t size = long_size.empty() ? samples.promised : number(long_size, Order::kLittle);
  const bool sized = !long_size.empty() || !(unsized || size >= kNoRiffSize);
  if (sized) require_all({samples.offset, size, samples.available}, UINT64_MAX);
  std::uint64_t code = number(part(chunks.form, 0, 2), layout->order);
  if (code == kExtensible) code = number(part(chunks.form, 24, 2), layout->order);
  if (code == kMp3) return part_of(file, samples.offset, sized ? size : UINT64_MAX);
  if (!unsized) return file;
  const auto written = static_cast<std::uint32_t>(std::min<std::uint64_t>(samples.held(), UINT32_MAX));
  return patched(file, samples.offset - 4, four_bytes(written, layout->order));
}

ContentPtr whole_ogg(const ContentPtr& file) {
  constexpr unsigned kLast = 4;
  const std::uint64_t tail_size = std::min(file->size(), 2 * kMaxOggPage);
  const std::uint64_t tail_begin = file->size() - tail_size;
  const std::string tail = file->bytes(tail_begin, static_cast<std::size_t>(tail_size));
  const std::size_t found = tail.rfind("OggS");
  const std::size_t begin = found == std::string::npos ? 0 : found;
  const std::string_view page = std::string_view(tail).substr(begin);
  if (page.size() >= kOggHead) {
    const auto byte = [page](std::size_t i) { return static_cast<unsigned char>(page[i]); };
    std::size_t size = kOggHead + byte(kOggHead - 1);
    for (const char segment : part(page, kOggHead, byte(kOggHead - 1))) {
      size += static_cast<unsigned char>(segment);
    }
    if (page.size() >= size && (byte(5) & kLast) != 0) return part_of(file, 0, tail_begin + begin + size);
  }
  throw audio_error("truncated: its last Ogg page is not the end of the stream, expected a whole file");
}

bool has_xing(const Content& file) {
  const std::string frame = file.bytes(after_tags(file), 64);
  const auto place = [&frame](const char* name) {
    const std::size_t found = frame.find(name);
    return found == std::string::npos ? 0 : found;
  };
  const std::string_view header = std::string_view(frame).substr(std::max(place("Xing"), place("Info")));
  const std::string_view name = part(header, 0, 4);
  const std::uint64_t flags = number(part(header, 4, 4), Order::kBig);
  const std::uint64_t frames = number(part(header, 8, 4), Order::kBig);
  return (name == "Xing" || name == "Info") && (flags & 1U) != 0 && frames != 0;
}

}  // namespace mtab_core::audio
