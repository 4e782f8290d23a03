"""Configurations with log-weights or in chains: kept, read back, measured, combined, tabled."""
