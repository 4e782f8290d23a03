"""Two observables: the sixth moment of the field, and a cumulant of the magnetization."""

import numpy as np

from observables import Observable, magnetization

sixth = Observable(
    "phi6",
    lambda phi: np.mean(phi**6, axis=1),
    symbol=r"\langle\phi^6\rangle",
    long_name="mean of phi^6 over the sites",
    exact=lambda exact: exact.moment(6),
)


def powers(phi):
    m = magnetization(phi)
    return np.stack([m**2, m**4], axis=1)


kappa = Observable(
    "kappa_4",
    powers,
    value=lambda a: a[..., 1] - 3 * a[..., 0] ** 2,
    symbol=r"\kappa_4",
    long_name="fourth cumulant of the magnetization, where <M> = 0",
)
