"""Test that zip and tar archives are unpacked completely and only inside their folder, or refused."""

import tarfile
import zipfile

import pytest

from cosmicgate.data.download.unpack import unpack
from helpers.archive_files import BODY, write_tar, write_zip
from helpers.replay_server import md5


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:evil"])
@pytest.mark.parametrize("pack", [write_zip, write_tar])
def test_no_member_of_an_archive_is_written_outside_the_folder(tmp_path, name, pack):
    archive = pack({"fine": b"1", name: b"2"}, tmp_path / ("a.zip" if pack is write_zip else "a.tar.gz"))
    root = tmp_path / "deep" / "root"
    with pytest.raises(ValueError, match=r"a\.(zip|tar\.gz): unsafe file name '.*evil'"):
        unpack(archive, root)
    assert list(root.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["deep", archive.name])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE], ids=["symlink", "hard", "fifo"])
def test_links_and_devices_in_a_tar_archive_are_refused(tmp_path, kind):
    archive = write_tar({"way": (kind, str(tmp_path / "out")), "way/file": b"1"}, tmp_path / "a.tar")
    with pytest.raises(ValueError, match=r"a\.tar: holds 'way', which is a link or a device"):
        unpack(archive, tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_links_in_a_zip_archive_are_refused(tmp_path):
    info = zipfile.ZipInfo("way")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(info, str(tmp_path))
    with pytest.raises(ValueError, match=r"a\.zip: holds the link 'way'"):
        unpack(tmp_path / "a.zip", tmp_path / "root")


@pytest.mark.parametrize("pack", [write_zip, write_tar])
def test_a_truncated_archive_leaves_no_files(tmp_path, pack):
    archive = pack({"a": BODY, "b": BODY}, tmp_path / ("a.zip" if pack is write_zip else "a.tar.gz"))
    archive.write_bytes(archive.read_bytes()[: 2 * archive.stat().st_size // 3])
    with pytest.raises(ValueError, match=r"a\.(zip|tar\.gz): cannot be unpacked"):
        unpack(archive, tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("pack", [write_zip, write_tar])
def test_two_archives_of_one_folder_are_merged(tmp_path, pack):
    end = ".zip" if pack is write_zip else ".tar"
    root = tmp_path / "root"
    first = unpack(pack({"top/train/a": b"1", "top/notes": b"old"}, tmp_path / f"1{end}"), root)
    unpack(pack({"top/test/b": b"2", "top/notes": b"new"}, tmp_path / f"2{end}"), root)
    assert (root / "top/train/a").read_bytes() + (root / "top/test/b").read_bytes() == b"12"
    assert (root / "top/notes").read_bytes() == b"new"
    assert (first[0].path, first[0].size, first[0].md5) == ("top/train/a", 1, md5(b"1"))
