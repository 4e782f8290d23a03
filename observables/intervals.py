"""Confidence intervals of estimates whose distribution is skewed or has a heavy tail.

With ψ_i what draw i adds to an estimate θ to first order, σ² its variance and γ = E ψ³/σ³ its
skewness, the studentised estimate T = (θ̂ - θ)/stderr of n draws has the distribution

    P(T < x) = Φ(x) + (A + B x²) φ(x),    A = (γ + 3c)/6√n,    B = (2γ + 3c)/6√n,

up to O(1/n): where a draw of the tail raises an estimate it raises its error, too, so that values
too small come with errors too small. c is the curvature: an estimate f(ā) is a function of
averages, and c σ³ is its second derivative along the covariance of ā with f. (Hall, "The Bootstrap
and Edgeworth Expansion", 1992, §§2.4-2.6, for estimates that are corrected for their bias.) The
cubic

    g(T) = A + ((1 + B T)³ - 1)/3B

is normal to the same order, increases, and is inverted in closed form (Hall, J. R. Stat. Soc. B 54,
221 (1992)): that gives the ends of the intervals.

Of the next order what matters is that the error is itself uncertain. An excess kurtosis κ of ψ
makes the variance of n draws as uncertain as that of 2n/(κ+2) + 1 normal numbers: Student's
quantiles with so many degrees of freedom take the place of the normal ones (Satterthwaite,
Biometrics 2, 110 (1946)).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, t

from .estimate import Estimate

Array = NDArray[np.float64]

# The probabilities within one and two standard deviations of a normal distribution.
_TAILS = {"interval_68": norm.cdf(-1.0), "interval_95": norm.cdf(-2.0)}
_LEAST_FREEDOM = 2.0
_SYMMETRIC = 1e-9
_ROWS = 1 << 16


class Shape(NamedTuple):
    """How the distributions of p studentised estimates differ from the normal one.

    skewness: γ/√n. curvature: c/√n. freedom: degrees of freedom of the errors. n is the number of
    independent draws.
    """

    skewness: Float[np.ndarray, " p"]
    curvature: Float[np.ndarray, " p"]
    freedom: Float[np.ndarray, " p"]


def shape(
    function: Callable[[Array], ArrayLike],
    columns: Float[np.ndarray, "n k"],
    *,
    sizes: Sequence[int] | None = None,
    uncertainty: ArrayLike = 0.0,
) -> Shape:
    """The shape for the p estimates that `function` makes of the means of `columns`.

    Arguments:
        function: maps means (..., k) to results (..., p), vectorised over leading axes.
        columns: one row for each of n independent draws.
        sizes: the numbers of consecutive draws from each source, where there are several: what
            differs from source to source is no error.
        uncertainty: the variance of the squared errors, relative, by another noise than that of
            the draws (2/B where B blocks tell them).
    """
    n, k = columns.shape
    mean, slopes = columns.mean(axis=0), _slopes(function, columns)
    squares, cubes, fourths, along = 0.0, 0.0, 0.0, np.zeros((k, slopes.shape[1]))
    for part in _slices(sizes or (n,)):
        deviations = columns[part.rows] - columns[part.source].mean(axis=0)
        influence = deviations @ slopes
        square = influence**2
        squares += square.sum(axis=0)
        cubes += np.einsum("ij,ij->j", square, influence)
        fourths += np.einsum("ij,ij->j", square, square)
        along += deviations.T @ influence

    scale = np.where(squares > 0, squares, 1.0)
    error = np.sqrt(scale) / n
    shift = (along / (n**2 * error)).T  # the averages that one standard deviation comes with
    second = [
        np.asarray(function(np.stack([mean + s, mean - s])))[:, j].sum()
        for j, s in enumerate(shift)
    ]
    curvature = np.where(squares > 0, (second - 2 * np.asarray(function(mean))) / error, 0.0)
    noise = np.maximum(fourths / scale**2 - 1 / n, 2 / n)  # (κ + 2)/n
    return Shape(cubes / scale**1.5, curvature, 2 / np.maximum(noise, uncertainty))


def correlation(
    function: Callable[[Array], ArrayLike], columns: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "p p"]:
    """The correlations of the estimates of `shape`; 0 with one that does not fluctuate."""
    slopes = _slopes(function, columns)
    covariance = slopes.T @ np.atleast_2d(np.cov(columns, rowvar=False)) @ slopes
    size = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    scale = np.where(size > 0, size, 1.0)
    return covariance / np.outer(scale, scale)


def _slopes(
    function: Callable[[Array], ArrayLike], columns: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "k p"]:
    """The derivatives at the means, by central differences over their errors.

    On that scale the function should be linear anyway.
    """
    mean, step = columns.mean(axis=0), columns.std(axis=0) / np.sqrt(len(columns))
    up, down = (np.asarray(function(mean + sign * np.diag(step))) for sign in (1, -1))
    return (up - down) / (2 * np.where(step > 0, step, 1.0)[:, None])


class _Slice(NamedTuple):
    rows: slice
    source: slice


def _slices(sizes: Sequence[int]) -> Iterator[_Slice]:
    """Rows in pieces that need little memory, each with all rows of its source."""
    end = 0
    for size in sizes:
        begin, end = end, end + size
        for row in range(begin, end, _ROWS):
            yield _Slice(slice(row, min(row + _ROWS, end)), slice(begin, end))


def estimates(
    values: Float[np.ndarray, " p"], errors: Float[np.ndarray, " p"], form: Shape
) -> list[Estimate]:
    """Values with their standard errors and intervals; none where these are not finite numbers."""
    skewness, curvature = form.skewness, form.curvature
    a = (skewness + 3 * curvature) / 6
    b = (2 * skewness + 3 * curvature) / 6
    safe = np.where(np.abs(b) > _SYMMETRIC, b, _SYMMETRIC)
    bounds = {}
    for name, tail in _TAILS.items():
        z = -t.ppf(tail, np.maximum(form.freedom, _LEAST_FREEDOM))
        # the largest T has the smallest θ
        ends = [(np.cbrt(1 + 3 * safe * (y - a)) - 1) / safe for y in (z, -z)]
        bounds[name] = np.stack([values - errors * end for end in ends], axis=1)
    made = []
    for i, (value, error) in enumerate(zip(values, errors, strict=True)):
        known = error > 0 and all(np.isfinite(x[i]).all() for x in bounds.values())
        ends = {k: (float(x[i, 0]), float(x[i, 1])) for k, x in bounds.items()} if known else {}
        made.append(Estimate(float(value), float(error), **ends))
    return made
