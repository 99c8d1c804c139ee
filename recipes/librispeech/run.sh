#!/usr/bin/env bash
# LibriSpeech (100 h of audiobooks, or a sample): several models, each with several losses
#
# Stages: 0 check, 1 prepare, 2 tokens, 3 stats, 4 lm, 5 train, 6 decode, 7 score, 8 report.
#
#   ./run.sh librispeech --preset sample                  250 utterances under SQUALL_DATA, two cores
#   ./run.sh librispeech --preset rnn --corpus-dir DIR    the papers' model; DIR is LibriSpeech/
#   ./run.sh librispeech --preset rnn --download          the same, fetched first (7.1 GB)
#   ./run.sh librispeech --preset sample --subset mini --corpus-dir DIR --download
#                                                         5 h of speech, 0.8 GB, into DIR
#
# Settings: conf/librispeech/*.yaml. Results: exp/librispeech/report.html,
# recipes/librispeech/RESULTS.md.
set -euo pipefail

exec squall run librispeech "$@"
