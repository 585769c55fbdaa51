"""Test that files are written whole or not at all, and which file an error names."""

import pytest

from cosmicgate.io.atomic import atomic_path


def write_half(target, message):
    """Fail with an error after half of a file was written."""
    with atomic_path(target) as partial:
        partial.write_bytes(b"half")
        raise OSError(message)


@pytest.mark.parametrize(
    ("message", "asks"), [("13838 requested and 2592 written", True), ("Header missing END card.", False)]
)
def test_only_a_short_write_is_taken_for_a_full_disk(tmp_path, message, asks):
    target = tmp_path / "mask.fits"
    with pytest.raises(OSError, match=message) as caught:
        write_half(target, message)
    assert ("is the disk full?" in str(caught.value)) == asks
    assert (str(target) in str(caught.value)) == asks
    assert not list(tmp_path.iterdir())
