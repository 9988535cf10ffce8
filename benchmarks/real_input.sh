#!/usr/bin/env bash
# The whole chain on real records (../shared/data beside the checkout): prepare, check, train with LoRA and in full, eval,
# merge, infer. docs/benchmarks.md holds what it printed, and where. Run it on a machine that does nothing else.
#
#   benchmarks/real_input.sh [FOLDER]     everything that it writes goes into FOLDER, a new one by default
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
data=$root/../shared/data
weft=$root/.venv/bin/weft
folder=${1:-$(mktemp -d)}
mkdir -p "$folder" && cd "$folder"
say() { printf '\n### %s\n' "$*"; }
run() { printf '$ weft %s\n' "$*"; "$weft" "$@"; }

say "alpaca_en.json: 999 records, a model of 10 million parameters made from their text"
[ -d models/micro ] || run init-model micro --text "$data/alpaca_en.json" --out models/micro
alpaca=("$root/configs/alpaca.yaml" model.name=models/micro "data.raw_path=$data/alpaca_en.json" train.epochs=1
  train.learning_rate=1e-3 gen.max_new_tokens=64)
full=("${alpaca[@]}" tuning.mode=full train.output_dir=outputs/alpaca-full)
run prepare "${alpaca[@]}"
run check "${alpaca[@]}"
run train "${alpaca[@]}"
run eval "${alpaca[@]}" --compare
run merge "${alpaca[@]}"
run infer "${alpaca[@]}" --prompt "Give three tips for staying healthy."
run train "${full[@]}"
run eval "${full[@]}"
run infer "${full[@]}" --prompt "Give three tips for staying healthy."

say "course/style_sft.jsonl with course/style_benchmark.jsonl, a model of 2 million parameters made from their text"
[ -d models/nano ] || run init-model nano --text "$data/course/style_sft.jsonl" --out models/nano
course=(run_name=course tuning.mode=full train.epochs=30 train.learning_rate=2e-3 train.batch_size=4 train.grad_accum=1
  "data.raw_path=$data/course/style_sft.jsonl" data.train_path=data/course/train.jsonl
  "data.val_path=$data/course/style_benchmark.jsonl" data.test_path=data/course/test.jsonl
  data.split.train_ratio=1 data.split.val_ratio=0 data.split.test_ratio=0 gen.max_new_tokens=400)
adapter=("${course[@]}" tuning.mode=lora train.epochs=10 train.output_dir=outputs/course-lora)
run prepare "${course[@]}"
run check "${course[@]}"
run train "${course[@]}"
run eval "${course[@]}" --set train --set val
run infer "${course[@]}" --prompt "什么是电场强度？"
run train "${adapter[@]}"
run eval "${adapter[@]}"
run merge "${adapter[@]}"
