#!/usr/bin/env bash
# The number of classes, related or not: cross-entropy, quadratic loss and CCQL
#
# Stages: 0 check, 1 prepare, 4 tune, 5 train, 6 predict, 7 score, 8 report.
#
#   ./run.sh ccql --corpus-dir DIR                    CIFAR-100
#   ./run.sh ccql --preset sample                     its part under SQUALL_DATA
#
# Settings: conf/ccql/*.yaml. Results: exp/ccql/report.html, recipes/ccql/RESULTS.md.
set -euo pipefail

exec squall run ccql "$@"
