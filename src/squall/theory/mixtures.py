"""The mixture model of the CCQL paper: quadratic losses of a linear classifier in closed form.

K classes of equal probability with unit centres mu_k (rows of M), x = mu_y + n, E n = 0,
E n n' = s^2 I, outputs Theta x. The loss with the weight w >= 0 of the true class,

    CCQL = 1/2 E|Theta x - e_y|^2 + (w/2) E(1 - theta_y . x)^2       (w = 0: QL),

is quadratic in Theta, a sum over its rows, and needs no more of the noise than s: bounded and
Gaussian noise cost the same. With G = M M', c = (K + w) s^2 and t_k = [G (G + c I)^-1]_kk,

    theta_k = (1 + w) / (1 + w t_k) (M'M + c I)^-1 mu_k,
    min CCQL = (1 + w) / (2K) sum_k (1 - t_k) / (1 + w t_k).

With w = 0 these are Theta = M (M'M + K s^2 I)^-1 and min QL = 1/2 sum_i s^2 / (g_i + K s^2) over
the K eigenvalues g_i of G, of which K - d are 0 if d < K.

Bounds. By a multiple of mu_k in place of theta_k, and as 1 - t_k = c [(G + c I)^-1]_kk,

    1 / (rho_k + c) <= t_k <= 1 / (1 + c),    rho_k = sum_j (mu_k . mu_j)^2,

and the minimum falls with every t_k, so that with D = rho_k + c

    min CCQL <= (1 + w) / (2K) sum_k (D_k - 1) / (D_k + w).

Orthonormal centres and tight frames (M'M = (K/d) I) attain it; the lower bound, the same with
rho_k = 1, is attained by orthonormal centres. For large w both are w/2 s^2 / (1 + s^2).

What Demirkaya, Chen and Oymak 2020 print: lemma 3.4 has M (M'M + s^2 I)^-1, without K, and twice
the minimum. Lemma 3.5 has a bound without w (see `printed_ccql_bound`); as the lower bound grows
with w it holds for no mixture once w is large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Mixture",
    "Noise",
    "ccql",
    "ccql_lower_bound",
    "ccql_minimiser",
    "ccql_minimum",
    "ccql_upper_bound",
    "equiangular_centres",
    "printed_ccql_bound",
    "printed_ql_minimiser",
    "printed_ql_minimum",
    "random_centres",
    "worst_ccql_upper_bound",
]

Array = NDArray[np.float64]
Noise = Literal["gaussian", "bounded"]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Classes of equal probability around unit centres.

    Args:
        centres: (K, D), rows of length 1, K >= 2.
        noise: s, the standard deviation in every direction, positive.
        kind: "gaussian", or "bounded": uniform on the sphere of radius s sqrt(D).

    Raises:
        ValueError: one of them is out of its range.
    """

    centres: Array
    noise: float
    kind: Noise = "gaussian"

    def __post_init__(self) -> None:
        if self.centres.ndim != 2 or len(self.centres) < 2:
            raise ValueError(f"centres {self.centres.shape} have to be (K, D) with K >= 2")
        lengths = np.linalg.norm(self.centres, axis=1)
        if not np.allclose(lengths, 1, rtol=0, atol=1e-8):
            worst = int(np.abs(lengths - 1).argmax())
            raise ValueError(f"centre {worst} has the length {lengths[worst]:.6g}, not 1")
        if not 0 < self.noise < math.inf:
            raise ValueError(f"noise is {self.noise}; it has to be positive")
        if self.kind not in ("gaussian", "bounded"):
            raise ValueError(f"kind is {self.kind!r}; there are 'gaussian' and 'bounded'")

    @property
    def classes(self) -> int:
        """K."""
        return len(self.centres)

    @property
    def features(self) -> int:
        """D."""
        return int(self.centres.shape[1])

    @property
    def gram(self) -> Array:
        """(K, K) products of centres."""
        return self.centres @ self.centres.T

    @property
    def correlation(self) -> float:
        """The largest |mu_i . mu_j| of two classes: 1 - 3 g with the paper's g."""
        return float(np.abs(self.gram - np.eye(self.classes)).max())

    @property
    def gap(self) -> float:
        """The paper's g, (1 - correlation) / 3."""
        return (1 - self.correlation) / 3

    def draw(self, samples: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
        """x (samples, D) and labels (samples,)."""
        labels = rng.integers(0, self.classes, samples)
        noise = rng.standard_normal((samples, self.features))
        if self.kind == "bounded":
            noise *= math.sqrt(self.features) / np.linalg.norm(noise, axis=1, keepdims=True)
        return self.centres[labels] + self.noise * noise, labels


def random_centres(*, classes: int, features: int, seed: int) -> Array:
    """(K, D) centres, uniform on the unit sphere."""
    rows = np.random.default_rng(seed).standard_normal((classes, features))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def equiangular_centres(*, classes: int, features: int, correlation: float) -> Array:
    """(K, D) centres of which every two have the same product.

    Args:
        classes, features: K <= D.
        correlation: in (-1/(K-1), 1).

    Raises:
        ValueError: too few features or a correlation out of range.
    """
    if features < classes:
        raise ValueError(f"{classes} classes need as many features, not {features}")
    if not -1 / (classes - 1) < correlation < 1:
        raise ValueError(f"correlation is {correlation}; {classes} centres cannot have it")
    gram = (1 - correlation) * np.eye(classes) + correlation
    return np.pad(np.linalg.cholesky(gram), ((0, 0), (0, features - classes)))


def ccql(mixture: Mixture, theta: Array, *, weight: float) -> float:
    """The population's CCQL of Theta (K, D); QL for a weight of 0.

    Raises:
        ValueError: a weight below 0, or another shape of theta.
    """
    _check(mixture, weight)
    if theta.shape != mixture.centres.shape:
        raise ValueError(f"theta is {theta.shape}, not {mixture.centres.shape} as the centres are")
    K, s = mixture.classes, mixture.noise
    outputs = mixture.centres @ theta.T - np.eye(K)  # of the centres, less e_y
    own = (np.diag(outputs) ** 2).sum() / K
    spread = s * s * (theta**2).sum()
    total = (outputs**2).sum() / K + spread + weight * (own + spread / K)
    return float(total / 2)


def ccql_minimiser(mixture: Mixture, *, weight: float) -> Array:
    """(K, D) Theta of the least CCQL.

    Raises:
        ValueError: a weight below 0.
    """
    _check(mixture, weight)
    M, c = mixture.centres, _level(mixture, weight)
    rows = np.linalg.solve(M.T @ M + c * np.eye(mixture.features), M.T).T
    t = (rows * M).sum(axis=1)
    return np.asarray((1 + weight) / (1 + weight * t)[:, None] * rows)


def ccql_minimum(mixture: Mixture, *, weight: float) -> float:
    """The least CCQL.

    Raises:
        ValueError: a weight below 0.

    >>> centres = np.eye(3)
    >>> round(ccql_minimum(Mixture(centres, noise=1.0), weight=0.0), 6)  # 3/2 * 1 / (1 + 3)
    0.375
    """
    _check(mixture, weight)
    c, G = _level(mixture, weight), mixture.gram
    # 1 - t_k, without the difference
    rest = c * np.diag(np.linalg.inv(G + c * np.eye(mixture.classes)))
    return float((1 + weight) / (2 * mixture.classes) * (rest / (1 + weight * (1 - rest))).sum())


def ccql_upper_bound(mixture: Mixture, *, weight: float) -> float:
    """The bound of the module's docstring by the products of the centres."""
    _check(mixture, weight)
    rho = (mixture.gram**2).sum(axis=1)
    return float(_bound(rho + _level(mixture, weight), weight).mean())


def ccql_lower_bound(mixture: Mixture, *, weight: float) -> float:
    """What CCQL costs at least whatever the centres are: the bound for orthonormal ones."""
    _check(mixture, weight)
    return float(_bound(np.array(1 + _level(mixture, weight)), weight))


def worst_ccql_upper_bound(
    *, classes: int, noise: float, correlation: float, weight: float
) -> float:
    """The upper bound of every mixture whose centres have at most this correlation.

    Args:
        classes: K, at least 2.
        noise: s, positive.
        correlation: 1 - 3 g, in [0, 1].
        weight: w, at least 0.

    Attained by equiangular tight frames, and for a correlation of 0.
    """
    if classes < 2 or noise <= 0 or not 0 <= correlation <= 1 or weight < 0:
        raise ValueError(
            f"classes {classes}, noise {noise}, correlation {correlation}, weight {weight}: one is "
            "out of its range"
        )
    rho = 1 + (classes - 1) * correlation**2
    return float(_bound(np.array(rho + (classes + weight) * noise**2), weight))


def printed_ql_minimiser(mixture: Mixture) -> Array:
    """M (M'M + s^2 I)^-1 as lemma 3.4 prints it; the minimiser has K s^2 in place of s^2."""
    M = mixture.centres
    return np.linalg.solve(M.T @ M + mixture.noise**2 * np.eye(mixture.features), M.T).T


def printed_ql_minimum(mixture: Mixture) -> float:
    """sum_i s^2 / (g_i + K s^2) as lemma 3.4 prints it: twice the minimum."""
    values = np.linalg.eigvalsh(mixture.gram)
    s2 = mixture.noise**2
    return float((s2 / (values + mixture.classes * s2)).sum())


def printed_ccql_bound(mixture: Mixture) -> float:
    """Lemma 3.5's bound, which does not contain w: K s^2 + 1/K sum_{i != j} (mu_i . mu_j)^2.

    It is E|Theta x - e_y|^2 at Theta = M: CCQL there is half of it, and half of w s^2 more.

    Convention: the formula is inferred from the value of the bound for one mixture (2.57 for 12
    classes in 8 dimensions, s = 0.3).
    """
    K = mixture.classes
    return float(K * mixture.noise**2 + ((mixture.gram**2).sum() - K) / K)


def _bound(D: Array, weight: float) -> Array:
    return np.asarray((1 + weight) / 2 * (D - 1) / (D + weight))


def _level(mixture: Mixture, weight: float) -> float:
    """c = (K + w) s^2."""
    return (mixture.classes + weight) * mixture.noise**2


def _check(mixture: Mixture, weight: float) -> None:
    if not 0 <= weight < math.inf:
        raise ValueError(f"weight is {weight} for {mixture.classes} classes; w is at least 0")
