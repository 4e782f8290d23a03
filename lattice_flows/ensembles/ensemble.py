"""Ensembles: configurations with log-weights, in memory and in netCDF files.

Flow samples, exact samples and chains are all ensembles: whatever measures one measures each.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import observables
import theories
from lattice_flows.ensembles.rows import Chained, ChainRows, FileRows, Rows, slices
from lattice_flows.io.netcdf import (
    Dataset,
    Variable,
    read_dataset,
    write_dataset,
)
from observables import (
    Correlator,
    Estimate,
    Measurement,
    Observable,
    kish_ess,
)
from observables.chains import as_chains
from observables.weights import as_log_weights
from theories import GaussianAnswers, LatticeTheory, StripSolution, Theory, TransferMatrix
from theories.errors import LatticeFlowsError

_IN_MEMORY = 1 << 20  # numbers: configurations of so many are read at once


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Draws of a theory at one set of couplings.

    configurations: (n, *theory.shape) float64, chain by chain; in memory, or on disk (rows.py).
    log_weights: (n,) float64, log(e^{-S}/q) with q normalised, so that their mean weight is Z; None
        where the draws come from p itself (exact samples, a chain).
    provenance: how they were made; any JSON.
    orbit: average over φ → -φ what is measured (observables/orbit.py); not so for draws of a flow
        that is not odd, where it would hide a lost well.
    chains: the number of Markov chains that the draws are from, stored one after the other and of
        equal lengths; None for independent draws.

    Raises LatticeFlowsError for shapes that do not fit and numbers that are not finite.
    """

    theory: Theory
    couplings: Any
    configurations: NDArray[np.float64] | Rows
    log_weights: NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    orbit: bool = True
    chains: int | None = None

    def __post_init__(self) -> None:
        configurations = self.configurations
        if not isinstance(configurations, Rows):
            configurations = np.asarray(configurations, dtype=np.float64)
        n, shape = len(configurations), tuple(self.theory.shape)
        if n == 0 or configurations.shape[1:] != shape:
            raise LatticeFlowsError(
                f"configurations of shape {configurations.shape} do not fit the lattice {shape}"
            )
        if not all(np.isfinite(phi).all() for phi in slices(configurations)):
            raise LatticeFlowsError(
                "the ensemble has configurations that are not finite: "
                "the flow diverged, sample again from a better checkpoint or with more ODE steps"
            )
        object.__setattr__(self, "configurations", configurations)
        if self.log_weights is not None:
            log_weights = as_log_weights(self.log_weights, n)
            object.__setattr__(self, "log_weights", log_weights)
        if self.chains is not None:
            object.__setattr__(self, "chains", as_chains(self.chains, n, self.log_weights))

    def __len__(self) -> int:
        return len(self.configurations)

    @property
    def ess(self) -> float:
        """Kish's effective sample size as a fraction in (0, 1]; 1 for draws without weights."""
        return 1.0 if self.log_weights is None else kish_ess(self.log_weights)

    def measure(self, own: Sequence[Observable] = ()) -> Measurement:
        """All observables with errors, and those of your own.

        Raises LatticeFlowsError for fewer than two draws.
        """
        return observables.measure(
            self.theory,
            self.couplings,
            self.configurations,
            self.log_weights,
            chains=self.chains,
            orbit=self.orbit,
            own=own,
        )

    def average(
        self, function: Callable[[NDArray[np.float64]], ArrayLike]
    ) -> Estimate | list[Estimate]:
        """⟨f⟩ with its error, of f: configurations (n, *shape) -> (n,), or (n, k) for k estimates.

        Weights, chains and the orbit count as in `measure`.
        """
        return observables.expectation(
            self.theory,
            self.couplings,
            self.configurations,
            self.log_weights,
            function,
            chains=self.chains,
            orbit=self.orbit,
        )

    def derivatives(
        self, names: Sequence[str], own: Sequence[Observable] = ()
    ) -> dict[str, Estimate]:
        """Derivatives of all observables with respect to the couplings `names`, by name."""
        return observables.derivatives(
            self.theory,
            self.couplings,
            self.configurations,
            self.log_weights,
            names,
            orbit=self.orbit,
            chains=self.chains,
            own=own,
        )

    def correlator(self) -> Correlator:
        """Correlator and gap at all distances; raises LatticeFlowsError off the lattice."""
        if not isinstance(self.theory, LatticeTheory):
            raise LatticeFlowsError(f"{self.theory.name} is not on a lattice: it has no correlator")
        return observables.correlator(
            self.theory,
            self.configurations,
            self.log_weights,
            chains=self.chains,
            couplings=self.couplings if self.orbit else None,
        )

    def exact_correlator(self) -> tuple[Correlator, float] | None:
        """The exact ones, and the gap of the infinite lattice; None where not known."""
        exact = self.theory.exact(self.couplings)
        if not isinstance(exact, TransferMatrix | StripSolution | GaussianAnswers):
            return None
        return observables.exact_correlator(exact), exact.energy_gap

    @property
    def kind(self) -> str:
        """What the draws are: "flow", with weights, "chains", or "exact", from p itself."""
        if self.chains is not None:
            return "chains"
        return "exact" if self.log_weights is None else "flow"

    def save(self, path: str | os.PathLike) -> None:
        """Write the ensemble to a netCDF file; bit-exact on `load`.

        Draws of chains are (chain, draw, site…), others (draw, site…), with the couplings as scalar
        coordinates.
        """
        n, configurations = len(self), self.configurations
        dimensions: tuple[str, ...] = ("draw",)
        sizes: tuple[int, ...] = (n,)
        if self.chains is not None:
            dimensions, sizes = ("chain", "draw"), (self.chains, n // self.chains)
            configurations = Chained(configurations, self.chains)
        variables = coupling_variables(self.couplings) | {
            name: Variable((name,), np.arange(size), f"number of the {name}")
            for name, size in zip(dimensions, sizes, strict=True)
        }
        sites = site_dimensions(self.theory)
        variables["configuration"] = Variable(
            dimensions + sites, configurations, "field configuration phi"
        )
        if self.log_weights is not None:
            variables["log_weight"] = Variable(
                dimensions,
                self.log_weights,
                "log of exp(-S) over the normalised density of the draw",
            )
        write_dataset(
            path,
            "ensemble",
            variables,
            title=f"configurations of {describe(self.theory)}",
            config=config_of(self.theory, self.couplings),
            references=self.theory.references,
            attributes={
                "lf_ensemble": self.kind,
                "lf_provenance": dict(self.provenance),
                "lf_orbit": self.orbit,
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Ensemble":
        """Read an ensemble, configurations staying on disk where they are many.

        Raises LatticeFlowsError for a file that does not hold one, or not all of it.
        """
        return cls.read(read_dataset(path, "ensemble", lazy=("configuration",)))

    @classmethod
    def read(cls, dataset: Dataset) -> "Ensemble":
        """The ensemble in a file that is read; raises as `load`."""
        path = dataset.path
        theory, couplings = _point(dataset)
        kind, chains = _kind(dataset)
        configurations, chains = _rows(dataset, theory, chains)
        log_weights = _numbers(dataset, "log_weight") if "log_weight" in dataset else None
        if kind == "flow" and log_weights is None:
            raise LatticeFlowsError(
                f"{path} has draws of a flow but not their log_weight: write the file again"
            )
        if kind != "flow" and log_weights is not None:
            raise LatticeFlowsError(
                f"{path} has weights for draws that have none ({kind}): write the file again"
            )
        if kind == "chains" and chains is None:
            raise LatticeFlowsError(
                f"{path} has draws of chains but no dimension chain: write the file again"
            )
        return cls(
            theory,
            couplings,
            configurations,
            log_weights,
            dataset.json("lf_provenance"),
            dataset.json("lf_orbit") if "lf_orbit" in dataset.attributes else True,
            chains,
        )


def _point(dataset: Dataset) -> tuple[Theory, Any]:
    """Theory and couplings of an ensemble file, which must name every one of them."""
    config = dataset.json("lf_config")
    try:
        theory = theories.make(config["theory"], tuple(config["shape"]), config.get("theory_from"))
        values = config["couplings"]
        couplings = theory.from_values(**values)
        theory.validate(couplings)
        if missing := [name for name in theory.Couplings._fields if name not in values]:
            raise LatticeFlowsError(
                f"{dataset.path} does not say what {missing[0]} is: write the file again"
            )
    except (KeyError, TypeError) as error:
        raise LatticeFlowsError(
            f"{dataset.path} does not say which theory it is of: write the file again"
        ) from error
    for name, value in couplings._asdict().items():
        there = _numbers(dataset, name) if name in dataset else value
        if np.ndim(there) or float(there) != value:
            raise LatticeFlowsError(
                f"{dataset.path} says that {name} is {value:g}, and something else as well: "
                "write the file again"
            )
    return theory, couplings


def _numbers(dataset: Dataset, name: str) -> Any:
    """The data of a variable, which holds numbers."""
    data = dataset[name]
    if np.dtype(data.dtype).kind not in "fiu":
        raise LatticeFlowsError(f"{dataset.path}: {name} does not hold numbers: write it again")
    return data


def _kind(dataset: Dataset) -> tuple[str, int | None]:
    """What kind of draws a file has; of older files, which do not say so, the chains as well."""
    kind = dataset.attributes.get("lf_ensemble")
    if isinstance(kind, str) and kind in ("flow", "chains", "exact"):
        return kind, None
    if kind is not None:
        raise LatticeFlowsError(f"{dataset.path} has draws of an unknown kind {kind!r}")
    if (chains := dataset.attributes.get("lf_chains")) is not None:
        draws = dataset.json("lf_provenance").get("draws")
        n = len(dataset["configuration"])
        if draws is not None and chains * draws != n:
            raise LatticeFlowsError(
                f"{dataset.path} is a part of {chains} chains of {draws} draws, which it does not "
                "tell apart: slice a file that has a dimension chain (sample again)"
            )
        return "chains", chains
    # only a flow has a run that it is of
    weighted = "log_weight" in dataset or "run" in dataset.json("lf_provenance")
    return ("flow" if weighted else "exact"), None


def _rows(
    dataset: Dataset, theory: Theory, chains: int | None
) -> tuple[NDArray[np.float64] | Rows, int | None]:
    """The configurations, chain by chain, and the number of chains."""
    stored = _numbers(dataset, "configuration")
    dimensions = dataset.variables["configuration"].dimensions
    sites = site_dimensions(theory)
    if sites == dimensions[-len(sites) :] and stored.shape[-len(sites) :] != tuple(theory.shape):
        raise LatticeFlowsError(
            f"{dataset.path} has configurations of shape {stored.shape}, which do not fit the "
            f"lattice {tuple(theory.shape)}: slice along chain and draw alone"
        )
    if np.prod(stored.shape) < _IN_MEMORY:
        stored = np.asarray(stored, dtype=np.float64)
    if dimensions == ("draw", *sites):
        one = "chain" in dataset and chains is None  # that one of several
        rows = stored if isinstance(stored, np.ndarray) else FileRows(stored)
        return rows, 1 if one else chains
    if dimensions == ("chain", "draw", *sites) and chains is None:
        chains = stored.shape[0]
        if isinstance(stored, np.ndarray):
            return stored.reshape(-1, *stored.shape[2:]), chains
        return ChainRows(stored), chains
    raise LatticeFlowsError(
        f"{dataset.path} has configurations along {', '.join(dimensions)}, not along "
        f"[chain,] draw, {', '.join(sites)}: transpose them"
    )


def site_dimensions(theory: Theory) -> tuple[str, ...]:
    """Names of dimensions in files: `site`, from d = 2 on `site_0`, …; off lattices `component`."""
    if not isinstance(theory, LatticeTheory):
        return ("component",)
    d = len(theory.shape)
    return ("site",) if d == 1 else tuple(f"site_{axis}" for axis in range(d))


def coupling_variables(couplings: Any) -> dict[str, Variable]:
    """One scalar coordinate for each coupling."""
    return {
        name: Variable((), np.asarray(float(value)), f"coupling {name}", coordinate=True)
        for name, value in couplings._asdict().items()
    }


def config_of(theory: Theory, couplings: Any) -> dict[str, Any]:
    """What a file needs to make theory and couplings again."""
    values = {name: float(value) for name, value in couplings._asdict().items()}
    return theory_record(theory) | {"couplings": values}


def theory_record(theory: Theory) -> dict[str, Any]:
    """What a file says of its theory: name, shape, and where a class of one's own is from."""
    origin = theories.origin(type(theory))
    outside = {} if origin is None else {"theory_from": origin}
    return {"theory": theory.name, "shape": list(theory.shape), **outside}


def describe(theory: Theory) -> str:
    """For titles: `phi4 on a lattice of 16 sites`, `gmm-40 in 2 dimensions`."""
    if not isinstance(theory, LatticeTheory):
        return f"{theory.name} in {theory.sites} dimensions"
    return f"{theory.name} on a lattice of {' x '.join(map(str, theory.shape))} sites"
