"""From a configuration to the flow it describes."""

from lattice_flows.base import make_base
from lattice_flows.config import Config
from lattice_flows.fields import FIELDS
from lattice_flows.flow import Flow
from lattice_flows.walkers import Couplings


def build(config: Config) -> tuple[Flow, Couplings]:
    """The flow of `config` (parameters apart) and the couplings it is trained on."""
    theory, ranges = config.make_theory(), config.ranges
    fixed = {
        k: 0.5 * (v[0] + v[1]) if isinstance(v, tuple) else v for k, v in config.couplings.items()
    }
    base = make_base(config.base, theory, ranges, config.base_curvature)
    field = FIELDS[config.field](theory, ranges, config.width)
    couplings = Couplings(theory.from_values(**fixed), ranges)
    return Flow(base, field, config.ode_steps), couplings
