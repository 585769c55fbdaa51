"""From an archive or a simulation to patches with their truth, a step in each file."""
