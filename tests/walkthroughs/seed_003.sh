#!/usr/bin/env bash
# The data steps of a diffusion trainer's guide to supervised fine-tuning, in its words: its three formats, its YAML with
# data.sft.*, data.dataset_name, data.dataset_config_name, data.hf_datasets and training_mode, its separator, its mixture. In
# place of the hub's dataset stands a directory of the same layout with the same configurations, in place of its model
# models/nano. It ends where the data is ready: training with its objective comes later.
#
# Run in an empty directory, with weft on the PATH.
set -euo pipefail
say() { printf '\n### %s\n' "$*"; }
has() { grep -qF -- "$1" || { echo "expected: $1"; exit 1; }; }

say "Formats: Alpaca, ShareGPT, custom"
mkdir -p data
facts=("France Paris" "Italy Rome" "Spain Madrid" "Japan Tokyo" "Egypt Cairo" "Peru Lima" "Kenya Nairobi" "Cuba Havana")
for fact in "${facts[@]}"; do
  read -r country capital <<< "$fact"
  question="What is the capital of $country?" answer="The capital of $country is $capital." system="You are a helpful assistant."
  echo "{\"instruction\": \"$question\", \"output\": \"$answer\", \"system\": \"$system\"}" >> data/alpaca.jsonl
  echo "{\"conversations\": [{\"from\": \"human\", \"value\": \"$question\"}, {\"from\": \"assistant\", \"value\": \"$answer\"}]}" >> data/sharegpt.jsonl
  echo "{\"instruction\": \"$question\", \"response\": \"$answer\", \"system\": \"$system\"}" >> data/custom.jsonl
  echo "{\"ask\": \"$question\", \"say\": \"$answer\", \"persona\": \"$system\"}" >> data/renamed.jsonl
done

say "The model, in place of the hub's"
weft init-model nano --text data/alpaca.jsonl --out models/nano

say "SFT data config"
cat > sft.yaml << 'CONFIG'
model:
  name: models/nano
training_mode: sft
data:
  cache_dir: cache
  sft:
    format: alpaca  # or "sharegpt", "custom"
    instruction_response_separator: "\n\n### Response:\n"
    custom_format:
      instruction_field: "instruction"
      response_field: "response"
      system_field: "system"
CONFIG
weft check sft.yaml data.dataset_name=data/alpaca.jsonl
weft check sft.yaml data.dataset_name=data/sharegpt.jsonl data.sft.format=sharegpt
weft check sft.yaml data.dataset_name=data/custom.jsonl data.sft.format=custom
weft check sft.yaml data.dataset_name=data/renamed.jsonl data.sft.format=custom data.sft.custom_format.instruction_field=ask \
  data.sft.custom_format.response_field=say data.sft.custom_format.system_field=persona
for name in alpaca sharegpt custom; do
  weft show sft.yaml data.dataset_name=data/$name.jsonl data.sft.format=$name | tee shown.txt
  has 'What is the capital of France?' < shown.txt
  has '### Response:' < shown.txt
  has '⟦The capital of France is Paris.<|eos|>⟧' < shown.txt
done

say "The separator"
weft render sft.yaml data.dataset_name=data/custom.jsonl data.sft.format=custom 'data.sft.instruction_response_separator="\n\n### Answer:\n"' | tee rendered.txt
has '### Answer:' < rendered.txt

say "Dataset example: a name, and one of its configurations"
mkdir -p opc-sft-stage1
{
  echo '---'
  echo 'configs:'
  for config in filtered_infinity_instruct largescale_diverse_instruct realuser_instruct; do
    echo "- {config_name: $config, data_files: [{split: train, path: $config/train.jsonl}]}"
    mkdir -p opc-sft-stage1/$config
    for number in $(seq 50); do
      echo "{\"instruction\": \"Question $number of $config?\", \"output\": \"Answer $number.\", \"tag\": \"$config\"}"
    done > opc-sft-stage1/$config/train.jsonl
  done
  echo '---'
} > opc-sft-stage1/README.md
weft check sft.yaml training_mode=sft data.dataset_name=opc-sft-stage1 data.dataset_config_name=filtered_infinity_instruct \
  data.sft.format=alpaca | tee page.txt
has 'opc-sft-stage1:filtered_infinity_instruct' < page.txt
has '50 records (alpaca 50), 0 left out' < page.txt

say "Mixed datasets example"
cat > sft_mixed.yaml << 'CONFIG'
include: sft.yaml
data:
  # Multiple datasets with weights
  hf_datasets:
    - name: opc-sft-stage1
      config: filtered_infinity_instruct
      weight: 0.4
    - name: opc-sft-stage1
      config: largescale_diverse_instruct
      weight: 0.3
    - name: opc-sft-stage1
      config: realuser_instruct
      weight: 0.3
CONFIG
weft check sft_mixed.yaml | tee page.txt
has 'opc-sft-stage1:filtered_infinity_instruct 40.14% (target 40.00%)' < page.txt
weft show sft_mixed.yaml -n 2

say "Troubleshooting: an unsupported format, a dataset that is not there, two names that disagree"
fails() { if weft "$@" 2> error.txt; then echo "should fail: $*"; exit 1; fi; cat error.txt; }
fails check sft.yaml data.sft.format=alpacca
has 'did you mean alpaca?' < error.txt
fails check sft.yaml data.dataset_name=your_dataset_name
has 'your_dataset_name: there is no such file of training records' < error.txt
fails check sft.yaml data.dataset_name=opc-sft-stage1 data.dataset_config_name=none
has "'none' not found" < error.txt
fails check sft.yaml data.dataset_name=data/alpaca.jsonl data.train_path=data/custom.jsonl
has 'are two names of data.train_path, but their values differ' < error.txt
say "done"
