#include "text/tokenizer.hpp"

#include <optional>
#include <system_error>
#include <utility>
#include <variant>

#include "error.hpp"
#include "json.hpp"
#include "text/added_tokens.hpp"
#include "text/bert.hpp"
#include "text/bpe.hpp"
#include "text/byte_level.hpp"
#include "text/fields.hpp"
#include "text/post_processor.hpp"
#include "text/wordpiece.hpp"

namespace mtab_core {
namespace {

struct ByteLevelBpe {
  ByteLevel words;
  Bpe model;
};

// A tokenizer of another version, say, or one with a step that is not known here.
std::string model_type(const Fields& model) {
  const std::string type = model.type();
  if (!type.empty()) return type;
  // Old files do not say it.
  return model.find("merges") != nullptr ? "BPE" : "WordPiece";
}

// A field that holds a step, or a sequence of no more than one; nothing if there is none.
std::optional<Fields> step(const Fields& file, const char* name, const char* steps, const std::string& kind) {
  if (file.find(name) == nullptr) return std::nullopt;
  const Fields fields = file.part(name);
  if (fields.type() != "Sequence") return fields;
  const Json& list = fields.list(steps);
  if (list.empty()) return std::nullopt;
  if (list.size() > 1) file.refuse(kind + " with several steps in its " + name);
  return Fields(list[0], file.file(), std::string(name) + "." + steps);
}

std::optional<BertNormalizer> normalizer_of(const Fields& file, const std::string& kind) {
  const auto fields = step(file, "normalizer", "normalizers", kind);
  if (!fields) return std::nullopt;
  if (fields->type() != "BertNormalizer")
    file.refuse(kind + " with the normalizer " + clipped(fields->type()));
  return BertNormalizer(*fields);
}

using Model = std::variant<ByteLevelBpe, WordPiece>;

Model model_of(const Fields& file, const Fields& fields, const Vocabulary& vocabulary,
               const std::string& kind) {
  const char* const expected = kind == "BPE" ? "ByteLevel" : "BertPreTokenizer";
  const auto words = step(file, "pre_tokenizer", "pretokenizers", kind);
  if (!words) file.refuse(kind + " without " + expected);
  if (words->type() != expected) file.refuse(kind + " with the pre-tokenizer " + clipped(words->type()));
  if (kind == "BPE") return ByteLevelBpe{ByteLevel(*words), Bpe(fields, vocabulary)};
  return WordPiece(fields, vocabulary);
}

// The ids of one text, no more than are needed to know that it is too long.
class Encoding {
 public:
  Encoding(const Model& model, std::vector<std::int64_t> before, std::size_t most)
      : model_(model), ids_(std::move(before)), first_(ids_.size()), most_(most) {}

  [[nodiscard]] bool too_long() const { return ids_.size() - first_ > most_; }

  void add(const Piece& piece) {
    if (piece.id) {
      ids_.push_back(*piece.id);
    } else {
      std::visit([&](const auto& model) { add_words(model, piece.text); }, model_);
    }
  }

  [[nodiscard]] Tokens finished(const std::vector<std::int64_t>& after) && {
    const bool truncated = too_long();
    if (truncated) ids_.resize(first_ + most_);
    ids_.insert(ids_.end(), after.begin(), after.end());
    return {std::move(ids_), truncated};
  }

 private:
  void add_words(const ByteLevelBpe& bpe, std::string_view text) {
    std::string spaced;
    if (bpe.words.add_prefix_space && text[0] != ' ') {
      spaced.append(" ").append(text);
      text = spaced;
    }
    for (std::size_t start = 0; start < text.size() && !too_long();) {
      const std::size_t length = bpe.words.use_regex ? word_length(text, start) : text.size();
      bpe.model.encode(text.substr(start, length), scratch_, ids_);
      start += length;
    }
  }

  void add_words(const WordPiece& model, std::string_view text) {
    for (std::size_t at = 0; !too_long();) {
      const std::string_view word = next_bert_word(text, at);
      if (word.empty()) break;
      model.encode(word, ids_);
    }
  }

  const Model& model_;
  std::vector<std::int64_t> ids_;
  std::size_t first_;
  std::size_t most_;
  Bpe::Scratch scratch_;
};

std::string content_of(const Path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    throw Error(MTAB_CONFIG_ERROR, path.string() + ": not found, expected a tokenizer.json");
  }
  try {
    return read_file(path);
  } catch (const std::system_error& error) {
    throw Error(MTAB_CONFIG_ERROR, path.string() + ": is no tokenizer.json (" + error.code().message() + ")");
  }
}

}  // namespace

struct Tokenizer::Parts {
  std::optional<BertNormalizer> normalizer;
  AddedVocabulary added;
  Model model;
  SpecialTokens special;
  // Without the special ones.
  std::size_t most = 0;

  [[nodiscard]] std::string normalized(std::string_view text) const {
    return normalizer ? (*normalizer)(text) : std::string(text);
  }
};

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(const Path& path, std::size_t max_tokens)
    : Tokenizer(parse(content_of(path), path.string(), max_tokens)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::parse(std::string_view content, const std::string& name, std::size_t max_tokens) {
  const Json json = parse_json(content, name + ": is no tokenizer.json");
  const Fields file(json, name, "");
  if (file.find("version") != nullptr && file.text("version") != "1.0") {
    file.broken("version " + in_quotes(file.text("version")) + ", expected '1.0'");
  }
  const Fields fields = file.part("model");
  const std::string kind = model_type(fields);
  if (kind != "BPE" && kind != "WordPiece") file.refuse(clipped(kind));
  const Vocabulary vocabulary = vocabulary_of(fields);
  auto normalizer = normalizer_of(file, kind);
  AddedVocabulary added(file, vocabulary, [&normalizer](const std::string& text) {
    return normalizer ? (*normalizer)(text) : text;
  });
  Model model = model_of(file, fields, vocabulary, kind);
  SpecialTokens special = special_tokens(file);
  if (max_tokens <= special.size()) {
    throw Error(MTAB_CONFIG_ERROR, name + ": at most " + std::to_string(max_tokens) +
                                       " tokens, expected more than its " + std::to_string(special.size()) +
                                       " special ones");
  }
  const std::size_t most = max_tokens - special.size();
  return Tokenizer(std::make_unique<const Parts>(
      Parts{std::move(normalizer), std::move(added), std::move(model), std::move(special), most}));
}

Tokens Tokenizer::operator()(std::string_view text) const {
  const Parts& parts = *parts_;
  Encoding encoding(parts.model, parts.special.before, parts.most);
  for (const Piece& piece : parts.added.verbatim.split(text)) {
    if (encoding.too_long()) break;
    if (piece.id) {
      encoding.add(piece);
      continue;
    }
    const std::string normalized = parts.normalized(piece.text);
    for (const Piece& part : parts.added.normalized.split(normalized)) {
      if (encoding.too_long()) break;
      encoding.add(part);
    }
  }
  return std::move(encoding).finished(parts.special.after);
}

}  // namespace mtab_core
