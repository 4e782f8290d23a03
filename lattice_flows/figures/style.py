"""What all figures share: fonts, colours, and the names of things in mathematical type."""

from typing import Any

import numpy as np

import theories
from lattice_flows.io.netcdf import Dataset
from observables import lattice
from observables.quantities import TARGET_SYMBOLS

STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 10,
    "axes.labelsize": 11,
    "axes.linewidth": 0.7,
    "axes.titlesize": 11,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 200,
}
# Okabe & Ito's colours: told apart by every eye, and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7B5EA7", "#000000")
UNRELIABLE = "#C00000"
GREY = "#7f7f7f"

SYMBOLS = {**lattice.SYMBOLS, **TARGET_SYMBOLS}


def label(name: str, dataset: Dataset | None = None) -> str:
    """An observable in mathematical type, or at least in words; `dataset` may have its symbol."""
    variable = None if dataset is None else dataset.variables.get(name)
    told = None if variable is None else variable.attributes.get("symbol")
    symbol = SYMBOLS.get(name, told)
    return f"${symbol}$" if symbol else name.replace("_", " ")


def theory_of(dataset: Dataset) -> type[theories.Theory] | None:
    """The class of the theory that a file is of; None where it is not loaded."""
    return theories.known().get(dataset.json("lf_config").get("theory"))


def symbol(dataset: Dataset, coupling: str) -> str:
    """A coupling of a file's theory in mathematical type."""
    theory = theory_of(dataset)
    fact = None if theory is None else theory.facts().get(coupling)
    return (fact or theories.Coupling.called(coupling)).symbol


def coupling_names(dataset: Dataset) -> list[str]:
    """The couplings of a file, in the order of its theory, or else of its configuration."""
    points = dataset.json("lf_config").get("couplings")
    first = points[0] if isinstance(points, list) and points else points
    theory = theory_of(dataset)
    known = () if theory is None else theory.Couplings._fields
    said = first if isinstance(first, dict) else {}
    return [name for name in dict.fromkeys((*known, *said)) if name in dataset]


def estimated(dataset: Dataset) -> list[str]:
    """The observables of a file that have errors: those of the theory, log Z, one's own."""
    last = ["log_z"] if "log_z_stderr" in dataset else []
    return [*known(dataset), *last, *own(dataset)]


def known(dataset: Dataset) -> list[str]:
    """The observables of this package in a file that have errors, without log Z."""
    there = [name for name in dataset.variables if f"{name}_stderr" in dataset]
    modes = [name for name in there if name.startswith("mode_")]
    modes.sort(key=lambda name: (len(name), name))
    return [*(name for name in SYMBOLS if name in there and name != "log_z"), *modes]


def own(dataset: Dataset) -> list[str]:
    """The observables of a file that are neither of this package nor derivatives."""
    known = {*SYMBOLS, *_BESIDES}
    there = [name for name in dataset.variables if f"{name}_stderr" in dataset]
    return [n for n in there if n not in known and not n.startswith(("mode_", "d_"))]


_BESIDES = ("tau_int", "log_z_error", "log_z_integrated", "kl_reverse", "kl_forward", "correlator")
"""What has errors, but is no observable."""


def on_lattice(dataset: Dataset) -> bool:
    """Whether what the file is about lives on a lattice."""
    theory = theory_of(dataset)
    return theory is None or issubclass(theory, theories.LatticeTheory)


def title_of(dataset: Dataset) -> str:
    """The theory, its lattice and the couplings that have one value only."""
    config = dataset.json("lf_config")
    shape = config.get("shape", ())
    theory = theory_of(dataset)
    parts = [(theory and theory.title) or str(config.get("theory", ""))]
    size = "N" if on_lattice(dataset) else "d"
    parts += [f"${size}={shape[0]}$"] if len(shape) == 1 else [r"$\times$".join(map(str, shape))]
    for name in coupling_names(dataset):
        values = np.unique(dataset[name])
        if len(values) == 1:
            parts.append(f"${symbol(dataset, name)}={values[0]:.6g}$")
    return ",  ".join(part for part in parts if part)
