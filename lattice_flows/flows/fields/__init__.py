"""Velocity fields and scalar networks: haiku is known here and nowhere else."""

from collections.abc import Callable

from lattice_flows.flows.fields.convolutional import convolutional
from lattice_flows.flows.fields.field import Field as Field
from lattice_flows.flows.fields.gradient import GradientEnergy as GradientEnergy
from lattice_flows.flows.fields.gradient import gradient as gradient
from lattice_flows.flows.fields.hollow import hollow
from lattice_flows.flows.fields.linear import linear
from lattice_flows.flows.fields.mlp import mlp
from lattice_flows.flows.fields.network import Network as Network
from lattice_flows.flows.fields.network import potential as potential
from lattice_flows.flows.fields.network import time_network as time_network
from lattice_flows.flows.fields.transport import Route as Route
from lattice_flows.flows.fields.transport import TransportField as TransportField
from lattice_flows.flows.fields.transport import TransportFields as TransportFields
from lattice_flows.flows.fields.transport import transport as transport

FIELDS: dict[str, Callable[..., Field]] = {
    "hollow": lambda theory, ranges, width, scale=1.0: hollow(theory, ranges, width),
    "convolutional": lambda theory, ranges, width, scale=1.0: convolutional(theory, ranges, width),
    "translation": lambda theory, ranges, width, scale=1.0: hollow(
        theory, ranges, width, odd=False
    ),
    "linear": lambda theory, ranges, width, scale=1.0: linear(theory, ranges),
    "mlp": mlp,
}
"""Constructors by name: (theory, ranges, width, scale of the base) -> Field."""
