#!/usr/bin/env bash
# What a user of the package sees: check.sh BUILD_FOLDER SOURCE_FOLDER
#
# $CC and $CXX are the compilers of the build. MTAB_PACKAGE_WHOLE=1 compiles the library anew within another project,
# where its objects are copied otherwise. With $MTAB_GOLDEN (and $MTAB_ONNXRUNTIME) the examples run, too.
set -euo pipefail
build=$(cd "${1:?usage: check.sh BUILD_FOLDER SOURCE_FOLDER}" && pwd)
source=$(cd "${2:?usage: check.sh BUILD_FOLDER SOURCE_FOLDER}" && pwd)
here=$source/tests/package
cc=${CC:-cc}
cxx=${CXX:-c++}
most_bytes=1000000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MTAB_CACHE=$work/cache

begin() { echo "== $*"; }
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
quietly() { # Its output is of interest if it fails.
  "$@" > "$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "$*"
  }
}
run_both() { # The two consumers, built in a folder.
  "$1/consumer_c"
  "$1/consumer_cpp"
}

begin "installed below a folder whose name has a space"
prefix="$work/a prefix"
quietly cmake --install "$build" --prefix "$prefix" --strip
lib=$(dirname "$(find "$prefix" -name libmtab.so)")
version=$(sed -n 's/^Version: //p' "$lib/pkgconfig/mtab.pc")
# The same, without its shared library: what a static build installs.
static="$work/static"
cp -R "$prefix" "$static"
static_lib="$static${lib#"$prefix"}"
rm "$static_lib"/libmtab.so* "$static_lib"/cmake/mtab/mtab-shared*

begin "mtab-cli says its version"
[ "$("$prefix/bin/mtab-cli" --version)" = "mtab-cli, version $version" ] || fail "mtab-cli --version"

begin "the shared library's links and SONAME"
abi=$(sed -n 's/^#define MTAB_ABI_VERSION //p' "$prefix/include/mtab.h")
[ "$(readlink "$lib/libmtab.so")" = "libmtab.so.$abi" ] || fail "link libmtab.so"
[ "$(readlink "$lib/libmtab.so.$abi")" = "libmtab.so.$version" ] || fail "link libmtab.so.$abi"
readelf -d "$lib/libmtab.so" | grep -q "SONAME.*\[libmtab\.so\.$abi\]" || fail "SONAME, expected libmtab.so.$abi"

begin "only what mtab.h declares is visible"
nm -D --defined-only "$lib/libmtab.so" | awk '{ print $3 }' | sort > "$work/visible"
grep '^MTAB_API' "$prefix/include/mtab.h" | grep -oE 'mtab_[a-z0-9_]+\(' | tr -d '(' | sort > "$work/declared"
diff "$work/declared" "$work/visible" || fail "declared (<) and visible (>) differ"

bytes=$(wc -c < "$lib/libmtab.so")
begin "stripped, it has $bytes bytes"
[ "$bytes" -lt "$most_bytes" ] || fail "$bytes bytes, expected fewer than $most_bytes"

begin "the headers compile alone"
warnings=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only -I "$prefix/include")
c_compilers=("$cc")
cxx_compilers=("$cxx")
for each in gcc clang; do command -v $each > /dev/null && c_compilers+=("$each"); done
for each in g++ clang++; do command -v $each > /dev/null && cxx_compilers+=("$each"); done
echo '#include <mtab.h>' | tee "$work/alone.c" > "$work/alone_c.cpp"
echo '#include <mtab.hpp>' > "$work/alone.cpp"
for each in "${c_compilers[@]}"; do quietly "$each" -std=c99 -Wstrict-prototypes "${warnings[@]}" "$work/alone.c"; done
for each in "${cxx_compilers[@]}"; do
  quietly "$each" -std=c++11 "${warnings[@]}" "$work/alone_c.cpp"
  quietly "$each" -std=c++17 -Wconversion -Wshadow "${warnings[@]}" "$work/alone.cpp"
done

generator=()
if command -v ninja > /dev/null; then generator=(-G Ninja); fi
configured() { # Configure and build a consumer: NAME SOURCE OPTION...
  quietly cmake "${generator[@]}" -S "$here/$2" -B "$work/$1" -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" \
    -DCMAKE_BUILD_TYPE=Release "${@:3}"
  quietly cmake --build "$work/$1"
}

begin "find_package, shared"
configured shared find_package -DKIND=shared -Dmtab_ROOT="$prefix"
run_both "$work/shared"
begin "find_package, static beside shared"
configured beside find_package -DKIND=static -Dmtab_ROOT="$prefix"
run_both "$work/beside"
begin "find_package, static alone"
configured static find_package -DKIND=static -Dmtab_ROOT="$static"
run_both "$work/static"
for each in beside static; do
  if readelf -d "$work/$each/consumer_c" | grep -q libmtab; then fail "$each needs libmtab.so"; fi
done

begin "pkg-config, shared, without the development packages of what mtab is made of"
# pkg-config escapes the space, which the shell is to undo.
flags() { PKG_CONFIG_LIBDIR="$1/pkgconfig" pkg-config "${@:2}" mtab; }
eval "$cc $here/consumer.c $(flags "$lib" --cflags --libs) -o $work/consumer_c"
eval "$cxx -std=c++17 $here/consumer.cpp $(flags "$lib" --cflags --libs) -o $work/consumer_cpp"
LD_LIBRARY_PATH="$lib" run_both "$work"
begin "pkg-config, static"
eval "$cc $here/consumer.c $(flags "$static_lib" --static --cflags --libs) -o $work/consumer_c"
eval "$cxx -std=c++17 $here/consumer.cpp $(flags "$static_lib" --static --cflags --libs) -o $work/consumer_cpp"
run_both "$work"

begin "add_subdirectory"
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER="$here/reuse_objects.sh;$build/CMakeFiles/mtab_objects.dir")
if [ -n "${MTAB_PACKAGE_WHOLE:-}" ]; then launcher=(); fi
configured subdirectory subdirectory -DMTAB_SOURCE="$source" "${launcher[@]}" \
  -DMTAB_ONNXRUNTIME_INCLUDE="$(cached MTAB_ONNXRUNTIME_INCLUDE)"
run_both "$work/subdirectory"

begin "the installed examples compile"
examples="$prefix/share/mtab/examples"
eval "$cc '$examples/classify.c' $(flags "$lib" --cflags --libs) -o $work/classify_c"
for each in classify live; do
  eval "$cxx -std=c++17 '$examples/$each.cpp' $(flags "$lib" --cflags --libs) -o $work/$each"
done

if [ -z "${MTAB_GOLDEN:-}" ]; then
  echo "No example was run: MTAB_GOLDEN is not set"
  exit 0
fi
begin "the examples say the same in C and in Python"
golden=$MTAB_GOLDEN/model
bundle=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[0]["bundle"])' "$golden/answers.json")
export LD_LIBRARY_PATH="$lib"
"$work/classify_c" "$bundle" "$golden/clip-3.wav" "I never said that!" > "$work/said_c"
MTAB_LIBRARY="$lib/libmtab.so.$abi" python3 "$examples/ctypes_example.py" "$bundle" "$golden/clip-3.wav" \
  "I never said that!" > "$work/said_python"
diff "$work/said_c" "$work/said_python" || fail "ctypes_example.py (>) differs from classify.c (<)"
cat "$work/said_python"
