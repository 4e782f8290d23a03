"""Drawing from trained flows: samplers, their evaluation, scans of couplings."""
