#!/usr/bin/env bash
# What the asymptotics of the rescaled square loss predict, as printed and corrected, beside minima
#
# Stages: 0 check, 5 train (here: predict and simulate), 7 score, 8 report.
#
# Settings: conf/asymptotics/*.yaml. Results: exp/asymptotics/report.html and
# recipes/asymptotics/RESULTS.md.
set -euo pipefail

exec squall run asymptotics "$@"
