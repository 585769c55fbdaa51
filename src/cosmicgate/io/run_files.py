"""Names of the files in a run folder."""

RESULTS = "results.json"  # written last: marks a finished run
PROVENANCE = "provenance.json"
METRICS = "metrics.csv"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
