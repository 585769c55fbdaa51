"""Compute every score and curve of the tables from a histogram of the logits, without storing the pixels.

    histogram = LogitHistogram()                       # a torchmetrics Metric: sums over batches and processes
    histogram.update(logits, truth)
    curves = Curves.from_counts(histogram.compute(), "dilated")
    curves.tpr_at_fpr(1e-4), curves.precision_at_tpr(0.95), curves.at_threshold(0.5).f1

Counts are plain integers: add those of several frames, or of frames resampled for a bootstrap, and make the curves
from the sum. :func:`counts_from_mask` counts the mask of a detector without scores in the same form.
"""

from cosmicgate.metrics.counts import BINS, LogitHistogram, bin_index, counts_from_mask, lower_edge
from cosmicgate.metrics.curves import Curves, Scores

__all__ = ["BINS", "Curves", "LogitHistogram", "Scores", "bin_index", "counts_from_mask", "lower_edge"]
