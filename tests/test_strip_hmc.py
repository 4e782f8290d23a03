"""Exact answers of tori beside hybrid Monte Carlo with cluster flips, at random couplings."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from lattice_flows.mcmc.hmc import hmc_grid
from theories import Phi4, StripSolution

POINTS = 20


@pytest.mark.slow
def test_twenty_random_couplings():
    """χ² of the pulls of ⟨φ²⟩ and ⟨|M|⟩ at 20 couplings: p in [.001, .999], false alarm 1 in 500.

    The two are correlated, so each has a χ² of its own. Errors that are themselves estimated widen
    the pulls a little: by Student's t of 31 degrees of freedom for 32 chains.
    """
    rng = np.random.default_rng(7)
    theory = Phi4((4, 3))
    grid = [
        theory.from_values(m=m, lam=lam, alpha=0.0)
        for m, lam in zip(rng.uniform(-1, 3, POINTS), rng.uniform(0.3, 4, POINTS), strict=True)
    ]
    chains = hmc_grid(theory, grid, jax.random.key(11), chains=32, draws=200, every=5)
    pulls = {"phi2": [], "abs_magnetization": []}
    for couplings, ensemble in zip(grid, chains, strict=True):
        answers = StripSolution(theory, couplings, accuracy=1e-5).observables()
        measured = ensemble.measure().observables
        for name, found in pulls.items():
            found.append((measured[name].value - answers[name]) / measured[name].stderr)
    for name, found in pulls.items():
        p = stats.chi2.sf(np.sum(np.square(found)), POINTS)
        assert 0.001 < p < 0.999, (name, p, found)
