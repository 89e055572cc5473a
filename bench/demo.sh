#!/usr/bin/env bash
# The main job from data to report, in the folder given; DATA names a real corpus of the layout DATASET, without
# it a synthetic one is spoken.
set -euo pipefail
place=$1
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
clip=$(cut -d, -f1 <(tail -n 1 runs/full/predictions.csv))
audio=$(find -L "$DATA" -name "$clip.*" -type f | head -n 1)
say mtab predict runs/full/bundle "$audio" --text "I never said that!"
say mtab-bench "${corpus[@]}" --overwrite
