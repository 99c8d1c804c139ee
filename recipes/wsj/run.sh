#!/usr/bin/env bash
# Wall Street Journal (LDC93S6, LDC94S13): VGG-BLSTMP and transformer on characters, three losses
#
# Stages: 0 check, 1 prepare, 2 tokens, 3 stats, 4 lm, 5 train, 6 decode, 7 score, 8 report.
#
#   ./run.sh wsj --corpus-dir WSJ0 WSJ1                        the VGG-BLSTMP, with every loss
#   ./run.sh wsj --corpus-dir WSJ0 WSJ1 --preset transformer   the transformer
#   ./run.sh wsj --corpus-dir WSJ0 WSJ1 --set loss.name=rescaled_square
#
# Settings: conf/wsj/*.yaml. Results: exp/wsj/report.html, recipes/wsj/RESULTS.md.
set -euo pipefail

exec squall run wsj "$@"
