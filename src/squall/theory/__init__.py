"""Theory of square losses: what their published equations say, and what holds instead.

Needs numpy and scipy, not torch, and nothing else of the project.

Asymptotics of the rescaled square loss, one layer behind a ReLU: `solve` predicts the accuracy of
the minimiser for a `Setting`, `solve_printed` what the source's equations say; `minimise` and
`run_vamp` are the minimiser and the iteration on data that `draw_data` makes, `minimise_gram` the
minimiser on features that are far from white. The parts are in
`marchenko_pastur`, `prox`, `labels`, `channel`, `accuracy`, `state_evolution`, `fixed_point`.

Mixture models: `squall.theory.mixtures` for quadratic losses, `squall.theory.mixture_entropy` for
cross-entropy.

>>> from squall.theory import Setting, solve
>>> round(solve(Setting(classes=2, beta=0.5)).accuracy, 3)
0.673
"""

from squall.theory.accuracy import plurality_agreement
from squall.theory.best_rescale import BestRescale, best_rescale
from squall.theory.fixed_point import FixedPoint, solve
from squall.theory.gram import GramMinimum, gradient_descent_gram, minimise_gram
from squall.theory.marchenko_pastur import SpectralMeans, spectral_means
from squall.theory.minimise import (
    STARTS,
    Minimum,
    best_minimum,
    gradient_descent,
    initial_weights,
    minimise,
)
from squall.theory.mixture_entropy import Estimate, sampled_cross_entropy
from squall.theory.mixtures import Mixture, ccql, ccql_minimiser, ccql_minimum
from squall.theory.printed import PrintedFixedPoint, solve_printed
from squall.theory.prox import rescaled_square_prox
from squall.theory.setting import Setting
from squall.theory.state_evolution import Step, iterate
from squall.theory.teacher import (
    Overlaps,
    TeacherData,
    draw_data,
    draw_outputs,
    measure_overlaps,
    sampled_accuracy,
)
from squall.theory.vamp import VampResult, run_vamp

__all__ = [
    "STARTS",
    "BestRescale",
    "Estimate",
    "FixedPoint",
    "GramMinimum",
    "Minimum",
    "Mixture",
    "Overlaps",
    "PrintedFixedPoint",
    "Setting",
    "SpectralMeans",
    "Step",
    "TeacherData",
    "VampResult",
    "best_minimum",
    "best_rescale",
    "ccql",
    "ccql_minimiser",
    "ccql_minimum",
    "draw_data",
    "draw_outputs",
    "gradient_descent",
    "gradient_descent_gram",
    "initial_weights",
    "iterate",
    "measure_overlaps",
    "minimise",
    "minimise_gram",
    "plurality_agreement",
    "rescaled_square_prox",
    "run_vamp",
    "sampled_accuracy",
    "sampled_cross_entropy",
    "solve",
    "solve_printed",
    "spectral_means",
]
