// mtab-cli prints what `mtab predict --format json` prints.
#include <sys/wait.h>

#include <cstdio>

#include "answers.hpp"

#ifdef MTAB_CLI

namespace mtab_test {
namespace {

struct Ended {
  std::string output;
  std::string error;
  int exit = 0;
};

std::string quoted(const std::string& text) {
  std::string found = "'";
  for (const char c : text) found += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return found + "'";
}

Ended run(const std::vector<std::string>& arguments) {
  const TemporaryFolder folder;
  std::string command = "MTAB_CACHE=" + quoted((folder.path() / "cache").string()) + " " + quoted(MTAB_CLI);
  for (const std::string& each : arguments) command += " " + quoted(each);
  command +=
      " > " + quoted((folder.path() / "out").string()) + " 2> " + quoted((folder.path() / "err").string());
  const int status = std::system(command.c_str());
  return {content_of(folder.path() / "out"), content_of(folder.path() / "err"), WEXITSTATUS(status)};
}

TEST(Cli, PrintsWhatPythonPrints) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  const std::string bundle = json_of(golden / "answers.json").at(0).at("bundle");
  for (const Json& expected : json_of(golden / "printed.json")) {
    std::vector<std::string> arguments = {bundle};
    for (const Json& each : expected.at("arguments")) arguments.push_back(each);
    if (!library().empty()) arguments.insert(arguments.end(), {"--onnxruntime", library()});
    const Ended found = run(arguments);
    EXPECT_EQ(found.error, expected.at("error").get<std::string>());
    EXPECT_EQ(found.exit, expected.at("exit").get<int>());
    const std::string output = expected.at("output");
    if (output.empty()) {
      EXPECT_EQ(found.output, "");
      continue;
    }
    // To the letter, but for what the last digits of a probability are.
    Json ours = Json::parse(found.output);
    const Json theirs = Json::parse(output);
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
      for (const auto& [label, value] : theirs[i].at("probabilities").items()) {
        EXPECT_NEAR(ours[i].at("probabilities").at(label).get<double>(), value.get<double>(), 1e-5);
        ours[i]["probabilities"][label] = value;
      }
    }
    EXPECT_EQ(ours, theirs);
    const auto shape = [](const std::string& text) {
      std::string kept;
      for (const char c : text) kept += c >= '0' && c <= '9' ? '0' : c;
      std::string single;
      for (const char c : kept) {
        if (c != '0' || single.empty() || single.back() != '0') single += c;
      }
      return single;
    };
    EXPECT_EQ(shape(found.output), shape(output));
  }
}

TEST(Cli, SaysHowItIsUsed) {
  for (const auto& [arguments, error] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{}, "Missing argument 'BUNDLE'."},
           {{"b"}, "give AUDIO or --text"},
           {{"b", "a.wav", "b.wav", "--text", "x"}, "--text is one transcript, expected one AUDIO, got 2"},
           {{"b", "a.wav", "--top-k", "0"}, "Invalid value for '--top-k': 0 is not in the range x>=1."},
           {{"b", "a.wav", "--abstain", "x"}, "Invalid value for '--abstain': 'x' is not a valid float."},
           {{"b", "a.wav", "--abstain", "1.5"},
            "Invalid value for '--abstain': 1.5 is not in the range 0<=x<=1."},
           {{"b", "a.wav", "--max-seconds", "0"},
            "Invalid value for '--max-seconds': 0 is not in the range x>0."},
           {{"b", "a.wav", "--threads", "4294967297"},
            "Invalid value for '--threads': 4294967297 is not in the range x>=1."},
           {{"b", "a.wav", "--precision", ""},
            "Invalid value for '--precision': '' is not one of 'auto', 'fp32', 'fp16', 'bf16', 'int8', "
            "'int8-static'."},
           {{"b", "a.wav", "--colour"}, "No such option: --colour"},
           {{"b", "a.wav", "--text"}, "Option '--text' requires an argument."}}) {
    const Ended found = run(arguments);
    EXPECT_EQ(found.exit, 2);
    EXPECT_NE(found.error.find("\nError: " + error + "\n"), std::string::npos) << found.error;
  }
  EXPECT_EQ(run({"--help"}).exit, 0);
  EXPECT_EQ(run({"--version"}).output, std::string("mtab-cli, version ") + mtab_version() + "\n");
}

}  // namespace
}  // namespace mtab_test

#endif
