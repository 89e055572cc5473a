#!/usr/bin/env bash
# Fuzz the SDK: hostile clips, tokenizers, bundles, and calls of the C interface, under sanitizers.
#
#   runtime/cpp/fuzz/run.sh SECONDS [TARGET ...]
#
# Builds with clang into build/cpp-fuzz of the repository and runs each target (audio_fuzz, tokenizer_fuzz,
# bundle_fuzz, abi_fuzz) for so many seconds, on one core. Prints a line for each; exit code 1 if there is a finding,
# which lies in build/cpp-fuzz/findings, to be run again with build/cpp-fuzz/build/fuzz/TARGET FILE. What was
# learned is kept in build/cpp-fuzz/corpus, and the next run begins from it.
#
# In the environment, all optional:
#   ONNXRUNTIME_ROOT  ONNX Runtime's headers, where they are not to be fetched
#   MTAB_GOLDEN       golden files (check.sh BUILD BIN BUNDLE leaves them in BUILD/golden), for more seeds
#   MTAB_FUZZ_BUNDLE, MTAB_ONNXRUNTIME
#                     a small bundle and ONNX Runtime's library; without them abi_fuzz has no model
#   PYTHON            default: python3
set -euo pipefail
seconds=${1:?Usage: run.sh SECONDS [TARGET ...]}
shift
source=$(cd "$(dirname "$0")/.." && pwd)
root=$source/../../build/cpp-fuzz
mkdir -p "$root"
root=$(cd "$root" && pwd)
[ "$#" -gt 0 ] || set -- audio_fuzz tokenizer_fuzz bundle_fuzz abi_fuzz

headers=${ONNXRUNTIME_ROOT:-}
if [ -z "$headers" ]; then
  headers=$root/onnxruntime
  "$source/tools/fetch_onnxruntime_headers.sh" "$headers"
fi
{
  cmake -G Ninja -S "$source" -B "$root/build" -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
    -DMTAB_FUZZ=ON -DMTAB_TESTS=OFF -DMTAB_TOOLS=OFF -DMTAB_INSTALL=OFF -DONNXRUNTIME_ROOT="$headers" &&
    cmake --build "$root/build" --target fuzzers --parallel 2
} > "$root/build.log" || {
  cat "$root/build.log" >&2
  exit 1
}
"${PYTHON:-python3}" "$source/fuzz/seeds.py" "$root/seeds" ${MTAB_GOLDEN:+"$MTAB_GOLDEN"}

# Without a limit of its own, an allocation fails as it does elsewhere; libFuzzer reports those of an input's size.
export ASAN_OPTIONS=allocator_may_return_null=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$source/tests/lsan.supp:print_suppressions=0
found=0
for target in "$@"; do
  mkdir -p "$root/corpus/$target" "$root/findings/$target"
  options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -malloc_limit_mb=1000 -print_final_stats=1
    -artifact_prefix="$root/findings/$target/")
  case $target in
    abi_fuzz) options+=(-max_len=4096) ;;
    *) options+=(-max_len=20480) ;;
  esac
  [ -e "$root/seeds/$target.dict" ] && options+=(-dict="$root/seeds/$target.dict")
  log=$root/$target.log
  state="no finding"
  if ! "$root/build/fuzz/$target" "${options[@]}" "$root/corpus/$target" "$root/seeds/$target" 2> "$log"; then
    state="A FINDING: see $log"
    found=1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  edges=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\).*/\1 edges, \2 features/p' "$log" | tail -1)
  echo "$target: ${runs:-0} runs, ${edges:-no coverage}, $state"
done
exit "$found"
