#!/usr/bin/env bash
# ONNX Runtime's headers from Debian's package of it, without changing the machine: for `make cpp`, where no
# -DONNXRUNTIME_ROOT is given. Its library is not needed to build, and Python's wheel carries no headers.
set -euo pipefail
target=${1:?usage: fetch_onnxruntime_headers.sh FOLDER}
if [ -e "$target/include/onnxruntime/onnxruntime_c_api.h" ]; then exit 0; fi
if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null; then
  echo "ONNX Runtime's headers: no apt-get and dpkg-deb here, expected -DONNXRUNTIME_ROOT=FOLDER" \
    "(an unpacked release of ONNX Runtime, 1.22 or newer)" >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
mirror=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2> /dev/null |
  grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ' || true)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} sid main" > "$work/sources.list"
options=(
  -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root
)
apt-get "${options[@]}" -qq update
(cd "$work" && apt-get "${options[@]}" -qq download libonnxruntime-dev)
dpkg-deb -x "$work"/libonnxruntime-dev_*.deb "$work/package"
mkdir -p "$(dirname "$target")"
rm -rf "$target.partial"
mv "$work/package/usr" "$target.partial"
rm -rf "$target"
mv "$target.partial" "$target"
