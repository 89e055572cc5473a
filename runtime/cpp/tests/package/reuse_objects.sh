#!/usr/bin/env bash
# A compiler launcher: reuse_objects.sh OBJECTS COMPILER ARGUMENT...
# The library takes minutes to compile, and another project's copy of it differs only in where it lies. What this
# launcher finds in the folder OBJECTS is copied; a file of each dependency is compiled all the same.
set -euo pipefail
objects=$1
shift
output=
for ((i = 1; i < $#; ++i)); do
  if [ "${!i}" = -o ]; then
    next=$((i + 1))
    output=${!next}
  fi
done
name=${output#*mtab_objects.dir/}
case $name in
  src/onnxruntime.cpp.o | src/audio/soundfiles.cpp.o | src/audio/resampling.cpp.o | src/sha256.cpp.o) ;;
  src/*)
    if [ -e "$objects/$name" ]; then
      cp "$objects/$name" "$output"
      exit 0
    fi
    ;;
esac
exec "$@"
