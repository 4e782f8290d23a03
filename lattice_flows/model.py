"""From a configuration to the flow it describes, and what it is to follow."""

from dataclasses import dataclass

import jax

from lattice_flows.base import Tilted, make_base
from lattice_flows.config import Config
from lattice_flows.fields import FIELDS, gradient, time_network
from lattice_flows.flow import Flow
from lattice_flows.params import Params
from lattice_flows.paths import PATHS, GradientPath, Path
from lattice_flows.setting import Setting
from lattice_flows.walkers import Couplings


@dataclass(frozen=True, eq=False)
class Model:
    """The flow, the path from its base to the target, the couplings it is trained on."""

    config: Config
    flow: Flow
    path: Path
    couplings: Couplings

    def init(self, key: jax.Array) -> Params:
        """Parameters to begin with, those of the base not fitted yet."""
        path_key, constant_key = jax.random.split(jax.random.fold_in(key, 1))
        constant = ()
        if self.config.constant == "network":
            constant = time_network(self.flow.base.theory, self.config.ranges).init(constant_key)
        return Params(
            self.flow.base.init(), self.flow.field.init(key), self.path.init(path_key), constant
        )

    @property
    def setting(self) -> Setting:
        """What an objective is given."""
        config = self.config
        return Setting(
            self.flow,
            self.path,
            self.couplings,
            config.batch,
            config.points,
            config.penalty,
            config.weighted,
            config.constant,
            config.half_box,
        )


def build(config: Config) -> Model:
    """The model of `config`, parameters apart."""
    theory, ranges = config.make_theory(), config.ranges
    fixed = {
        k: 0.5 * (v[0] + v[1]) if isinstance(v, tuple) else v for k, v in config.couplings.items()
    }
    base = make_base(config.base, theory, ranges, config.base_curvature, config.base_width)
    if config.interpolation == "constant-wells":
        base = Tilted(theory, base)
    couplings = Couplings(theory.from_values(**fixed), ranges)
    if config.objective == "gradient-flow":
        learned = gradient(
            theory, couplings.fixed, ranges, config.base_width, config.half_box, config.width
        )
        flow = Flow(base, learned.field, config.ode_steps)
        return Model(config, flow, GradientPath(base, False, learned), couplings)
    flow = Flow(base, FIELDS[config.field](theory, ranges, config.width), config.ode_steps)
    path = PATHS[config.interpolation](base, flow.odd, ranges, config.width)
    return Model(config, flow, path, couplings)
