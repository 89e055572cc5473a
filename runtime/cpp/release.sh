#!/usr/bin/env bash
# A tarball for those who embed mtab: release.sh BUILD_FOLDER OUTPUT_FOLDER
#
#   cmake -G Ninja -S runtime/cpp -B build/cpp -DONNXRUNTIME_ROOT=FOLDER -DCMAKE_INSTALL_LIBDIR=lib
#   cmake --build build/cpp && ctest --test-dir build/cpp
#   runtime/cpp/release.sh build/cpp build/dist
#
# writes mtab-cpp-VERSION-linux-ARCH.tar.gz and its SHA-256. The same build gives the same bytes: names are sorted,
# and times are $SOURCE_DATE_EPOCH, or the last commit's. It runs on as old a system as it was built on.
set -euo pipefail
build=$(cd "${1:?usage: release.sh BUILD_FOLDER OUTPUT_FOLDER}" && pwd)
output=$(mkdir -p "${2:?usage: release.sh BUILD_FOLDER OUTPUT_FOLDER}" && cd "$2" && pwd)
source=$(cd "$(dirname "$0")" && pwd)
epoch=${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct 2> /dev/null || echo 0)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "$*" >&2
  exit 1
}
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
[ -z "$(cached MTAB_SANITIZE)" ] || fail "$build: built with sanitizers, expected a release"
[ "$(cached CMAKE_INSTALL_LIBDIR)" = lib ] || fail "$build: expected a build with -DCMAKE_INSTALL_LIBDIR=lib"

version=$(sed -n 's/^project(mtab VERSION \([0-9.]*\).*/\1/p' "$source/CMakeLists.txt")
arch=$(uname -m)
name=mtab-cpp-$version-linux-$arch
folder=$work/$name
cmake --install "$build" --prefix "$folder" --strip > "$work/log" || fail "$(cat "$work/log")"
for each in lib/libmtab.so lib/libmtab.a bin/mtab-cli lib/cmake/mtab lib/pkgconfig/mtab.pc share/mtab/examples; do
  [ -e "$folder/$each" ] || fail "$build: installs no $each, expected a whole build (see $0)"
done

# The newest version of a library's symbols that a file asks for.
asked() { objdump -T "$folder/bin/mtab-cli" "$folder/lib/libmtab.so" | grep -oP "\b$1_\K[0-9.]+" | sort -V | tail -1; }
size=$(($(wc -c < "$folder/lib/libmtab.so") / 1000))
sed -e "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$size/" \
  -e "s/@GLIBC@/$(asked GLIBC)/; s/@GLIBCXX@/$(asked GLIBCXX)/" "$source/package/README.md" > "$folder/README.md"
cp "$source/package/THIRD-PARTY.md" "$source/../../LICENSE" "$folder"
chmod -R u=rwX,go=rX "$folder"

tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" --format=ustar -C "$work" -cf - "$name" |
  gzip -9n > "$output/$name.tar.gz"
cd "$output"
sha256sum "$name.tar.gz" | tee "$name.tar.gz.sha256"
