"""Test that metrics are written whole, or the file is named that was not."""

import pytest

from cosmicgate.training.loggers import MetricsWriter
from helpers.full_disk import full_disk


def test_a_full_disk_names_the_file_of_metrics(tmp_path):
    writer = MetricsWriter(str(tmp_path))
    writer.log_metrics({"loss": 1.0}, step=0)
    with full_disk(5), pytest.raises(OSError, match=r"metrics\.csv"):
        writer.save()
