#!/usr/bin/env bash
# Your own corpus, given as three manifests: train.jsonl, dev.jsonl and test.jsonl
#
# Stages: 0 check, 1 prepare, 2 tokens, 3 stats, 4 lm, 5 train, 6 decode, 7 score, 8 report.
#
#   ./run.sh own --corpus-dir FOLDER_OF_THE_MANIFESTS
#
# Settings: conf/own/*.yaml. Results: exp/own/report.html. The manifest's fields: see the README.
set -euo pipefail

exec squall run own "$@"
