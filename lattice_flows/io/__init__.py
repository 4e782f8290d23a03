"""Files: netCDF, checkpoints, whole writes, digests, locks, where a file came from."""
