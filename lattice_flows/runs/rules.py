"""What a configuration may say: which choices fit a theory and one another, and how to refuse.

Nothing heavy is imported with this module.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from lattice_flows.runs.options import Coupling, Options, ends, refuse, setting, show
from theories import GaussianMixture, LatticeTheory, Theory
from theories.outside import is_outside


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def boundary(theory: Theory, objective: str, chosen: str) -> str:
    """What holds TRADE to the flow that it goes on from, where "auto" was chosen."""
    if objective != "trade" or chosen != "auto":
        return chosen
    return "frozen" if isinstance(theory, LatticeTheory) else "samples"


def method(theory: Theory, config: Options) -> tuple[str, str]:
    """How the flow is found, where "auto" was chosen, and why."""
    if config.method != "auto":
        return config.method, "as told"
    if _unsolvable(theory) or len(theory.shape) < 2 or math.prod(theory.shape) < MANY_SITES:
        return "optimise", f"least squares are for two dimensions, from {MANY_SITES} sites on"
    if config.ranges:
        return "optimise", "least squares are best at one value of each coupling"
    if others := _optimised(config):
        return "optimise", f"as {setting(others[0], getattr(config, others[0]))} asks for it"
    return "least-squares", f"two dimensions and {MANY_SITES} sites or more"


def automatic(theory: Theory, config: Options) -> dict[str, str]:
    """What "auto" stands for."""
    if config.continues:
        return dict(zip(_CHOICES, OWN["transport"], strict=True))
    if config.objective == "gradient-flow":
        return dict(zip(_CHOICES, OWN["gradient-flow"], strict=True))
    if config.method == "least-squares":
        return dict(zip(_CHOICES, OWN["least-squares"], strict=True))
    if not isinstance(theory, LatticeTheory):
        base = "tempered" if _has_temperature(theory) else "normal"
        return {"field": "mlp", "base": base, "interpolation": "linear"}
    return {"field": "hollow", "base": _local_base(theory), "interpolation": "linear"}


def _optimised(config: Options) -> list[str]:
    """The settings that were chosen and that an optimiser alone has a use for."""
    default = {f.name: f.default for f in dataclasses.fields(config)}
    solved: dict[str, Any] = dict(zip(map(str, _CHOICES), OWN["least-squares"], strict=True))
    solved["steps"] = STAGES
    chosen = (name for name in _OF_OPTIMISERS if getattr(config, name) != default[name])
    found = [name for name in chosen if getattr(config, name) != solved.get(name)]
    return found + ["source"] * (config.source is not None)


MANY_SITES = 100
"""From here on least squares are far better; below, both ways are good."""
STAGES = 7
"""Of a training by least squares (training/least_squares/): the steps of its run."""
_OF_OPTIMISERS = (
    "objective",
    "boundary",
    "field",
    "base",
    "base_curvature",
    "base_width",
    "interpolation",
    "steps",
    "batch",
    "learning_rate",
    "curriculum",
    "points",
    "half_box",
    "weighted",
    "constant",
    "penalty",
    "width",
    "x64",
)
_CHOICES = ("field", "base", "interpolation")
OWN = {
    "gradient-flow": ("gradient", "normal", "gradient"),
    "transport": ("transport", "flow", "line"),
    "least-squares": ("linear", "massive", "massive"),
}
"""Field, base and interpolation of the flows that have their own."""


def _has_temperature(theory: Theory) -> bool:
    return any(fact.inverse_temperature for fact in theory.facts().values())


def _local_base(theory: LatticeTheory) -> str:
    free = theory.is_free
    return "gaussian" if free else "mean-field"


def refuse_misfits(theory: Theory, config: Options) -> None:
    """Refuse an objective, field, base or path that the theory, or the run, cannot have."""
    fits, field, base = automatic(theory, config), config.field, config.base
    field = fits["field"] if is_outside(field) else field  # one's own is one's own choice
    base = fits["base"] if is_outside(base) else base
    gradient = config.objective == "gradient-flow"
    if gradient and isinstance(theory, LatticeTheory) and _local_base(theory) == "mean-field":
        refuse(
            f'{theory.name} is no free field: `objective="gradient-flow"` begins with a normal '
            "base, which does not fit; use deformation"
        )
    if (config.objective in ("transport", "trade")) != (config.source is not None):
        refuse(
            '`objective="transport"` or trade goes on from a trained flow, and no other does: '
            "give the `source` that it goes on from, or leave it out"
        )
    if config.continues and not isinstance(theory, LatticeTheory):
        refuse(
            f"{theory.name} is not on a lattice: no transport goes on from its flow; "
            'use `objective="trade"` with `boundary="samples"`'
        )
    chosen = tuple(getattr(config, name) for name in _CHOICES)
    if (gradient or "gradient" in chosen) and chosen != OWN["gradient-flow"]:
        refuse(
            "a gradient flow has its own field, base and path: "
            'use `objective="gradient-flow"` and leave `field`, `base` and `interpolation` out'
        )
    if config.method == "least-squares":
        refuse_unsolved(theory, config)
    elif any(a == b for a, b in zip(chosen, OWN["least-squares"], strict=True)):
        refuse(
            "least squares have their own field, base and path: "
            'use `method="least-squares"` and leave `field`, `base` and `interpolation` out'
        )
    if chosen != OWN["transport"] and (config.continues or set(chosen) & set(OWN["transport"])):
        refuse(
            "a transport between couplings has its own field, base and path: "
            "leave `field`, `base` and `interpolation` out"
        )
    if chosen in OWN.values():
        return
    off = f"{theory.name} is not on a lattice"
    if fits["field"] == "mlp" and field != "mlp":
        refuse(f"{off}: {setting('field', field)} does not fit, use mlp")
    if base == "tempered" and not _has_temperature(theory):
        refuse(f'{theory.name} has no inverse temperature beta: `base="tempered"` does not fit')
    if fits["base"] in ("normal", "tempered") and base not in ("normal", "tempered"):
        refuse(f"{off}: {setting('base', base)} does not fit, use normal")
    if fits["base"] == "gaussian" and base not in ("gaussian", "normal"):
        refuse(f"{theory.name} is a free field: {setting('base', base)} does not fit, use gaussian")
    if config.interpolation == "coupling" and fits["field"] == "mlp":
        refuse(f'{off}: `interpolation="coupling"` does not fit')
    if config.interpolation == "constant-wells" and not theory.even:
        refuse(f'{theory.name} has no wells that φ → -φ relates: use `interpolation="linear"`')


def _unsolvable(theory: Theory) -> str:
    """Why least squares do not fit a theory; empty where they do."""
    if not isinstance(theory, LatticeTheory):
        return "is not on a lattice"
    if theory.is_free:
        return "is a free field"
    if not theory.even:
        return "has no symmetry φ → -φ"
    return "" if theory.stiffness(theory.from_values()) > 0 else "has no bonds"


def refuse_unsolved(theory: Theory, config: Options) -> None:
    """Refuse what least squares cannot have."""
    if why := _unsolvable(theory):
        refuse(f'{theory.name} {why}: `method="least-squares"` does not fit, use optimise')
    if wrong := _optimised(config):
        refuse(f'`{wrong[0]}` acts with `method="optimise"` alone: leave one of them out')


def idle(config: Options) -> dict[str, str]:
    """The choices that nothing would look at, and what each acts with."""
    if config.method == "least-squares":  # refuse_unsolved has seen to it
        return {}
    residual = "deformation" in (config.objective, config.boundary)
    residual |= config.objective == "gradient-flow" or is_outside(config.objective)
    deformation = '`objective="deformation"`'
    acts = {
        "boundary": (config.objective == "trade", '`objective="trade"`'),
        "points": (residual, deformation),
        "penalty": (residual, deformation),
        "constant": (residual, deformation),
        "interpolation": (
            residual or config.interpolation in ("linear", "line"),
            deformation,
        ),
        "weighted": (config.points == "trajectories", '`points="trajectories"`'),
        "half_box": (
            config.points == "box" or config.objective == "gradient-flow",
            '`points="box"`',
        ),
        "base_curvature": (config.base == "ultralocal", '`base="ultralocal"`'),
        "base_width": (config.base in ("normal", "tempered"), '`base="normal"` or tempered'),
        "curriculum": (
            bool(config.ranges) and config.objective != "trade",
            'a coupling range (and no `objective="trade"`)',
        ),
    }
    default = {f.name: f.default for f in dataclasses.fields(config)}
    return {
        name: where
        for name, (useful, where) in acts.items()
        if not useful and getattr(config, name) != default[name]
    }


def refuse_idle(config: Options) -> None:
    """Refuse a choice that nothing would look at."""
    for name, where in idle(config).items():
        refuse(f"`{name}` acts with {where} alone: leave it out")


def refuse_source(theory: Theory, config: Options, source: Options) -> None:
    """Refuse to carry a flow of another theory or lattice, or to couplings that it can't reach."""
    if (source.theory, source.shape) != (theory.name, theory.shape):
        refuse(
            f"the flow to go on from is of {source.theory} on {_sizes(source.shape)}, not of "
            f"{theory.name} on {_sizes(theory.shape)}: "
            f"{setting('objective', config.objective)} goes between "
            'couplings alone, `objective="deformation"` to other lattices'
        )
    if not config.ranges:
        refuse(
            f"{setting('objective', config.objective)} goes to a range of couplings: "
            f"give one, `{next(iter(config.couplings))}=(low, high)`"
        )
    trained = {name: (ends(known)[0], ends(known)[-1]) for name, known in source.couplings.items()}
    for name, value in config.couplings.items():
        (first, last), (low, high) = (ends(value)[0], ends(value)[-1]), trained[name]
        known = source.couplings[name]
        # fields carry a flow along ranges alone, and a transport is right within them alone
        gap = last < low or first > high
        if name not in config.ranges:
            lost = gap if config.continues else value != known
        else:
            lost = gap and config.objective == "transport"
        if lost:
            refuse(
                f"{name} is {show(known)} where the flow was trained and {show(value)} here: "
                f"give `{name}` a range that holds both, or leave it out"
            )
    within = all(
        trained[name][0] <= end <= trained[name][1]
        for name, ends in config.ranges.items()
        for end in ends
    )
    if within:
        refuse(
            f"the flow to go on from was trained on {source.trained_on()}, all of the range: "
            "give a wider one"
        )


def refuse_unsampled(theory: Theory, config: Options, trained: Options) -> None:
    """Refuse maximum likelihood where there is neither an exact answer nor a chain to draw from.

    trained: the run that the samples are to be of.
    """
    likely = config.objective == "likelihood" or config.boundary == "samples"
    if isinstance(theory, LatticeTheory) or not likely:
        return
    for end in (min, max):
        point = {name: end(ends(value)) for name, value in trained.couplings.items()}
        if theory.exact(theory.from_values(**point)) is None:
            refuse(
                f"no draws of {theory.name} are known at {trained.trained_on()}: "
                'use `objective="deformation"`, or `boundary="deformation"` or reverse-kl'
            )


def refuse_diffusion(theory: Theory, couplings: Mapping[str, Coupling]) -> None:
    """Refuse the diffusion path where it has no closed form."""
    if not isinstance(theory, GaussianMixture):
        refuse(
            f'{theory.name} is no Gaussian mixture: `interpolation="diffusion"` does not fit, '
            "use linear or learned"
        )
    if couplings["beta"] != 1:
        refuse(
            f'`interpolation="diffusion"` is known at beta 1 alone, not {show(couplings["beta"])}: '
            "leave `beta` out, or use linear or learned"
        )


def refuse_unknown(theory: Theory, names: Mapping[str, Any]) -> None:
    known = theory.Couplings._fields
    if unknown := [name for name in names if name not in known]:
        refuse(f"{theory.name} has no coupling {', '.join(unknown)}: it has {', '.join(known)}")


def _numbers(value: Any) -> list[float]:
    """A number or several of them; none where there is anything else."""
    several = list(value) if isinstance(value, list | tuple) else [value]
    if any(isinstance(x, str | bytes | bool) for x in several):
        return []
    try:
        return [float(x) for x in several]
    except (TypeError, ValueError, OverflowError):
        return []


def checked_couplings(theory: Theory, given: Mapping[str, Any]) -> dict[str, Coupling]:
    """Every coupling of the theory, in its order, each a float or an ordered pair of floats."""
    refuse_unknown(theory, given)
    couplings: dict[str, Coupling] = {}
    for name, default in theory.from_values()._asdict().items():
        value = given.get(name, float(default))
        given_ends = _numbers(value)
        if len(given_ends) not in (1, 2) or not all(map(math.isfinite, given_ends)):
            refuse(f"coupling {name} must be a finite value or a range (low, high), not {value!r}")
        low, high = given_ends[0], given_ends[-1]
        if len(given_ends) == 2 and not low < high:
            refuse(f"a range must rise, (low, high), not {setting(name, (low, high))}")
        couplings[name] = (low, high) if len(given_ends) == 2 else low
    for end in (min, max):
        theory.validate(theory.from_values(**{k: end(ends(v)) for k, v in couplings.items()}))
    return couplings
