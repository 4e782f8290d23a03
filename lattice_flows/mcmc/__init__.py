"""Markov chains: moves, cluster flips, annealed walkers, hybrid Monte Carlo."""
