"""Write zip and tar files, and add exposures to the replay server."""

import tarfile
import time
import zipfile
from io import BytesIO

import numpy as np

from cosmicgate.data.download.client import RetryPolicy
from cosmicgate.data.download.search import FILTERS
from helpers.replay_server import exposure_bytes

FAST_RETRY = RetryPolicy(attempts=3, delay=0.01, max_delay=0.02, timeout=30.0)
BODY = np.random.default_rng(0).bytes(300_000)
GRIZ = ("g", "r", "i", "z")


def wait_until(condition):
    """Wait up to 100 s until ``condition()`` is true; return whether it became true."""
    return any(condition() or time.sleep(0.02) for _ in range(5000))


def write_zip(names, path, kind=zipfile.ZIP_DEFLATED):
    """Write a zip archive of the contents by name; return its path."""
    with zipfile.ZipFile(path, "w", kind) as packed:
        for name, content in names.items():
            packed.writestr(name, content)
    return path


def write_tar(items, path):
    """Write a tar archive of contents, or of (type, target) of links, by name; return its path."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in items.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, BytesIO(content))
            else:
                info.type, info.linkname = content
                archive.addfile(info)
    return path


def add_exposure(replay, kind, name, number, **facts):
    """Add an exposure to the archive, and the mask of a science exposure; return its row."""
    raw = kind == "raw"
    own = dict(exposure=90.0, obs_type="dark" if raw else "object", proc_type=kind, prod_type="image") | facts
    if not raw:
        mask = exposure_bytes("dqmask", number, NAME=name)
        replay.add_row(name.replace("_ooi_", "_ood_"), mask, **(own | {"prod_type": "dqmask"}))
    return replay.add_row(name, exposure_bytes(kind, number, NAME=name, EXPTIME=own["exposure"]), **own)


def add_night(replay, day, bands=GRIZ, **facts):
    """Add an exposure of one field in each band to the archive; return the rows of the images."""
    stamp, ra = day.replace("-", ""), 7.0 * int(day[-2:]) + 70 * int(day[-5:-3]) % 360
    own = dict(caldat=day, ra_center=ra, dec_center=-30.0) | facts
    names = {band: f"c4d_{stamp[2:]}_0{n}1500_ooi_{band}_d2.fits.fz" for n, band in enumerate(bands)}
    return [add_exposure(replay, "instcal", name, 0, ifilter=FILTERS[band], **own) for band, name in names.items()]


def add_dark(replay, number, exptime):
    """Add a raw dark of the night ``number`` of February 2014 to the archive; return its row."""
    name = f"c4d_1402{number:02d}_120000_dri.fits.fz"
    return add_exposure(replay, "raw", name, number, caldat=f"2014-02-{number:02d}", exposure=exptime)
