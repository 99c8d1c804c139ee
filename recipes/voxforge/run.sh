#!/usr/bin/env bash
# VoxForge (1.6 h) with three speakers of LibriSpeech (1.2 h), as Ogg Opus with a table manifest.tsv
#
# Stages: 0 check, 1 prepare, 2 tokens, 3 stats, 4 lm, 5 train, 6 decode, 7 score, 8 report.
#
#   ./run.sh voxforge                                     the folders under SQUALL_DATA/speech
#   ./run.sh voxforge --corpus-dir FOLDER [FOLDER ...]    each with a manifest.tsv
#
# Settings: conf/voxforge/*.yaml. Results: exp/voxforge/report.html, recipes/voxforge/RESULTS.md.
set -euo pipefail

exec squall run voxforge "$@"
