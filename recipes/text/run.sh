#!/usr/bin/env bash
# The 121 UCI classification sets: three losses, four folds, five initialisations
#
# Stages: 0 check, 5 train, 7 score, 8 report.
# --corpus-dir DIR is the collection's folder, with NAME/NAME_R.dat, NAME/conxuntos.dat and
# NAME/conxuntos_kfold.dat of each set, plain or gzipped.
#
# Settings: conf/tabular/*.yaml. Results: exp/tabular/report.html and recipes/tabular/RESULTS.md.
set -euo pipefail

exec squall run text "$@"
