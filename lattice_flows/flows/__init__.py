"""Continuous flows: base densities, velocity fields, paths of energies, and the model of a run."""
