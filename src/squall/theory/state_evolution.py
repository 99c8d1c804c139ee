"""State evolution of the rescaled square loss with the true joint law of labels and predictions.

What is derived here, for the objective |R Y - (X w)_+|^2 + (lambda/2) |w|^2 of `Setting`:

1. Labels. y_l = 1 depends on z_l - mean(z) alone among what the output l can learn, so that by
   symmetry its student is

       w_l = mu v_l + nu noise,   v_l ~ w*_l - mean_j(w*_j),  |v_l|^2 = d,

   with two parameters: the overlap mu with the truth and the noise nu. The output's prediction of a
   new sample is p = mu g + nu s, `squall.theory.channel`.

2. The output side. Let gamma be the precision of p, pull = gamma/2 and G the residual of the prox,
   prox = p + G / (1 + pull). Its mean slope is alpha = 1 - D / (1 + pull), where D counts the jump
   at p*. What it hands to the other side, free of p's noise, is

       r = (prox - alpha p) / (1 - alpha) = c g + N(0, tau^2),
       c = mu + E[g G] / D,   tau^2 = (E[G^2] - E[g G]^2) / D^2 - nu^2,
       gamma' = gamma (1 - alpha) / alpha,   u = lambda / gamma'.

3. The linear side: X X' (X X' + u)^-1 r, whose mean slope is 1 - T(u). Free of r's noise,

       p = (X X' (X X' + u)^-1 - (1 - T)) r / T,   gamma = gamma' T / (1 - T),
       mu = c beta (1 - T),
       mu^2 + nu^2 = [tau^2 (T4 - (1 - T)^2) + c^2 E[s^2 (s^2 / (s^2 + u) - 1 + T)^2]] / T^2.

4. Fixed point, with theta = lambda / gamma; the same as the stationarity of the objective:

       theta mu = (1 - theta) E[g G] / D,   nu^2 (1 + pull)^2 = beta E[G^2],
       (1 - theta) (1 + pull) = beta D.

5. Two outputs' noises have the correlation q = E[G_1 G_2] / E[G^2], where the right side depends on
   q. What counts for an arg max is noise of variance nu^2 (1 - q), so that the accuracy is
   A_k(a / sqrt(a^2 + nu^2 (1 - q))) with a = mu sqrt(k / (k - 1)), `squall.theory.accuracy`.

Items 1 to 3 are `iterate` here, 4 and 5 `squall.theory.fixed_point`.

Everything is proportional to R, accuracy does not depend on it: w minimises the objective for R = 1
where R w does for R.

Where it differs from what Hui 2023 prints (`squall.theory.printed`): there p = z + N(0, kappa^2),
an overlap of exactly 1; the label does not depend on p; the jump is left out of alpha; outputs are
independent; the precision is that of twice the ridge.

Convention: the prox takes the better of two minima for the true class. Where a share of samples is
about to jump (`FixedPoint.jump` above 0) the fixed point is not stable: a delta in the slope has no
finite square, replica symmetry is broken, the iteration on matrices does not settle, and descent
finds one of many minima. The values are then an approximation: the objective lies below what is
found. The convex twin (`convex=True`) has no jump; it is near what descent finds that begins with
positive outputs of true classes, as from least squares, and equal to it where none turns negative.

Source: derived here. The method: Rangan, Schniter and Fletcher 2019 (VAMP); Emami et al. 2020,
*Generalization error of generalized linear models in high dimensions*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from squall.theory.channel import ChannelMeans, channel_means
from squall.theory.marchenko_pastur import spectral_means
from squall.theory.setting import Setting

__all__ = ["Step", "iterate", "means_at", "next_step"]


@dataclass(frozen=True)
class Step:
    """One iteration: p as it comes in, and what becomes of it.

    Args:
        overlap, noise: mu and nu of p, in the units of the data.
        gamma: the precision that the output side gives p.
        alpha: the mean slope of the prox.
        signal, noise_out: c and tau of r.
        u: lambda over the precision of r.
        weight_overlap, weight_noise: of the weights X' (X X' + u)^-1 r, as mu and nu of p are.
    """

    overlap: float
    noise: float
    gamma: float
    alpha: float
    signal: float
    noise_out: float
    u: float
    weight_overlap: float
    weight_noise: float


def iterate(
    setting: Setting,
    *,
    noise: float,
    gamma: float,
    overlap: float = 0.0,
    iterations: int,
    convex: bool = False,
) -> Iterator[Step]:
    """State evolution's own iteration, which `squall.theory.vamp` follows on matrices.

    Args:
        noise: nu of the first p, positive.
        gamma: the first precision, positive.
        overlap: mu of the first p.
        iterations: how many steps at most; it ends early where a precision or a variance is not
            positive any more.
        convex: the convex twin.

    Raises:
        ValueError: a noise or gamma that is not positive.
    """
    for name, value in (("noise", noise), ("gamma", gamma)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; the iteration needs a positive start")
    mu, nu = overlap / setting.rescale, noise / setting.rescale
    for _ in range(iterations):
        means = means_at(setting, mu, nu, gamma / 2, convex)
        following = next_step(setting, mu, nu, gamma, means)
        if following is None:
            return
        step, mu, nu, gamma = following
        yield _times(step, setting.rescale)


def means_at(
    setting: Setting, mu: float, nu: float, pull: float, convex: bool, nodes: int = 400
) -> ChannelMeans:
    """The channel's means for a student at R = 1."""
    return channel_means(
        classes=setting.classes,
        label_correlation=setting.label_correlation,
        pull=pull,
        overlap=mu,
        noise=nu,
        convex=convex,
        nodes=nodes,
    )


def next_step(
    setting: Setting, mu: float, nu: float, gamma: float, means: ChannelMeans
) -> tuple[Step, float, float, float] | None:
    """Items 2 and 3 of the module's docstring at R = 1; None where they leave their range."""
    D = means.divergence
    slope = 1 - D / (1 + gamma / 2)  # alpha
    tau_squared = (means.power - means.alignment**2) / D**2 - nu * nu if D else math.nan
    if not (0 < slope < 1 and tau_squared > 0):
        return None
    c = mu + means.alignment / D
    u = setting.ridge * slope / (gamma * (1 - slope))
    spectral = spectral_means(u, setting.beta)
    t, rest, t2, t4 = (
        float(x) for x in (spectral.t, spectral.complement, spectral.t2, spectral.t4)
    )
    # E[s^4 / (s^2 + u)] and E[s^6 / (s^2 + u)^2]
    fourth, sixth = 1 - u * rest, 1 - 2 * u * rest + u * u * t2
    square = tau_squared * (t4 - rest**2) + c * c * (sixth - 2 * rest * fourth + rest**2)
    new_mu = c * setting.beta * rest
    new_nu_squared = square / t**2 - new_mu**2
    weight_noise = setting.beta * (c * c * t4 + tau_squared * t2) - new_mu**2
    if not (new_nu_squared > 0 and weight_noise > 0):
        return None
    step = Step(
        *(mu, nu, gamma, slope, c, math.sqrt(tau_squared), u),
        *(new_mu, math.sqrt(weight_noise)),
    )
    return step, new_mu, math.sqrt(new_nu_squared), gamma * (1 - slope) / slope * t / rest


def _times(step: Step, rescale: float) -> Step:
    names = ("overlap", "noise", "signal", "noise_out", "weight_overlap", "weight_noise")
    return replace(step, **{name: rescale * getattr(step, name) for name in names})
