# %% [markdown]
# # φ⁴ theory on a chain of 16 sites
#
# A flow is trained from the action alone, over a range of m. It takes about a minute on a laptop.
# Then it is drawn from, and all that is measured is compared with exact answers.

# %%
import jax
import numpy as np
from matplotlib.figure import Figure

from lattice_flows import train
from observables import magnetization
from theories import Phi4

jax.config.update("jax_enable_x64", True)  # log-weights in double precision

# %% [markdown]
# The action is S = Σ (φ_x - φ_{x+1})² + Σ [-m φ_x² + λ (φ_x - α)⁴], with λ = 1/16 and α = 0.01
# unless they are given. For m > 0 there are two wells, and the small α makes one the deeper one.

# %%
theory = Phi4((16,))
sampler = train(theory, {"m": (0.25, 0.5)}, steps=400, batch=512)

# %% [markdown]
# ## Draws at one coupling
#
# They are independent. Each has a weight, which makes averages exact. The ESS is what share of
# the draws is left after weighting.

# %%
couplings = theory.from_values(m=0.5)
ensemble = sampler.draw(couplings, jax.random.key(0), 8192)
measurement = ensemble.measure()
print(f"ESS {measurement.ess:.3f}, reliable: {measurement.reliable}")

# %% [markdown]
# Every observable, beside the exact one from the transfer matrix.

# %%
exact = theory.exact(couplings)
answers = exact.observables()
for name, estimate in measurement.observables.items():
    print(f"{name:22} {estimate!s:28} {answers[name]:.5f}")
print(f"{'log_z':22} {measurement.log_z!s:28} {exact.log_z:.5f}")

# %% [markdown]
# ## The magnetization
#
# Two peaks, one for each well. Their relative weight is exact by construction.

# %%
figure = Figure(figsize=(8, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
weights = np.exp(ensemble.log_weights - ensemble.log_weights.max())
m_values = magnetization(ensemble.configurations[:])
left.hist(m_values, bins=60, weights=weights, density=True, alpha=0.5, label="flow")
left.plot(*exact.magnetization_distribution(), color="black", label="exact")
left.set(xlabel="M", ylabel="P(M)", xlim=(-4, 4))
left.legend()

# %% [markdown]
# ## A scan
#
# The same flow serves the whole range.

# %%
grid = [theory.from_values(m=m) for m in np.linspace(0.25, 0.5, 6)]
chi = [
    drawn.measure().observables["susceptibility_abs"]
    for drawn in sampler.draw_grid(grid, jax.random.key(1), 4096)
]
right.errorbar([c.m for c in grid], [x.value for x in chi], [x.stderr for x in chi], fmt="o")
dense = [theory.from_values(m=m) for m in np.linspace(0.25, 0.5, 41)]
curve = [theory.exact(c).susceptibility_abs for c in dense]
right.plot([c.m for c in dense], curve, color="black")
right.set(xlabel="m", ylabel="χ of |M|")
figure.savefig("phi4_chain.png")
