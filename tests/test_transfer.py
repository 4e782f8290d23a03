"""A trained flow taken over to other lattices and other ranges: the same function where it was."""

from __future__ import annotations

import dataclasses

import haiku as hk
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import double, random_params

from lattice_flows.flows.fields.hollow import contexts
from lattice_flows.flows.model import build
from lattice_flows.flows.params import Params
from lattice_flows.runs.config import Config
from lattice_flows.training.transfer import transferred
from theories.errors import LatticeFlowsError

RANGED = Config("phi4", (5,), {"m": (0.25, 1.0), "lam": (0.05, 0.1)}, width=5)


def random_of(config: Config) -> Params:
    flow = build(config).flow
    return Params(double(flow.base.init()), random_params(flow.field, 1.0, seed=3))


def on(config: Config, **changes) -> Config:
    return dataclasses.replace(config, **changes)


def velocity(config: Config, params: Params, phi, couplings):
    return build(config).flow.field.apply(params.field, jnp.float64(0.4), phi, couplings)


@pytest.mark.parametrize(
    "couplings",
    [
        {"m": (0.25, 2.0), "lam": (0.05, 0.1)},
        {"m": (0.5, 0.75), "lam": 0.075},
        {"m": 0.7, "lam": (0.01, 0.3), "alpha": (-0.1, 0.1)},
        {"lam": (0.05, 0.1), "m": (0.25, 1.0), "alpha": 0.2},
    ],
)
def test_the_field_is_the_same_function_of_the_couplings(couplings, rng):
    """Where the new ranges overlap the old: other ends, some fixed, some freed, another order."""
    new = on(RANGED, couplings=couplings)
    old = random_of(RANGED)
    carried = transferred(old, RANGED, new)
    assert (carried.base is None) == (new.ranges != RANGED.ranges)
    phi = jnp.asarray(rng.normal(size=5))
    point = double(RANGED.make_theory().from_values(m=0.7, lam=0.075))
    np.testing.assert_allclose(
        velocity(new, carried, phi, point)[0], velocity(RANGED, old, phi, point)[0], atol=1e-12
    )


@pytest.mark.parametrize("before", [{"beta": 1.0}, {"beta": (0.5, 2.0)}])
def test_a_network_that_knows_no_lattice_takes_over_other_ranges(before, rng):
    """Seen in log β; one that was fixed begins without effect."""
    old = Config("gmm-2", (2,), before, width=5)
    new = on(old, couplings={"beta": (0.2, 5.0)})
    params = Params((), random_params(build(old).flow.field, 1.0, seed=3))
    carried = transferred(params, old, new)
    phi, point = jnp.asarray(rng.normal(size=2)), double(old.make_theory().from_values(beta=1.2))
    for found, expected in zip(
        velocity(new, carried, phi, point), velocity(old, params, phi, point), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_on_a_larger_lattice_kernels_keep_their_displacements(rng):
    """Contexts of a field that is 0 but at a few neighbours do not see how large the lattice is."""
    old, new = on(RANGED, shape=(9,)), on(RANGED, shape=(14,))
    params = random_of(old)
    carried = transferred(params, old, new)
    assert carried.base is not None
    for name in params.field:
        if name != "~":
            np.testing.assert_array_equal(carried.field[name]["w"], params.field[name]["w"])

    def seen(config: Config, field, phi):
        made = hk.without_apply_rng(hk.transform(lambda x: contexts(config.make_theory(), x, 8)))
        return made.apply({"~": field["~"]}, jnp.asarray(phi))

    few = np.concatenate([np.zeros(3), rng.normal(size=3), np.zeros(3)])
    small = seen(old, params.field, few)
    large = seen(new, carried.field, np.concatenate([few, np.zeros(5)]))
    reach = slice(1, 8)  # within half the small lattice of all three
    assert np.abs(small[reach, :-1]).min() > 1e-6
    np.testing.assert_allclose(large[reach], small[reach], rtol=0, atol=1e-12)
    # and back: a smaller lattice has fewer displacements, each with its own kernel
    returned = transferred(carried, new, old).field["~"]["kernels"]
    np.testing.assert_array_equal(returned, params.field["~"]["kernels"])


def test_what_cannot_be_taken_over_is_refused():
    params = random_of(RANGED)
    for change, fragment in [
        ({"width": 6}, "width 5, not 6"),
        ({"field": "convolutional"}, "field hollow, not convolutional"),
        ({"base": "ultralocal"}, "base mean-field, not ultralocal"),
    ]:
        with pytest.raises(LatticeFlowsError, match=fragment):
            transferred(params, RANGED, on(RANGED, **change))
    plain = on(RANGED, field="convolutional")
    with pytest.raises(LatticeFlowsError, match="keeps its lattice"):
        transferred(random_of(plain), plain, on(plain, shape=(6,)))
    with pytest.raises(LatticeFlowsError, match="number of dimensions"):
        transferred(params, RANGED, on(RANGED, shape=(3, 3)))
