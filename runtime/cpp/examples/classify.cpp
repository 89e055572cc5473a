// The emotions of some clips, those of like length computed at once: classify BUNDLE CLIP TEXT [CLIP TEXT]...
//
//   c++ -std=c++17 classify.cpp $(pkg-config --cflags --libs mtab) -o classify
//
// $MTAB_ONNXRUNTIME names ONNX Runtime's library where the system does not find it.
#include <cstdlib>
#include <iostream>
#include <mtab.hpp>

int main(int argc, char** argv) try {
  if (argc < 4 || argc % 2 != 0) {
    std::cerr << "usage: " << argv[0] << " BUNDLE CLIP TEXT [CLIP TEXT]...\n";
    return 2;
  }
  mtab::LoadOptions options;
  if (const char* library = std::getenv("MTAB_ONNXRUNTIME")) options.onnxruntime_library = library;
  const mtab::Model model(argv[1], options);

  std::vector<mtab::Input> inputs;
  for (int i = 2; i < argc; i += 2) inputs.push_back(mtab::Input::file(argv[i]).with_text(argv[i + 1]));
  for (const mtab::Outcome& outcome : model.predict(inputs)) {
    if (const auto* error = std::get_if<mtab::Error>(&outcome)) {
      std::cout << error->what() << "\n";
    } else {
      const auto& result = std::get<mtab::Result>(outcome);
      std::cout << result.label() << " " << result.score() << "\n";
    }
  }
} catch (const mtab::Error& error) {
  std::cerr << error.name() << ": " << error.what() << "\n";
  return 1;
}
