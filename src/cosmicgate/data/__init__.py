"""Data sets: from an archive or a simulation to patches with labelled pixels."""
