"""Velocity fields: haiku is known here and nowhere else."""

from lattice_flows.fields.convolutional import convolutional
from lattice_flows.fields.field import Field as Field
from lattice_flows.fields.hollow import hollow

FIELDS = {"hollow": hollow, "convolutional": convolutional}
"""Constructors by name: (theory, ranges, width) -> Field."""
