#!/usr/bin/env bash
# The whole check of the SDK: headers, golden files of the Python runtime, build, tests.
#
#   runtime/cpp/check.sh BUILD BIN BUNDLE [SANITIZERS]
#
# BUILD is where everything goes, BIN the folder of Python's programs, BUNDLE the bundle to answer from: a small one
# with random weights is made where there is none. SANITIZERS, as address,undefined or thread, build and run the
# tests with these. ONNXRUNTIME_ROOT names ONNX Runtime's headers where they are not to be fetched; BUNDLES names
# more bundles.
set -euo pipefail
build=$(mkdir -p "$1" && cd "$1" && pwd)
bin=$(cd "$2" && pwd)
bundle=$3
sanitizers=${4:-}
source=$(cd "$(dirname "$0")" && pwd)

missing=()
for program in cmake ninja pkg-config c++; do
  command -v "$program" > /dev/null || missing+=("$program")
done
for library in sndfile soxr; do
  pkg-config --exists "$library" 2> /dev/null || missing+=("$library")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "Error: ${missing[*]} not found, expected on Debian or Ubuntu: apt-get install g++ cmake ninja-build" \
    "pkg-config libsndfile1-dev libsoxr-dev nlohmann-json3-dev libgtest-dev" >&2
  exit 1
fi

headers=${ONNXRUNTIME_ROOT:-}
if [ -z "$headers" ]; then
  headers=$build/onnxruntime
  "$source/tools/fetch_onnxruntime_headers.sh" "$headers"
fi

if [ ! -e "$bundle/manifest.json" ]; then
  bundle=$build/model/bundle
  if [ ! -e "$bundle/manifest.json" ]; then
    data=(--dataset iemocap --data-dir "$build/corpus")
    "$bin/mtab-train" synth --layout iemocap --out "$build/corpus" --utterances 24 --overwrite
    "$bin/mtab-train" init --preset tiny --out "$build/model" --overwrite
    "$bin/mtab-export" --checkpoint "$build/model" "${data[@]}" --utterances 8 --int8
  fi
fi

"$bin/python" "$source/tools/write_tables.py" --check
export MTAB_GOLDEN=$build/golden
read -ra more <<< "${BUNDLES:-}"
state="$(cat "$bundle/manifest.json" "$source"/tests/write_*.py | sha256sum) ${more[*]:-}"
if [ "$(cat "$MTAB_GOLDEN/state" 2> /dev/null)" != "$state" ]; then
  rm -rf "$MTAB_GOLDEN"
  mkdir -p "$MTAB_GOLDEN"
  "$bin/python" "$source/tests/write_text_golden.py" "$MTAB_GOLDEN" "$bundle/tokenizer.json" &
  text=$!
  "$bin/python" "$source/tests/write_audio_golden.py" "$MTAB_GOLDEN"
  "$bin/python" "$source/tests/write_model_golden.py" "$MTAB_GOLDEN" "$bundle" "${more[@]}"
  wait "$text"
  echo "$state" > "$MTAB_GOLDEN/state"
fi
MTAB_ONNXRUNTIME=${MTAB_ONNXRUNTIME:-$("$bin/python" -c 'import pathlib, onnxruntime
print(next((pathlib.Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")))')}
export MTAB_ONNXRUNTIME

options=(-DONNXRUNTIME_ROOT="$headers")
folder=$build/release
if [ -n "$sanitizers" ]; then
  folder=$build/${sanitizers//,/-}
  # So that a finding names its line, in as little time as that takes.
  options+=(-DMTAB_SANITIZE="$sanitizers" -DCMAKE_CXX_FLAGS_RELEASE=-O1)
fi
cmake -G Ninja -S "$source" -B "$folder" "${options[@]}" > "$build/configure.log" || {
  cat "$build/configure.log" >&2
  exit 1
}
cmake --build "$folder"
# What ONNX Runtime's own binary does is left out, and nothing else. Of its mutexes the thread sanitizer sees some
# unlocked that it did not see locked.
export LSAN_OPTIONS="suppressions=$source/tests/lsan.supp"
export TSAN_OPTIONS="suppressions=$source/tests/tsan.supp:report_mutex_bugs=0"
export ASAN_OPTIONS=allocator_may_return_null=1:detect_stack_use_after_return=1
ctest --test-dir "$folder" --output-on-failure --parallel 2
