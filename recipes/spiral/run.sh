#!/usr/bin/env bash
# Two spirals: how the decision boundary of each loss grows along training
#
# Stages: 0 check, 5 train, 7 score, 8 report.
#
# Settings: conf/spiral/*.yaml. Results: exp/spiral/report.html and recipes/spiral/RESULTS.md.
set -euo pipefail

exec squall run spiral "$@"
