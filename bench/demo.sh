#!/usr/bin/env bash
# The main job from data to report, in the folder given; DATA names a real corpus of the layout DATASET, without
# it a synthetic one is spoken.
set -euo pipefail
place=$1
[ -z "$DATA" ] || DATA=$(realpath "$DATA")
mkdir -p "$place"
cd "$place"
say() { echo; echo "$ $*"; "$@"; }

if [ -z "$DATA" ]; then
  DATA=data/$DATASET
  say mtab-train synth --layout "$DATASET" --out "$DATA" --utterances "$UTTERANCES" --seed 0 --overwrite
fi
corpus=(--dataset "$DATASET" --data-dir "$DATA")
fit=(mtab-train fit "${corpus[@]}" --preset tiny --epochs "$EPOCHS" --overwrite)
say mtab-train data "${corpus[@]}"
say "${fit[@]}" --modalities audio --out runs/audio
say "${fit[@]}" --modalities text --out runs/text
say "${fit[@]}" --out runs/full
say mtab-export --overwrite
say mtab-export --fp16 --int8

# A held-out clip, wherever the layout keeps it.
name=$(tail -n 1 runs/full/predictions.csv | cut -d, -f1)
name=$(basename "${name#test_}")
[ -d "$DATA" ] && root=$DATA || root=$(dirname "$DATA")
clip=$(find -L "$root" \( -name "$name" -o -name "$name.wav" -o -name "$name.flac" -o -name "$name.mp4" \) -print -quit)
say mtab predict runs/full/bundle "$clip" --text "I never said that!"
say mtab-bench "${corpus[@]}" --overwrite
