"""Training by linear least squares, for fields that are linear in their coefficients."""
