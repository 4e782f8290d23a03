"""What is measured: weights, estimators with errors, and the observables made of them."""

from .chains import Mixing as Mixing
from .correlators import Correlator as Correlator
from .correlators import correlator as correlator
from .correlators import exact_correlator as exact_correlator
from .derivatives import derivative_names as derivative_names
from .derivatives import derivatives as derivatives
from .derivatives import exact_derivatives as exact_derivatives
from .estimate import Estimate as Estimate
from .estimators import average as average
from .estimators import jackknife as jackknife
from .estimators import reweighted as reweighted
from .gap import GapFit as GapFit
from .invariance import Invariance as Invariance
from .lattice import LONG_NAMES as LONG_NAMES
from .magnetization import magnetization as magnetization
from .measure import Measurement as Measurement
from .measure import measure as measure
from .measure import quantities as quantities
from .strata import Strata as Strata
from .weights import is_reliable as is_reliable
from .weights import kish_ess as kish_ess
from .weights import log_mean_weight as log_mean_weight
from .weights import max_weight_share as max_weight_share
