"""Velocity fields and scalar networks: haiku is known here and nowhere else."""

from lattice_flows.fields.convolutional import convolutional
from lattice_flows.fields.field import Field as Field
from lattice_flows.fields.gradient import GradientEnergy as GradientEnergy
from lattice_flows.fields.gradient import gradient as gradient
from lattice_flows.fields.hollow import hollow
from lattice_flows.fields.mlp import mlp
from lattice_flows.fields.network import Network as Network
from lattice_flows.fields.network import potential as potential
from lattice_flows.fields.network import time_network as time_network

FIELDS = {"hollow": hollow, "convolutional": convolutional, "mlp": mlp}
"""Constructors by name: (theory, ranges, width) -> Field."""
