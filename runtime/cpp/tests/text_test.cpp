// The tokenizer: the ids of the Python package `tokenizers` (golden files by write_text_golden.py), small
// cases worked by hand, and what is refused.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "error.hpp"
#include "json.hpp"
#include "text/tokenizer.hpp"
#include "text/unicode.hpp"

namespace mtab_core {
namespace {

using Ids = std::vector<std::int64_t>;

// ---- Golden files

Path golden() {
  const char* const folder = std::getenv("MTAB_GOLDEN");
  return folder == nullptr ? Path() : Path(folder) / "text";
}

std::string bytes_of_ids(const Ids& ids) {
  std::string bytes;
  for (const std::int64_t id : ids) {
    for (unsigned shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(id >> shift & 0xFF);
  }
  return bytes;
}

std::string form_of_range(char32_t first, char32_t last, const std::string& form) {
  const std::size_t place = form.find("{}");
  std::string text;
  for (char32_t c = first; c <= last; ++c) {
    std::string one = form;
    std::string character;
    unicode::append(character, c);
    for (std::size_t at = place; at != std::string::npos; at = one.find("{}", at + character.size())) {
      one.replace(at, 2, character);
    }
    text += one;
  }
  return text;
}

// A line is [text, ids, truncated], or [first, last, form, number of ids, hash of the ids].
::testing::AssertionResult same(const Tokenizer& tokenizer, const Json& line) {
  const bool sweep = line[0].is_number();
  const std::string text = sweep ? form_of_range(line[0].get<char32_t>(), line[1].get<char32_t>(), line[2])
                                 : line[0].get<std::string>();
  const Tokens found = tokenizer(text);
  const bool right = sweep ? found.ids.size() == line[3].get<std::size_t>() &&
                                 sha256(bytes_of_ids(found.ids)).substr(0, 16) == line[4].get<std::string>()
                           : found.ids == line[1].get<Ids>() && found.truncated == line[2].get<bool>();
  if (right) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << Json(text).dump() << " gives " << Json(found.ids).dump() << (found.truncated ? " truncated" : "")
         << ", expected " << line.dump();
}

TEST(Golden, IdsAreThoseOfTokenizers) {
  if (golden().empty()) GTEST_SKIP() << "MTAB_GOLDEN is not set";
  std::size_t count = 0;
  for (const Json& entry : read_json(golden() / "index.json")) {
    const std::string lines = entry["lines"];
    const Tokenizer tokenizer(golden() / entry["tokenizer"].get<std::string>(),
                              entry["max_tokens"].get<std::size_t>());
    std::ifstream file(golden() / lines);
    int wrong = 0;
    for (std::string line; std::getline(file, line); ++count) {
      const auto result = same(tokenizer, Json::parse(line));
      if (!result) {
        ADD_FAILURE() << lines << ": " << result.message();
        if (++wrong == 5) break;
      }
    }
  }
  EXPECT_GE(count, 100000U);
}

// ---- Tokenizers that are written here

Json bpe() {
  return Json::parse(R"({
    "version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": true,
                       "add_prefix_space": false},
    "model": {"type": "BPE", "unk_token": "?",
              "vocab": {"<s>": 0, "</s>": 1, "?": 2, "a": 3, "b": 4, "c": 5, "Ġ": 6, "ab": 7, "bc": 8, "Ġa": 9,
                        "abc": 10, "'": 11, "s": 12, "'s": 13, "Ã": 14, "©": 15, "Ã©": 16, "aa": 17},
              "merges": [["b", "c"], ["a", "b"], ["a", "bc"], ["Ġ", "a"], ["'", "s"], ["Ã", "©"], ["a", "a"]]}
  })");
}

Json wordpiece() {
  return Json::parse(R"({
    "version": "1.0",
    "added_tokens": [{"id": 9, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                   "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 8,
              "vocab": {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "un": 3, "##able": 4, "##aff": 5, "cafe": 6, ",": 7,
                        "u": 8, "的": 9, "[": 10, "]": 11, "sep": 12}}
  })");
}

Json added(const std::string& content) {
  return {{"id", 99},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", false}};
}

Tokenizer made(const Json& json, std::size_t max_tokens = 100) {
  return Tokenizer::parse(json.dump(), "tokenizer.json", max_tokens);
}

std::string message_of(const std::string& content, std::size_t max_tokens = 100) {
  try {
    Tokenizer::parse(content, "tokenizer.json", max_tokens);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), MTAB_CONFIG_ERROR);
    return error.message();
  }
  return "loaded";
}

std::string message_of(const Json& json) { return message_of(json.dump()); }

TEST(Bpe, MergesByRankAndThenFromTheLeft) {
  const Tokenizer tokenizer = made(bpe());
  EXPECT_EQ(tokenizer("abc").ids, (Ids{0, 10, 1}));
  EXPECT_EQ(tokenizer("ab").ids, (Ids{0, 7, 1}));
  EXPECT_EQ(tokenizer("aaa").ids, (Ids{0, 17, 3, 1}));
  EXPECT_EQ(tokenizer("a a  a").ids, (Ids{0, 3, 9, 6, 9, 1}));
  EXPECT_EQ(tokenizer("a's").ids, (Ids{0, 3, 13, 1}));
  EXPECT_EQ(tokenizer("é").ids, (Ids{0, 16, 1}));
  EXPECT_EQ(tokenizer("").ids, (Ids{0, 1}));
}

TEST(Bpe, UnknownBytesAreTheUnknownTokenOrNothing) {
  Json json = bpe();
  EXPECT_EQ(made(json)("xay").ids, (Ids{0, 2, 3, 2, 1}));
  EXPECT_EQ(made(json)("xx").ids, (Ids{0, 2, 2, 1}));
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(made(json)("xxa").ids, (Ids{0, 2, 3, 1}));
  json["model"]["unk_token"] = nullptr;
  EXPECT_EQ(made(json)("xxa").ids, (Ids{0, 3, 1}));
}

TEST(Bpe, TakesAWordWholeWhereMergesAreIgnored) {
  Json json = bpe();
  json["model"]["vocab"]["cab"] = 20;
  EXPECT_EQ(made(json)("cab").ids, (Ids{0, 5, 7, 1}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(made(json)("cab cab").ids, (Ids{0, 20, 6, 5, 7, 1}));
}

TEST(Bpe, ReadsOldFiles) {
  Json json = bpe();
  json["model"].erase("type");
  json["model"]["merges"] = {"#version: 0.2", "b c", "a b", "a bc"};
  json["pre_tokenizer"].erase("use_regex");
  EXPECT_EQ(made(json)("abc").ids, (Ids{0, 10, 1}));
}

TEST(Bpe, PutsASpaceBeforeTheText) {
  Json json = bpe();
  json["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_EQ(made(json)("a").ids, (Ids{0, 9, 1}));
  EXPECT_EQ(made(json)(" a").ids, (Ids{0, 9, 1}));
  EXPECT_EQ(made(json)("").ids, (Ids{0, 1}));
}

TEST(Bpe, ALongWordIsNotQuadratic) {
  const Tokenizer tokenizer = made(bpe(), 1000000);
  EXPECT_EQ(tokenizer(std::string(300000, 'a')).ids.size(), 150002U);
  EXPECT_EQ(tokenizer(std::string(300000, ' ')).ids.size(), 300002U);
}

TEST(WordPiece, TakesTheLongestPieces) {
  const Tokenizer tokenizer = made(wordpiece());
  EXPECT_EQ(tokenizer("UNAFFable").ids, (Ids{0, 2, 1})) << "nine characters are too many";
  EXPECT_EQ(tokenizer("Unable, caf\u00c9").ids, (Ids{0, 3, 4, 7, 6, 1}));
  EXPECT_EQ(tokenizer("unaff unx").ids, (Ids{0, 3, 5, 2, 1}));
  EXPECT_EQ(tokenizer("u的u").ids, (Ids{0, 8, 9, 8, 1}));
  EXPECT_EQ(tokenizer(std::string("u\0n\u200b", 6)).ids, (Ids{0, 3, 1})) << "control characters are dropped";
}

TEST(WordPiece, SpecialTokensInATextAreCharacters) {
  EXPECT_EQ(made(wordpiece())("un[SEP]un").ids, (Ids{0, 3, 10, 12, 11, 3, 1}));
}

TEST(WordPiece, ALongWordIsNotQuadratic) {
  Json json = wordpiece();
  json["model"]["max_input_chars_per_word"] = 1000000000;
  json["model"]["vocab"]["##u"] = 13;
  EXPECT_EQ(made(json, 1000000)(std::string(300000, 'u')).ids.size(), 300002U);
}

TEST(AddedTokens, AreFoundInTheText) {
  Json json = bpe();
  json["added_tokens"] = Json::array({added("<x>")});
  EXPECT_EQ(made(json)("a<x>b").ids, (Ids{0, 3, 18, 4, 1})) << "the id is the next one, not the file's";
  json["added_tokens"][0]["special"] = true;
  EXPECT_EQ(made(json)("a<x>b").ids, (Ids{0, 3, 2, 2, 2, 4, 1}));
}

TEST(AddedTokens, TakeWhiteSpaceAlong) {
  Json json = bpe();
  json["added_tokens"] = Json::array({added("x")});
  json["added_tokens"][0]["lstrip"] = true;
  json["added_tokens"][0]["rstrip"] = true;
  EXPECT_EQ(made(json)("a  x  a").ids, (Ids{0, 3, 18, 3, 1}));
}

TEST(AddedTokens, StandAloneWhereTheyMust) {
  Json json = bpe();
  json["added_tokens"] = Json::array({added("c")});
  json["added_tokens"][0]["single_word"] = true;
  EXPECT_EQ(made(json)("c'c abc").ids, (Ids{0, 5, 11, 5, 6, 10, 1}));
  json["model"]["vocab"]["?"] = 30;
  EXPECT_EQ(made(json)("éc").ids, (Ids{0, 16, 5, 1}));
}

TEST(AddedTokens, AreNormalizedWhereTheyMust) {
  Json json = wordpiece();
  json["added_tokens"] = Json::array({added("X\u00c9")});
  json["added_tokens"][0]["normalized"] = true;
  EXPECT_EQ(made(json)("unxe\u0301un").ids, (Ids{0, 3, 13, 3, 1}));
}

TEST(Truncation, KeepsTheSpecialTokens) {
  const Tokenizer tokenizer = made(bpe(), 4);
  EXPECT_EQ(tokenizer("a").ids, (Ids{0, 3, 1}));
  EXPECT_FALSE(tokenizer("ac").truncated);
  EXPECT_EQ(tokenizer("ac").ids, (Ids{0, 3, 5, 1}));
  EXPECT_TRUE(tokenizer("cac").truncated);
  EXPECT_EQ(tokenizer("cac").ids, (Ids{0, 5, 3, 1}));
  EXPECT_TRUE(tokenizer("ac c c").truncated);
}

TEST(Threads, ShareATokenizer) {
  const Tokenizer tokenizer = made(bpe());
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int& count : wrong) {
    threads.emplace_back([&tokenizer, &count] {
      for (int round = 0; round < 2000; ++round)
        count += tokenizer("abc ab é").ids != Ids{0, 10, 6, 7, 6, 16, 1};
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

// ---- What is refused

TEST(Refused, MissingFiles) {
  const auto message = [](const Path& path) -> std::string {
    try {
      Tokenizer(path, 10);
    } catch (const Error& error) {
      return error.message();
    }
    return "loaded";
  };
  EXPECT_EQ(message("nowhere/tokenizer.json"),
            "nowhere/tokenizer.json: not found, expected a tokenizer.json");
  EXPECT_EQ(message("/"), "/: not found, expected a tokenizer.json");
  EXPECT_EQ(message("/dev/null"), "/dev/null: not found, expected a tokenizer.json");
}

TEST(Refused, BrokenFiles) {
  const auto begins = [](const std::string& message) {
    return message.rfind("tokenizer.json: is no tokenizer.json (", 0) == 0 && message.back() == ')';
  };
  const std::string whole = bpe().dump();
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    EXPECT_TRUE(begins(message_of(whole.substr(0, size)))) << size;
  }
  for (const char* const content :
       {"[]", "3", "{}", "\xEF\xBB\xBF{}", "{\"model\": {\"type\": \"BPE\"}}", "\xFF"}) {
    EXPECT_TRUE(begins(message_of(std::string(content)))) << content;
  }
  EXPECT_TRUE(begins(message_of(std::string(100000, '['))));
  EXPECT_EQ(message_of(std::string("{\"\xC3\n")),
            "tokenizer.json: is no tokenizer.json (at byte 4)");
  EXPECT_EQ(message_of(std::string("[1e999]")),
            "tokenizer.json: is no tokenizer.json (a number is out of range)");
}

TEST(Refused, TooFewTokens) {
  EXPECT_EQ(message_of(bpe().dump(), 2),
            "tokenizer.json: at most 2 tokens, expected more than its 2 special ones");
  EXPECT_EQ(message_of(bpe().dump(), 3), "loaded");
}

struct Change {
  const char* pointer;
  Json value;
  const char* message;
};

void expect_refused(const Json& whole, const std::vector<Change>& changes) {
  for (const auto& [pointer, value, message] : changes) {
    Json json = whole;
    json[Json::json_pointer(pointer)] = value;
    EXPECT_EQ(message_of(json), std::string("tokenizer.json: ") + message) << pointer;
  }
}

TEST(Refused, OtherKinds) {
  const std::string rest = ", expected byte-level BPE or WordPiece";
  expect_refused(
      bpe(),
      {
          {"/model/type", "Unigram", "is a tokenizer of kind Unigram, expected byte-level BPE or WordPiece"},
          {"/pre_tokenizer", nullptr,
           "is a tokenizer of kind BPE without ByteLevel, expected byte-level BPE or WordPiece"},
          {"/pre_tokenizer/type", "Metaspace",
           "is a tokenizer of kind BPE with the pre-tokenizer Metaspace, expected byte-level BPE or "
           "WordPiece"},
          {"/normalizer",
           {{"type", "NFC"}},
           "is a tokenizer of kind BPE with the normalizer NFC, expected byte-level BPE or WordPiece"},
          {"/pre_tokenizer",
           {{"type", "Sequence"}, {"pretokenizers", {Json::object(), Json::object()}}},
           "is a tokenizer of kind BPE with several steps in its pre_tokenizer, expected byte-level BPE or "
           "WordPiece"},
          {"/model/dropout", 0.1,
           "is a tokenizer of kind BPE with dropout, which gives other ids each time, expected byte-level "
           "BPE or "
           "WordPiece"},
      });
  expect_refused(wordpiece(),
                 {{"/pre_tokenizer/type", "Whitespace",
                   "is a tokenizer of kind WordPiece with the pre-tokenizer Whitespace, expected "
                   "byte-level BPE or WordPiece"}});
}

TEST(Refused, WrongFields) {
  expect_refused(
      bpe(),
      {
          {"/version", "2.0", "is no tokenizer.json (version '2.0', expected '1.0')"},
          {"/model", 3, "is no tokenizer.json (model: is number, expected an object)"},
          {"/model/vocab", nullptr, "is no tokenizer.json (model: field 'vocab' is missing)"},
          {"/model/vocab/a", -1, "is no tokenizer.json (model: token 'a' has no id)"},
          {"/model/vocab/a", 4294967296, "is no tokenizer.json (model: token 'a' has no id)"},
          {"/model/vocab/a", 1.5, "is no tokenizer.json (model: token 'a' has no id)"},
          {"/model/merges", "a b", "is no tokenizer.json (model: field 'merges' is string, expected a list)"},
          {"/model/merges/1", Json::array({"a"}),
           "is no tokenizer.json (model: merge 2 is no pair of tokens)"},
          {"/model/merges/1", "a b", "is no tokenizer.json (model: merge 2 is no pair of tokens)"},
          {"/model/merges/1",
           {"a", "x"},
           "is no tokenizer.json (model: merge 2 of 'a' and 'x' has a token that is not in the vocabulary)"},
          {"/model/unk_token", "!",
           "is no tokenizer.json (model: its unknown token '!' is not in the vocabulary)"},
          {"/model/fuse_unk", 1,
           "is no tokenizer.json (model: field 'fuse_unk' is number, expected true or false)"},
          {"/model/end_of_word_suffix", std::string(65, 'x'),
           "is no tokenizer.json (model: end_of_word_suffix of 65 bytes, expected at most 64)"},
          {"/pre_tokenizer/add_prefix_space", nullptr,
           "is no tokenizer.json (pre_tokenizer: field 'add_prefix_space' is missing)"},
          {"/post_processor/type", "Other",
           "is no tokenizer.json (post_processor: is of type 'Other', expected RobertaProcessing, "
           "BertProcessing, "
           "TemplateProcessing or ByteLevel)"},
          {"/post_processor/sep",
           {"</s>", "1"},
           "is no tokenizer.json (post_processor: field 'sep' is array, expected a token and its id)"},
          {"/added_tokens", Json::array({3}),
           "is no tokenizer.json (added_tokens: is number, expected an object)"},
          {"/added_tokens", Json::array({Json::object({{"id", 1}})}),
           "is no tokenizer.json (added_tokens: field 'content' is missing)"},
      });
  expect_refused(
      wordpiece(),
      {
          {"/model/unk_token", "!",
           "is no tokenizer.json (model: its unknown token '!' is not in the vocabulary)"},
          {"/model/max_input_chars_per_word", -1,
           "is no tokenizer.json (model: field 'max_input_chars_per_word' is not a number from 0 up)"},
          {"/normalizer/lowercase", nullptr,
           "is no tokenizer.json (normalizer: field 'lowercase' is missing)"},
      });
}

TEST(Refused, MessagesAreUtf8WhereverATokenIsCut) {
  Json json = bpe();
  json["model"]["continuing_subword_prefix"] = "#";
  json["model"]["merges"] = Json::array({Json::array({"a", "\u00e9"})});
  EXPECT_EQ(message_of(json),
            "tokenizer.json: is no tokenizer.json (model: merge 1 of 'a' and '\u00e9' has a token that is "
            "not in the "
            "vocabulary)");
  json["version"] = std::string(59, 'x') + "\u00e9\u00e9";
  const std::string message = message_of(json);
  EXPECT_NO_THROW(require_utf8(message)) << message;
}

TEST(Refused, TokensThatAreTheSameWhenNormalized) {
  Json json = wordpiece();
  json["added_tokens"] = Json::array({added("Day"), added("day")});
  EXPECT_EQ(message_of(json), "loaded");
  json["added_tokens"][0]["normalized"] = json["added_tokens"][1]["normalized"] = true;
  EXPECT_EQ(message_of(json),
            "tokenizer.json: is no tokenizer.json (added_tokens: two are 'day' when normalized)");
}

TEST(Refused, Templates) {
  Json json = bpe();
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json end = {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}};
  Json& processor = json["post_processor"] = {{"type", "TemplateProcessing"},
                                              {"single", {text, end}},
                                              {"special_tokens", {{"</s>", {{"ids", {1, 1}}}}}}};
  EXPECT_EQ(made(json)("a").ids, (Ids{3, 1, 1}));
  processor["single"] = {text, text};
  EXPECT_EQ(message_of(json),
            "tokenizer.json: is no tokenizer.json (post_processor: its template has 2 places for the text, "
            "expected "
            "one)");
  processor["single"] = Json(5000, end);
  EXPECT_EQ(
      message_of(json),
      "tokenizer.json: is no tokenizer.json (post_processor.special_tokens: more than 4096 special tokens)");
}

// ---- UTF-8

std::string text_error(const std::string& text) {
  try {
    require_utf8(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), MTAB_TEXT_ERROR);
    return error.message();
  }
  return "valid";
}

TEST(Utf8, EveryCodePointIsValid) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    unicode::append(text, c);
    ASSERT_EQ(text_error(text), "valid") << std::hex << static_cast<unsigned>(c);
    ASSERT_EQ(characters(text), 1U);
    std::size_t at = 0;
    ASSERT_EQ(unicode::next(text, at), c);
    ASSERT_EQ(at, text.size());
  }
}

TEST(Utf8, WhatIsInvalidIsNamed) {
  EXPECT_EQ(text_error("\xC3\xA9\xED\xA0\x80"),
            "text has the lone surrogate U+D800 at 1, expected valid Unicode");
  EXPECT_EQ(text_error("\xED\xBF\xBF"), "text has the lone surrogate U+DFFF at 0, expected valid Unicode");
  EXPECT_EQ(text_error("abc\xFF"), "text has the byte 0xFF at byte 3, expected valid UTF-8");
  EXPECT_EQ(text_error("\xC3\xA9\x80"), "text has the byte 0x80 at byte 2, expected valid UTF-8");
  for (const char* const bytes : {"\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xF0\x80\x80\x80",
                                  "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3",
                                  "\xE2\x82", "\xF0\x9F\x98", "\xC3(", "\xE2(\xA1", "\xED\xA0", "\xFE"}) {
    EXPECT_NE(text_error(bytes), "valid") << bytes;
  }
}

TEST(Utf8, InvalidTextsAreTokenizedSomehow) {
  const Tokenizer tokenizer = made(bpe(), 1000);
  const Tokenizer pieces = made(wordpiece(), 1000);
  for (unsigned first = 0; first < 256; ++first) {
    for (unsigned second = 0; second < 256; ++second) {
      const std::string bytes = {static_cast<char>(first), static_cast<char>(second)};
      const std::string text = bytes + " \x85" + bytes + bytes;
      EXPECT_LE(tokenizer(text).ids.size(), 10U);
      EXPECT_LE(pieces(text).ids.size(), 10U);
    }
  }
}

TEST(Utf8, BlanksAreThoseOfPython) {
  EXPECT_TRUE(is_blank(""));
  EXPECT_TRUE(is_blank(" \t\r\n\x1C\x1F\u0085\u00A0\u2003\u3000"));
  EXPECT_FALSE(is_blank("\u200b"));
  EXPECT_FALSE(is_blank(std::string("\0", 1)));
  EXPECT_FALSE(is_blank("  a "));
}

}  // namespace
}  // namespace mtab_core
