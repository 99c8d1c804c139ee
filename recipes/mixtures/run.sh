#!/usr/bin/env bash
# Mixture models: the lemmas of the CCQL paper in numbers, and gradient descent's path to each loss
#
# Stages: 0 check, 5 train (here: compute and simulate), 7 score, 8 report.
#
# Settings: conf/mixtures/*.yaml. Results: exp/mixtures/report.html and
# recipes/mixtures/RESULTS.md.
set -euo pipefail

exec squall run mixtures "$@"
