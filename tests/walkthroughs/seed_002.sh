#!/usr/bin/env bash
# The walk-through of a set of SFT scripts that weft takes the place of: three well-known sets with weights, a SentencePiece tokenizer
# whose ids are laid down, ChatML on a model that never saw it. In place of the sets stand a few records in their schemas, in
# place of spm32k.model one of 360 pieces, in place of the pretrained model one with random weights.
#
# Run in an empty directory. WEFT may name the command.
set -euo pipefail
weft=${WEFT:-weft}
say() { printf '\n### %s\n' "$*"; }
refused() { # the command must fail, with these words
  local words=$1
  shift
  if "$@" 2> error.txt; then exit 1; fi
  grep -qF "$words" error.txt
}

say "Local copies of the three sets, in their schemas"
mkdir -p copies
cities=(Lisbon Oslo Cairo Lima Hanoi Quito Riga Accra)
things=(bread glass paper steel wool salt soap silk)
for c in "${!cities[@]}"; do
  for t in "${!things[@]}"; do
    city=${cities[$c]} thing=${things[$t]} n=$((8 * c + t))
    printf '{"instruction": "Where is the best %s sold in %s?", "context": "%s is a city with %d markets. Its %s is known.", "response": "In %s the best %s is sold at market number %d, early in the morning.", "category": "closed_qa"}\n' \
      "$thing" "$city" "$city" $((n + 2)) "$thing" "$city" "$thing" $((t + 1))
  done
done > copies/databricks-dolly-15k.jsonl
message() { # id, parent, role, language, rank, text
  printf '{"message_id": "%s", "parent_id": %s, "user_id": "u", "created_date": "2023-02-05T14:23:50.983374+00:00", "text": "%s", "role": "%s", "lang": "%s", "review_count": 3, "review_result": true, "deleted": false, "rank": %s, "synthetic": false, "model_name": null, "message_tree_id": "%s", "tree_state": "ready_for_export", "emojis": null, "labels": null}\n' \
    "$1" "$2" "$6" "$3" "$4" "$5" "${1%%-*}"
}
for c in "${!cities[@]}"; do
  for t in "${!things[@]}"; do
    city=${cities[$c]} thing=${things[$t]} id="t$c$t"
    message "$id-q" null prompter en null "How long does $thing from $city keep?"
    message "$id-a" "\"$id-q\"" assistant en 1 "Not very long."
    message "$id-b" "\"$id-q\"" assistant en 0 "Kept dry and cool, $thing from $city keeps for $((c + t + 1)) weeks."
    message "$id-c" "\"$id-b\"" prompter en null "Thank you!"
  done
  message "d$c-q" null prompter de null "Wie geht es dir in ${cities[$c]}?"
  message "d$c-a" "\"d$c-q\"" assistant de null "Gut, danke."
done > copies/oasst1.jsonl
{
  printf '['
  for c in "${!cities[@]}"; do
    for t in "${!things[@]}"; do
      [ "$c$t" = 00 ] || printf ','
      printf '\n{"instruction": "Write a sentence about the thing and the city.", "input": "%s, %s", "output": "Nobody in %s makes %s like the old woman behind the bridge."}' \
        "${things[$t]}" "${cities[$c]}" "${cities[$c]}" "${things[$t]}"
    done
  done
  printf '\n]\n'
} > copies/alpaca.json

say "Dataset preparation: all popular sets, or one of them"
$weft datasets get all --source copies --out data/sft
for name in dolly15k oasst1 alpaca; do
  $weft datasets get $name --source copies --out data/one
done
for name in dolly15k oasst1_en alpaca; do
  cmp data/sft/$name.jsonl data/one/$name.jsonl
  test "$(wc -l < data/sft/$name.jsonl)" = 64
done
grep -q '"prompt": "How long does bread from Lisbon keep?", "response": "Kept dry and cool' data/sft/oasst1_en.jsonl

say "The tokenizer and the pretrained model, in place of real ones"
$weft train-tokenizer data/sft --vocab 360 --type sentencepiece --out data/made
mkdir data/tokenizer && cp data/made/tokenizer.model data/tokenizer/spm32k.model
$weft init-model nano --tokenizer data/tokenizer/spm32k.model --out checkpoints/tiny/final
rm checkpoints/tiny/final/tokenizer*

say "Example 1: ChatML and weights"
mkdir -p config
cat > config/sft_tiny.yaml << CONFIG
model:
  name: checkpoints/tiny/final
  tokenizer: data/tokenizer/spm32k.model
  tokenizer_ids: {pad: 0, unk: 1, bos: 2, eos: 3}
  max_seq_len: 256
datasets:
  - {path: data/sft/dolly15k.jsonl, weight: 0.4}
  - {path: data/sft/oasst1_en.jsonl, weight: 0.4}
  - {path: data/sft/alpaca.jsonl, weight: 0.2}
data:
  template_path: chatml
  val_split_ratio: 0.1
tuning:
  mode: lora
  lora: {r: 16}
train:
  packing: bfd
  max_steps: 4
  save_strategy: steps
  save_steps: 2
  learning_rate: 1e-3
  output_dir: checkpoints/sft/tiny-mixed
gen:
  max_new_tokens: 12
CONFIG
$weft check config/sft_tiny.yaml --strict | tee check.txt
grep -q 'tokenizer  data/tokenizer/spm32k.model: 362 entries; bos <s> 2; eos </s> 3; pad <pad> 0; stops </s> 3, <|im_end|> 361' check.txt
grep -q 'dolly15k 40.23% (target 40.00%).*oasst1_en 39.66% (target 40.00%).*alpaca 20.11% (target 20.00%)' check.txt
grep -q '100.0% of the trained turns end with a stop token' check.txt
$weft check config/sft_tiny.yaml --json > check.json
grep -q '"name": "dolly15k"' check.json
$weft show config/sft_tiny.yaml -n 1 | tee show.txt
grep -q '<|im_end|>⟧' show.txt
$weft train config/sft_tiny.yaml | tee train.txt
grep -q '<|im_start|> (360), <|im_end|> (361) are added to the tokenizer' train.txt
$weft infer config/sft_tiny.yaml --prompt 'How long does bread from Lisbon keep?'

say "Example 2: instruct, balanced weights, merged"
cat > config/sft_small.yaml << CONFIG
include: sft_tiny.yaml
datasets:
  - {path: data/sft/dolly15k.jsonl, weight: 0.33}
  - {path: data/sft/oasst1_en.jsonl, weight: 0.33}
  - {path: data/sft/alpaca.jsonl, weight: 0.34}
data:
  template_path: instruct
train:
  max_steps: 2
  output_dir: checkpoints/sft/small-balanced
CONFIG
$weft check config/sft_small.yaml --strict | tee check.txt
grep -q 'spm32k.model: 360 entries; .*stops </s> 3$' check.txt
$weft show config/sft_small.yaml -n 1
$weft train config/sft_small.yaml
$weft merge config/sft_small.yaml

say "Example 3: two sets, merged; then resumed from a checkpoint"
cat > config/sft_quality.yaml << CONFIG
include: sft_tiny.yaml
datasets:
  - {path: data/sft/dolly15k.jsonl, weight: 0.7}
  - {path: data/sft/oasst1_en.jsonl, weight: 0.3}
train:
  output_dir: checkpoints/sft/tiny-quality
CONFIG
$weft train config/sft_quality.yaml
$weft merge config/sft_quality.yaml
first=$(ls -d checkpoints/sft/tiny-quality/checkpoint-* | sort -V | head -n 1)
cp checkpoints/sft/tiny-quality/adapter_model.safetensors before.safetensors
$weft train config/sft_quality.yaml train.resume_from_checkpoint="$first"
cmp before.safetensors checkpoints/sft/tiny-quality/adapter_model.safetensors

say "Example 4: full fine-tuning, without packing"
$weft train config/sft_tiny.yaml tuning.mode=full train.packing=none train.max_steps=2 train.output_dir=checkpoints/sft/tiny-full-ft

say "Evaluation: quick, by generation, of the merged model"
$weft eval config/sft_tiny.yaml --quick
head -n 3 data/sft/alpaca.jsonl | sed 's/.*"prompt": "\([^"]*\)".*/\1/' > questions.txt
$weft infer config/sft_tiny.yaml --input questions.txt
$weft infer config/sft_quality.yaml model.name=checkpoints/sft/tiny-quality/merged model.tokenizer= train.output_dir=checkpoints/none --prompt 'What?'

say "A tokenizer with other ids is refused, and so is a damaged one"
refused 'pad is 0 (<pad>) and not 3 (</s>)' $weft check config/sft_tiny.yaml model.tokenizer_ids.pad=3
head -c 1000 data/tokenizer/spm32k.model > data/tokenizer/cut.model
refused 'cut.model: it is no SentencePiece model, or a damaged one' \
  $weft check config/sft_tiny.yaml model.tokenizer=data/tokenizer/cut.model
say "done"
