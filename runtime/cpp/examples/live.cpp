// Emotions while somebody speaks: mono 16-bit PCM on standard input, an answer a second from the last four.
//
//   arecord -q -f S16_LE -r 16000 | live BUNDLE 16000
//   ffmpeg -loglevel error -i talk.mp4 -f s16le -ac 1 -ar 16000 - | live BUNDLE 16000
//
// The model hears the whole utterance at once, so that an answer in between is one from what was heard so
// far; the last line is the answer that `mtab predict` gives for all of it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <mtab.hpp>

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "usage: " << argv[0] << " BUNDLE SAMPLE_RATE [TEXT] < PCM\n";
    return 2;
  }
  constexpr double kWindow = 4.0;
  const double rate = std::atof(argv[2]);
  mtab::LoadOptions options;
  if (const char* library = std::getenv("MTAB_ONNXRUNTIME")) options.onnxruntime_library = library;
  const mtab::Model model(argv[1], options);
  mtab::Stream stream = model.stream(rate);
  if (argc > 3) stream.set_text(argv[3]);

  const auto show = [](const char* what, double seconds, const mtab::Result& result) {
    std::printf("%s %6.2f s  %-10s %.3f\n", what, seconds, result.label().c_str(),
                static_cast<double>(result.score()));
    std::fflush(stdout);
  };
  std::vector<std::int16_t> pcm(static_cast<std::size_t>(rate / 10));
  std::vector<float> samples(pcm.size());
  double next = 1.0;
  while (const std::size_t count = std::fread(pcm.data(), sizeof pcm[0], pcm.size(), stdin)) {
    for (std::size_t i = 0; i < count; ++i) samples[i] = static_cast<float>(pcm[i]) / 32768.0F;
    stream.accept(samples.data(), count);
    if (stream.seconds() < next) continue;
    next += 1.0;
    show("heard", stream.seconds(), stream.predict(kWindow));
  }
  const double seconds = stream.seconds();
  show("whole", seconds, stream.finish());
} catch (const mtab::Error& error) {
  std::cerr << error.name() << ": " << error.what() << "\n";
  return 1;
}
