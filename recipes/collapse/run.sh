#!/usr/bin/env bash
# Neural collapse by loss and by the number of training images
#
# Stages: 0 check, 1 prepare, 4 tune, 5 train, 6 predict, 7 score, 8 report.
#
#   ./run.sh collapse                     MNIST under SQUALL_DATA
#   ./run.sh collapse --preset transfer   does what has collapsed transfer worse?
#
# Settings: conf/collapse/*.yaml. Results: exp/collapse/report.html, recipes/collapse/RESULTS.md.
set -euo pipefail

exec squall run collapse "$@"
