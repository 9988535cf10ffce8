#!/usr/bin/env bash
# The walk-through of a config-driven fine-tuning CLI that weft takes the place of, word by word: its toy data, its YAML, its
# template, its overrides, its troubleshooting commands. In place of the hub's model stands `models/small`; the QLoRA and
# Unsloth steps are left out; a train command that changes settings in a finished run directory adds ARGS=--fresh, because
# weft never overwrites one (the old run is moved aside).
#
# Run in a directory that holds weft's Makefile, configs/ and chat_templates/. MAKE may carry VENV=….
set -euo pipefail
make=${MAKE:-make}
say() { printf '\n### %s\n' "$*"; }

say "Step 1: create sample data"
mkdir -p data/raw
cat > data/raw/sft_toy_dataset.jsonl << DATA
{"system": "You are a helpful assistant.", "user": "What is Python?", "assistant": "Python is a high-level programming language known for its simplicity and readability. It's widely used for web development, data science, and artificial intelligence."}
{"system": "You are a helpful assistant.", "user": "What is machine learning?", "assistant": "Machine learning is a subset of artificial intelligence that enables computers to learn from data without explicit programming. It involves training algorithms to recognize patterns."}
{"system": "You are a helpful assistant.", "user": "What is deep learning?", "assistant": "Deep learning is a subset of machine learning that uses neural networks with multiple layers to progressively extract higher-level features from raw input."}
{"system": "You are a helpful assistant.", "user": "What is natural language processing?", "assistant": "Natural Language Processing (NLP) is a field of AI focused on enabling computers to understand, interpret, and generate human language."}
{"system": "You are a helpful assistant.", "user": "What is computer vision?", "assistant": "Computer vision is an AI field that enables computers to interpret and understand visual information from the world, including images and videos."}
DATA

say "The model, in place of the hub's"
$make init-model SIZE=small TEXT=data/raw OUT=models/small

say "Step 2: configure"
cat > configs/my_sft.yaml << CONFIG
include: configs/config_base.yaml

# SFT mode configuration
mode: sft

# Model configuration
model:
  name: models/small
  type: causal
  max_seq_len: 512

# Training configuration
train:
  epochs: 3
  learning_rate: 2e-4
  output_dir: outputs/sft-run

# Data configuration
data:
  format: chat
  template_path: chat_templates/default.jinja
  train_path: data/processed/train.jsonl
  val_path: data/processed/val.jsonl
  test_path: data/processed/test.jsonl
CONFIG

say "Step 3: process, style, train"
$make process
$make style STYLE="Be helpful and concise"
$make train CONFIG=configs/my_sft.yaml

say "Step 4: test the model"
printf 'What is Python?\n/exit\n' | $make infer CONFIG=configs/my_sft.yaml gen.max_new_tokens=16
echo "What is Python?" | $make infer-batch CONFIG=configs/my_sft.yaml gen.max_new_tokens=16

say "Configuration overrides"
$make train CONFIG=configs/my_sft.yaml model.name=models/small
$make train CONFIG=configs/my_sft.yaml train.epochs=5 train.learning_rate=1e-4 ARGS=--fresh
$make train CONFIG=configs/my_sft.yaml tuning.lora.r=64 tuning.lora.alpha=128 ARGS=--fresh

say "A custom template"
cat > chat_templates/custom.jinja << 'TEMPLATE'
{% for message in messages %}
{% if message['role'] == 'system' %}
System: {{ message['content'] }}
{% elif message['role'] == 'user' %}
Human: {{ message['content'] }}
{% elif message['role'] == 'assistant' %}
Assistant: {{ message['content'] }}
{% endif %}
{% endfor %}
TEMPLATE
cat > configs/my_custom.yaml << CONFIG
include: configs/my_sft.yaml
train:
  output_dir: outputs/custom-run
data:
  template_path: chat_templates/custom.jinja
  format: chat
CONFIG
$make check CONFIG=configs/my_custom.yaml
$make render CONFIG=configs/my_custom.yaml
$make train CONFIG=configs/my_custom.yaml
echo "What is Python?" | $make infer-batch CONFIG=configs/my_custom.yaml gen.max_new_tokens=16

say "Multi-turn conversations"
mkdir -p data/multi-turn
cat > data/multi-turn/one.json << DATA
{"messages": [
  {"role": "system", "content": "You are a helpful assistant."},
  {"role": "user", "content": "What is Python?"},
  {"role": "assistant", "content": "Python is a programming language."},
  {"role": "user", "content": "What are its main features?"},
  {"role": "assistant", "content": "Python is known for simplicity, readability, and extensive libraries."}
]}
DATA
for template in default custom; do
  $make check CONFIG=configs/my_sft.yaml data.train_path=data/multi-turn/one.json data.template_path=chat_templates/$template.jinja
done

say "Style and format control"
$make style STYLE="Answer in bullet points. Be concise."
$make style STYLE="Always respond in JSON format with 'answer' and 'confidence' fields."
$make style STYLE="You are an expert software engineer. Provide technical, detailed answers."
grep -q "expert software engineer" data/processed/train.jsonl
! grep -q "bullet points" data/processed/train.jsonl

say "Evaluation"
$make eval CONFIG=configs/my_sft.yaml gen.max_new_tokens=16
$make eval-quick CONFIG=configs/my_sft.yaml gen.max_new_tokens=16
$make eval-full CONFIG=configs/my_sft.yaml gen.max_new_tokens=16
echo -e "What is Python?\nExplain machine learning\nWhat is NLP?" > test_questions.txt
$make infer-batch CONFIG=configs/my_sft.yaml INPUT_FILE=test_questions.txt gen.max_new_tokens=16

say "Troubleshooting"
$make train CONFIG=configs/my_sft.yaml model.max_seq_len=256 train.batch_size=1 ARGS=--fresh
$make train CONFIG=configs/my_sft.yaml train.epochs=5 train.learning_rate=1e-4 ARGS=--fresh
$make train CONFIG=configs/my_sft.yaml train.epochs=2 train.warmup_ratio=0.1 ARGS=--fresh
head -n 5 data/processed/train.jsonl
$make check
$make clean && $make process
test -f data/raw/sft_toy_dataset.jsonl && test -d models/small && test -d outputs/sft-run
printf '/exit\n' | $make infer CONFIG=configs/config_base.yaml model.name=models/small

say "Merge"
$make merge CONFIG=configs/my_sft.yaml
say "done"
