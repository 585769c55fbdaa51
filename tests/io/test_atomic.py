"""Test that files are written whole or not at all, and which file an error names."""

import pytest

from cosmicgate.io.atomic import atomic_path, cached_sha256, sha256_of


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


def test_a_cached_checksum_is_computed_once_until_the_file_changes(tmp_path, monkeypatch):
    path, computed = tmp_path / "a.fits", []
    monkeypatch.setattr("cosmicgate.io.atomic.sha256_of", lambda one: computed.append(one) or sha256_of(one))
    for content in (b"one", b"other"):
        path.write_bytes(content)
        assert cached_sha256(path) == cached_sha256(path) == sha256_of(path)
    assert len(computed) == 2
