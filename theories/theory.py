"""The contract every theory fulfils.

    p(φ) = e^{-S(φ)} / Z

of a configuration φ, an array of `shape`. Couplings are data, not structure: a NamedTuple of
scalars that is passed to every method, so that one sampler can serve a whole range of them.
Lattice theories (lattice_theory.py) have more to say of their action; targets that are not on a
lattice (mixtures.py, many_well.py) fulfil this much.

jax is imported where it is needed: the command line asks theories for their couplings, and must not
wait for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from .coupling import Coupling, facts
from .errors import LatticeFlowsError
from .shapes import Configuration, Draws, Point, Scalar


@runtime_checkable
class ExactAnswers(Protocol):
    """The exact solution of a theory at one set of couplings."""

    @property
    def log_z(self) -> float: ...

    def observables(self) -> Mapping[str, Any]:
        """Exact values by name, `log_z` among them.

        One that is lost in rounding errors is NaN, and NAME_bound says what it cannot exceed. What
        one may be off by, where that is more than rounding errors, is NAME_accuracy.
        """
        ...

    def sample(self, rng: np.random.Generator, n: int) -> Draws:
        """n independent exact draws, float64."""
        ...


def seconds_of(exact: Any) -> float:
    """What the answers of one set of couplings take, about, where that is to be reckoned with."""
    return getattr(exact, "seconds", 0.0)


def coupling_scale(couplings: Point, name: str, value: Any, inverse: bool = False) -> Any:
    """The scale on which a coupling is drawn, and seen by fields, evenly.

    Its logarithm where it is `logarithmic` (coupling.py), else `value` itself. Of a number or
    a jax array; `inverse` goes back.
    """
    if not facts(type(couplings))[name].logarithmic:
        return value
    import jax
    import jax.numpy as jnp

    if isinstance(value, jax.Array):
        return jnp.exp(value) if inverse else jnp.log(value)
    return float(np.exp(value) if inverse else np.log(value))


@dataclass(frozen=True)
class Theory(ABC):
    """A density on arrays of `shape`.

    even: S(-φ; -odd) = S(φ; odd), `odd` the couplings named in `z2_odd`, which are then spurions:
        φ → -φ alone is a symmetry exactly where they all vanish.
    Couplings: a NamedTuple class of numbers with defaults; `Coupling` (coupling.py) in their
        annotations tells the facts.
    title: for figures. together: flags that set several couplings at once.
    own_shape: the one shape of a theory that has no other.

    Raises LatticeFlowsError for a shape that is not a tuple of integers ≥ `least_side`.
    """

    shape: tuple[int, ...]

    name: ClassVar[str]
    Couplings: ClassVar[Any]
    even: ClassVar[bool] = True
    title: ClassVar[str] = ""
    together: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    own_shape: ClassVar[tuple[int, ...] | None] = None
    least_side: ClassVar[int] = 1
    references: ClassVar[str] = ""

    def __post_init__(self) -> None:
        try:
            shape = tuple(self.shape)
        except TypeError:
            shape = ()
        whole = all(isinstance(side, Integral) and not isinstance(side, bool) for side in shape)
        if not shape or not whole or min(shape) < self.least_side:
            raise LatticeFlowsError(
                f"{self._needs()}, got `shape={self.shape!r}`; "
                "give whole numbers such as `shape=(16,)` or `shape=(8, 8)`"
            )
        if self.own_shape is not None and self.own_shape != shape:
            raise LatticeFlowsError(
                f"{self.name} has {self.own_shape[0]} components, not `shape={self.shape!r}`: "
                "leave it out"
            )
        object.__setattr__(self, "shape", tuple(int(side) for side in shape))

    def _needs(self) -> str:
        return f"{self.name} needs at least {self.least_side} components"

    @classmethod
    def facts(cls) -> dict[str, Coupling]:
        """What is known of each coupling, by name and in order."""
        return facts(cls.Couplings)

    @property
    def z2_odd(self) -> tuple[str, ...]:
        """The couplings that change sign under φ → -φ."""
        return tuple(name for name, fact in self.facts().items() if fact.odd)

    @property
    def sites(self) -> int:
        """The number of degrees of freedom; on a lattice the volume V."""
        return int(np.prod(self.shape))

    @abstractmethod
    def action(self, phi: Configuration, couplings: Point) -> Scalar:
        """S(φ) of one configuration, in the precision of `phi` (vmap for more).

        Differentiable in `phi` and in the couplings.
        Raises LatticeFlowsError if `phi` has another shape or is not real (`checked` does that).
        """

    def exact(self, couplings: Point) -> ExactAnswers | None:
        """The exact solution at these couplings (one set of numbers); None where none is known."""
        return None

    @property
    def mode_names(self) -> tuple[str, ...]:
        """The modes that `modes` tells apart, K of them; none by default."""
        return ()

    def modes(self, phi: Draws) -> Float[np.ndarray, "n K"]:
        """To which mode each configuration belongs: shares in [0, 1]."""
        return np.zeros((len(phi), 0))

    def mode_centres(self, couplings: Point) -> Float[np.ndarray, " K *shape"] | None:
        """Where the density has its maxima; None where they are not told."""
        return None

    def checked(self, phi: Any, couplings: Point) -> tuple[Configuration, Any]:
        """One configuration and the couplings in its precision, as `action` wants them."""
        import jax.numpy as jnp

        phi = jnp.asarray(phi)
        if phi.shape != self.shape:
            raise LatticeFlowsError(
                f"the action takes one configuration of shape {self.shape}, got {phi.shape}; "
                "use jax.vmap over several"
            )
        if not jnp.issubdtype(phi.dtype, jnp.floating):
            raise LatticeFlowsError(f"configurations are real numbers, got {phi.dtype}")
        return phi, couplings._make(jnp.asarray(value, phi.dtype) for value in couplings)

    def from_values(self, **values) -> Any:
        """Couplings from names and values, the defaults filled in.

        Raises LatticeFlowsError for a name that the theory does not have. Values are not judged
        here (they may be traced); `validate` does that.
        """
        known = self.Couplings._fields
        unknown = [name for name in values if name not in known]
        if unknown:
            raise LatticeFlowsError(
                f"{self.name} has no coupling {', '.join(unknown)}; it has {', '.join(known)}"
            )
        return self.Couplings(**values)

    def validate(self, couplings: Point) -> None:
        """Raise LatticeFlowsError unless every coupling is a finite number in its allowed range.

        Arrays are judged entry by entry.
        """
        if not isinstance(couplings, self.Couplings):
            raise LatticeFlowsError(
                f"{self.name} takes {self.name} couplings ({', '.join(self.Couplings._fields)}), "
                f"got {couplings!r}; make them with from_values"
            )
        for name, value in couplings._asdict().items():
            try:
                numbers = np.asarray(value, dtype=np.float64)
            except (TypeError, ValueError):
                raise LatticeFlowsError(f"{name} must be a number, got {value!r}") from None
            if not np.all(np.isfinite(numbers)):
                raise LatticeFlowsError(f"{name} must be finite, got {value}")
            if self.facts()[name].positive and not np.all(numbers > 0):
                raise LatticeFlowsError(f"{name} must be greater than 0, got {value}")

    def is_symmetric(self, couplings: Point) -> bool:
        """Whether φ → -φ is a symmetry at these (concrete) couplings."""
        return self.even and all(
            np.all(np.asarray(getattr(couplings, name)) == 0) for name in self.z2_odd
        )

    def flip(self, couplings: Point) -> Point:
        """The couplings with the odd ones negated: S(-φ; flip(θ)) = S(φ; θ)."""
        return couplings._replace(**{name: -getattr(couplings, name) for name in self.z2_odd})
