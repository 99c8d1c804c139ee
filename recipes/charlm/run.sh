#!/usr/bin/env bash
# Language models over characters: a Transformer-XL on text8 or enwik8, trained with several losses
#
# Stages: 0 check, 1 prepare, 5 train, 6 predict, 7 score, 8 report.
# --corpus-dir DIR is a folder with train.txt, valid.txt and test.txt, plain or as .xz or .gz, or with
# the 100,000,000 bytes of text8 or enwik8 in one file. Presets: text8_small (the default) and
# enwik8_small for two CPU cores, subword, text8 and enwik8 with the sources' settings.
#
# Settings: conf/charlm/*.yaml. Results: exp/charlm/report.html and recipes/charlm/RESULTS.md.
set -euo pipefail

exec squall run charlm "$@"
