"""Sampling: engines behind one Protocol, seeds, and verified trajectories."""
