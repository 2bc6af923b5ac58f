#!/usr/bin/env bash
# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
# The packaged weights from an empty folder: pictures, clips, eleven trainings, scores. `make edge-weights` calls it; every
# step goes on where it stopped. Needs npm, apt and a few hours on two cores. What the parts are for: docs/edge.md.
#   EDGE_PICTURES=dir   the folder of photographs (docs/models.md); without it the later parts do without them
#   EDGE_TRIAL=1        few clips and steps, in a folder of its own; the package stays as it is
set -euo pipefail

pictures=${EDGE_PICTURES:-} trial=${EDGE_TRIAL:-}
work=edge_work${trial:+/trial}
scores=${trial:+$work}
scores=${scores:-benchmarks/results}

render() { # render PART KIND FIRST CLIPS FRAMES [--plain]
  m4sam edge render --out "$work/clips$1" --kind "$2" --first "$3" --clips "$([[ $trial ]] && echo 4 || echo "$4")" --frames "$5" "${@:6}"
}

train() { # train PART CONFIG CLIPS TRIAL_SHARE [--set ...]; starts from the part before
  local start=()
  [[ $1 == 1 ]] || start=(--set "init.checkpoint=$work/run$(($1 - 1))/edge.safetensors")
  m4sam train --config "config/train/$2.yaml" --data "$work/clips$3" --out "$work/run$1" --resume auto "${start[@]}" "${@:5}" \
    ${trial:+--set "schedule.share=$4"}
}

take() { # take PART NAMES OTHER: clips of another part whose names fit, again
  mkdir -p "$work/clips$1"
  find "$work/clips$3" -name "$2.npz" -exec ln -f -t "$work/clips$1" {} +
}

twice() { # twice PART NAMES OTHER: those once more, under another name
  local clip
  for clip in "$work/clips$3"/$2.npz; do ln -f "$clip" "$work/clips$1/again_${clip##*/}"; done
}

OPENCV_IO_ENABLE_OPENEXR=1 m4sam edge assets --people 72 ${pictures:+--pictures "$pictures"}

m4sam edge render --out "$work/clips1" ${trial:+--clips 12}
train 1 edge 1 0.002

render 2 situation 0 380 4
render 2 story 0 420 5
render 2 room 0 120 4
train 2 edge_memory 2 0.004

render 3 situation 400 2000 2
render 3 room 5000 900 2
train 3 edge_picture 3 0.004

render 4 story 0 500 8
render 4 room 6000 360 8
render 4 situation 2000 310 8
render 4 room 900000 308 8 --plain
render 4 story 550000 50 8 --plain
train 4 edge_agreement 4 0.002

render 5 distinct 0 400 8
render 5 room 6000 360 8
render 5 situation 2000 310 8
render 5 situation 4000 320 8
render 5 situation 5000 500 8
render 5 arrival 0 340 8
render 5 distinct 350000 40 8 --plain
render 5 room 900000 308 8 --plain
render 5 arrival 50000 400 8 --plain
if [[ $pictures ]]; then
  m4sam edge rehearse "$work/run3/edge.safetensors" "$pictures" --out "$work/clips5" --every 2 ${trial:+--limit 4}
fi
train 5 edge_arrivals 5 0.001

render 6 situation 8000 2000 2
render 6 room 8000 250 2
render 6 arrival 8000 150 2
take 6 '*' 3
take 6 '70????' 5
train 6 edge_picture_again 6 0.002

train 7 edge_arrivals 5 0.001 --set export.memory_keeps=0.5 --set schedule.share=0.15

take 8 '*' 5
twice 8 '60????' 5
twice 8 '95????' 5
train 8 edge_arrivals 8 0.001 --set export.memory_keeps=0.85 --set schedule.share=0.23

render 9 situation 12000 1800 2
render 9 room 12000 200 2
take 9 '*' 6
train 9 edge_picture_again 9 0.002 --set export.keep_of_start=0.65 --set schedule.share=0.59

render 10 street 0 1500 2
take 10 '*' 9
twice 10 '30????' 10
train 10 edge_picture_again 10 0.002 --set export.keep_of_start=0.55 --set schedule.share=0.63

render 11 street 2000 1100 2
render 11 situation 14000 1500 2
render 11 room 14000 150 2
render 11 arrival 14000 100 2
twice 11 '302???' 11
if [[ $pictures ]]; then
  m4sam edge rehearse "$work/run9/edge.safetensors" "$pictures" --out "$work/clips11" --every 2 --frames 2 ${trial:+--limit 4}
fi
train 11 edge_picture_again 11 0.002 --set export.keep_of_start=0.6 --set schedule.share=0.51

m4sam edge eval "$work/run11/edge.safetensors" ${trial:+--clips 1 --frames 2 --stories 1 --situations 1} --json "$scores/edge_eval.json"
m4sam edge ablate --clips "$work/clips1" --out "$work/ablation" ${trial:+--steps 1 --held-out 1 --frames 2} --json "$scores/edge_ablation.json"
m4sam bench precision --model "$work/run11/edge.safetensors" --backend torch --write
if [[ $trial ]]; then
  echo "trial done: $work"
else
  cp "$work/run11/edge.safetensors" m4sam_core/weights/edge.safetensors
fi
