#!/usr/bin/env bash
# Your own corpus: train.jsonl, dev.jsonl and test.jsonl, or a table manifest.tsv
#
# Stages: 0 check, 1 prepare, 2 tokens, 3 stats, 4 lm, 5 train, 6 decode, 7 score, 8 report.
#
#   ./run.sh own --corpus-dir FOLDER [FOLDER ...]
#
# Settings: conf/own/*.yaml. Results: exp/own/report.html. The fields: see the README.
set -euo pipefail

exec squall run own "$@"
