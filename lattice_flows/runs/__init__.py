"""A training run: its configuration and rules, its directory, what it takes of the machine."""
