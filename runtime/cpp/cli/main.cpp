// mtab-cli: what `mtab predict --format json` prints, without Python.
#include <getopt.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "mtab.hpp"
#include "python_text.hpp"

namespace {

constexpr char kUsage[] = "Usage: mtab-cli [OPTIONS] BUNDLE [AUDIO]...\n";
constexpr char kHelp[] =
    "\n"
    "  Predict the emotion of each AUDIO file and its transcript, as mtab predict\n"
    "  --format json does.\n"
    "\n"
    "Options:\n"
    "  --text TEXT               Transcript of the one AUDIO file; without AUDIO, the\n"
    "                            text to judge.\n"
    "  --top-k INTEGER           Number of classes to print, the likeliest first.\n"
    "  --abstain FLOAT           Probability below which the answer is \"unknown\".\n"
    "  --engine NAME             onnxruntime, onnxruntime-tensorrt or\n"
    "                            onnxruntime-tensorrt-rtx.\n"
    "  --device DEVICE           cpu, cuda or cuda:N.\n"
    "  --precision PRECISION     fp32, fp16, bf16, int8 or int8-static.\n"
    "  --threads INTEGER         Threads that work on an operator.\n"
    "  --batch-size INTEGER      Utterances that are computed at once.\n"
    "  --batch-seconds FLOAT     Seconds of speech that are computed at once.\n"
    "  --max-seconds FLOAT       Longest clip that is accepted.\n"
    "  --max-characters INTEGER  Longest transcript that is accepted.\n"
    "  --onnxruntime FILE        ONNX Runtime's shared library; without it\n"
    "                            $MTAB_ONNXRUNTIME, else what the system finds.\n"
    "  --provider-library FILE   Library of TensorRT-RTX's execution provider.\n"
    "  --verbose                 Say on stderr what the model has to say.\n"
    "  --version                 Show the version and exit.\n"
    "  --help                    Show this message and exit.\n";

const std::vector<const char*> kEngines = {"auto", "onnxruntime", "onnxruntime-tensorrt",
                                           "onnxruntime-tensorrt-rtx"};
const std::vector<const char*> kPrecisions = {"auto", "fp32", "fp16", "bf16", "int8", "int8-static"};

struct Arguments {
  std::string bundle;
  std::vector<std::string> audio;
  std::optional<std::string> text;
  mtab::LoadOptions load;
  mtab::PredictOptions predict;
};

[[noreturn]] void wrong_use(const std::string& message) {
  std::cerr << kUsage << "Try 'mtab-cli --help' for help.\n\nError: " << message << "\n";
  std::exit(2);
}

double number(const std::string& option, const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0') {
    wrong_use("Invalid value for '--" + option + "': '" + text + "' is not a valid float.");
  }
  return value;
}

double probability(const std::string& option, const char* text) {
  const double value = number(option, text);
  if (value >= 0 && value <= 1) return value;
  wrong_use("Invalid value for '--" + option + "': " + text + " is not in the range 0<=x<=1.");
}

double seconds(const std::string& option, const char* text) {
  const double value = number(option, text);
  if (value > 0) return value;
  wrong_use("Invalid value for '--" + option + "': " + text + " is not in the range x>0.");
}

std::size_t count(const std::string& option, const char* text) {
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 10);
  if (end == text || *end != '\0') {
    wrong_use("Invalid value for '--" + option + "': '" + text + "' is not a valid integer range.");
  }
  if (value >= 1 && value <= std::numeric_limits<std::int32_t>::max()) return static_cast<std::size_t>(value);
  wrong_use("Invalid value for '--" + option + "': " + text + " is not in the range x>=1.");
}

std::string choice(const std::string& option, const char* text, const std::vector<const char*>& choices) {
  std::string names;
  for (const char* each : choices) {
    if (std::string(each) == text) return text;
    names += (names.empty() ? "'" : ", '") + std::string(each) + "'";
  }
  wrong_use("Invalid value for '--" + option + "': '" + text + "' is not one of " + names + ".");
}

Arguments parsed(int argc, char** argv) {
  static const option kOptions[] = {{"text", required_argument, nullptr, 0},
                                    {"top-k", required_argument, nullptr, 0},
                                    {"abstain", required_argument, nullptr, 0},
                                    {"engine", required_argument, nullptr, 0},
                                    {"device", required_argument, nullptr, 0},
                                    {"precision", required_argument, nullptr, 0},
                                    {"threads", required_argument, nullptr, 0},
                                    {"batch-size", required_argument, nullptr, 0},
                                    {"batch-seconds", required_argument, nullptr, 0},
                                    {"max-seconds", required_argument, nullptr, 0},
                                    {"max-characters", required_argument, nullptr, 0},
                                    {"onnxruntime", required_argument, nullptr, 0},
                                    {"provider-library", required_argument, nullptr, 0},
                                    {"verbose", no_argument, nullptr, 0},
                                    {"version", no_argument, nullptr, 0},
                                    {"help", no_argument, nullptr, 0},
                                    {nullptr, 0, nullptr, 0}};
  Arguments arguments;
  if (const char* library = std::getenv("MTAB_ONNXRUNTIME")) arguments.load.onnxruntime_library = library;
  opterr = 0;
  int index = 0;
  for (int found; (found = getopt_long(argc, argv, ":", kOptions, &index)) != -1;) {
    if (found == ':') wrong_use(std::string("Option '") + argv[optind - 1] + "' requires an argument.");
    if (found != 0) wrong_use(std::string("No such option: ") + argv[optind - 1]);
    const std::string name = kOptions[index].name;
    if (name == "help") {
      std::cout << kUsage << kHelp;
      std::exit(0);
    }
    if (name == "version") {
      std::cout << "mtab-cli, version " << mtab_version() << "\n";
      std::exit(0);
    }
    if (name == "text") arguments.text = optarg;
    if (name == "top-k") arguments.predict.top_k = count(name, optarg);
    if (name == "abstain") arguments.predict.abstain = probability(name, optarg);
    if (name == "engine") arguments.load.engine = choice(name, optarg, kEngines);
    if (name == "device") arguments.load.device = *optarg != '\0' ? optarg : "''";
    if (name == "precision") arguments.load.precision = choice(name, optarg, kPrecisions);
    if (name == "threads") arguments.load.threads = static_cast<std::int32_t>(count(name, optarg));
    if (name == "batch-size") arguments.predict.batch_size = count(name, optarg);
    if (name == "batch-seconds") arguments.predict.batch_seconds = seconds(name, optarg);
    if (name == "max-seconds") arguments.load.max_seconds = seconds(name, optarg);
    if (name == "max-characters") arguments.load.max_characters = count(name, optarg);
    if (name == "onnxruntime") arguments.load.onnxruntime_library = optarg;
    if (name == "provider-library") arguments.load.provider_library = optarg;
    if (name == "verbose") {
      arguments.load.log = [](mtab_log_level, const char* message) { std::cerr << message << "\n"; };
    }
  }
  std::vector<std::string> rest(argv + optind, argv + argc);
  if (rest.empty()) wrong_use("Missing argument 'BUNDLE'.");
  arguments.bundle = rest.front();
  arguments.audio.assign(rest.begin() + 1, rest.end());
  if (arguments.text && arguments.audio.size() > 1) {
    wrong_use("--text is one transcript, expected one AUDIO, got " + std::to_string(arguments.audio.size()));
  }
  if (!arguments.text && arguments.audio.empty()) wrong_use("give AUDIO or --text");
  return arguments;
}

// A text as Python's json.dumps writes it with ensure_ascii=False.
std::string json(const std::string& text) {
  std::string written = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        written += "\\\"";
        break;
      case '\\':
        written += "\\\\";
        break;
      case '\n':
        written += "\\n";
        break;
      case '\r':
        written += "\\r";
        break;
      case '\t':
        written += "\\t";
        break;
      case '\b':
        written += "\\b";
        break;
      case '\f':
        written += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 32) {
          char code[8];
          std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
          written += code;
        } else {
          written += c;
        }
    }
  }
  return written + "\"";
}

std::string record(const std::string& name, const mtab::Result& result,
                   const std::vector<std::string>& dimensions) {
  std::string probabilities;
  for (const auto& [label, probability] : result.probabilities()) {
    probabilities += (probabilities.empty() ? "\n" : ",\n") + ("      " + json(label)) + ": " +
                     mtab_core::repr(static_cast<double>(probability));
  }
  std::string rated;
  for (std::size_t i = 0; i < dimensions.size(); ++i) {
    rated += (rated.empty() ? "\n" : ",\n") + ("      " + json(dimensions[i])) + ": " +
             mtab_core::repr(static_cast<double>(result.dimensions()[i]));
  }
  if (!rated.empty()) rated = "\n    },\n    \"dimensions\": {" + rated;
  std::string modalities;
  for (const auto& [bit, modality] : {std::pair{MTAB_AUDIO, "audio"}, std::pair{MTAB_TEXT, "text"}}) {
    if ((result.modalities() & static_cast<std::uint32_t>(bit)) != 0) {
      modalities += (modalities.empty() ? "\n" : ",\n") + ("      " + json(modality));
    }
  }
  const auto duration = result.duration();
  return "  {\n    \"utterance\": " + json(name) + ",\n    \"label\": " + json(result.label()) +
         ",\n    \"probabilities\": {" + probabilities + rated +
         "\n    },\n    \"duration\": " + (duration ? mtab_core::repr(*duration) : "null") +
         ",\n    \"modalities\": [" + modalities +
         "\n    ],\n    \"text_truncated\": " + (result.text_truncated() ? "true" : "false") + "\n  }";
}

void predict(const Arguments& arguments) {
  const mtab::Model model(arguments.bundle, arguments.load);
  const std::vector<std::string> dimensions = model.dimensions();
  std::vector<mtab::Input> inputs;
  std::vector<std::string> names;
  for (const std::string& path : arguments.audio) {
    names.push_back(mtab_core::printable(mtab_core::plain_path(path)));
    mtab::Input input = mtab::Input::file(path).with_name(names.back());
    inputs.push_back(arguments.text ? std::move(input).with_text(*arguments.text) : std::move(input));
  }
  if (inputs.empty()) {
    names = {"text"};
    inputs.push_back(mtab::Input::text(*arguments.text).with_name("text"));
  }
  // Those before the first that cannot be answered are printed, as mtab predict does.
  bool begun = false;
  std::optional<mtab::Error> failure;
  const auto outcomes = model.predict(inputs, arguments.predict);
  for (std::size_t i = 0; i < outcomes.size() && !failure; ++i) {
    if (const auto* error = std::get_if<mtab::Error>(&outcomes[i])) {
      failure = *error;
    } else {
      std::cout << (begun ? ",\n" : "[\n") << record(names[i], std::get<mtab::Result>(outcomes[i]), dimensions);
      begun = true;
    }
  }
  if (begun) std::cout << "\n]\n" << std::flush;
  if (failure) throw *failure;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    predict(parsed(argc, argv));
    if (!std::cout.flush()) throw std::runtime_error("standard output: cannot be written");
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "Error: " << mtab_core::printable(error.what()) << "\n";
    return 1;
  }
}
