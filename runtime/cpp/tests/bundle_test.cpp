#include "bundle.hpp"

#include "error.hpp"
#include "support.hpp"

namespace mtab_core {
namespace {

// What stands in parentheses is a library's own word.
std::string without_reason(const std::string& message) {
  const std::size_t start = message.find(" JSON (");
  return start == std::string::npos ? message : message.substr(0, start);
}

TEST(Bundle, OfEveryFaultHasPythonsError) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  for (const auto& fault : mtab_test::json_of(golden / "broken.json")) {
    SCOPED_TRACE(fault.at("what"));
    // The engine and the tokenizer have tests of their own.
    const std::string message = fault.at("message");
    if (fault.at("error") == "EngineError" || message.find("tokenizer.json: ") < message.find(": missing"))
      continue;
    try {
      static_cast<void>(open_bundle(fault.at("folder").get<std::string>(), true, "").whole("auto"));
      ADD_FAILURE() << "opened";
    } catch (const Error& error) {
      EXPECT_EQ(mtab_code_name(error.code()), fault.at("error").get<std::string>());
      // Nothing that JSON allows is beyond Python's numbers.
      if (fault.at("what") == "an infinite number") continue;
      EXPECT_EQ(without_reason(error.message()), without_reason(message));
    }
  }
}

TEST(Bundle, HasPythonsContent) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  for (const auto& each : mtab_test::json_of(golden / "answers.json")) {
    const Bundle bundle = open_bundle(each.at("bundle").get<std::string>(), false, "");
    EXPECT_EQ(bundle.content, each.at("content"));
    EXPECT_EQ(nlohmann::json(bundle.labels), each.at("labels"));
    EXPECT_EQ(bundle.whole(each.at("precision")).precision, each.at("precision"));
  }
}

TEST(Bundle, UnverifiedTakesAChangedFileOfTheSameSize) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  for (const auto& fault : mtab_test::json_of(golden / "broken.json")) {
    if (fault.at("what") != "a file that was changed") continue;
    const Bundle bundle = open_bundle(fault.at("folder").get<std::string>(), false, "");
    EXPECT_FALSE(bundle.verified);
  }
}

TEST(Bundle, OfNoFolderSaysSo) {
  for (const auto& [folder, found] : {std::pair{"/no/such/folder", "not found"},
                                      {"/dev/null", "is a file"},
                                      {"/proc", "holds no manifest.json"}}) {
    try {
      open_bundle(folder, true, "");
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.message(),
                std::string(folder) + ": " + found + ", expected a bundle made by mtab-export");
    }
  }
}

TEST(ModalityNames, AreJoined) {
  EXPECT_EQ(modality_names(kAudio | kText, " and "), "audio and text");
  EXPECT_EQ(modality_names(kText, "+"), "text");
  EXPECT_EQ(modality_names(0, "+"), "");
}

}  // namespace
}  // namespace mtab_core
