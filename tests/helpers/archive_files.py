"""Make files of archives, and put exposures into the replay server."""

import tarfile
import time
import zipfile
from io import BytesIO

import numpy as np

from cosmicgate.data.download import RetryPolicy
from cosmicgate.data.download.search import FILTERS
from helpers.replay_server import exposure

HASTY = RetryPolicy(attempts=3, delay=0.01, longest=0.02, timeout=30.0)


BODY = np.random.default_rng(0).bytes(300_000)


def soon(is_so):
    return any(is_so() or time.sleep(0.02) for _ in range(5000))


def zipped(names, path, kind=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", kind) as packed:
        for name, content in names.items():
            packed.writestr(name, content)
    return path


def taped(items, path):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tape:
        for name, content in items.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tape.addfile(info, BytesIO(content))
            else:
                info.type, info.linkname = content
                tape.addfile(info)
    return path


GRIZ = ("g", "r", "i", "z")


def add(replay, kind, name, number, **facts):
    """Add an exposure to the archive, and the mask of a science exposure; return its row."""
    raw = kind == "raw"
    own = dict(exposure=90.0, obs_type="dark" if raw else "object", proc_type=kind, prod_type="image") | facts
    if not raw:
        mask = exposure("dqmask", number, NAME=name)
        replay.add_row(name.replace("_ooi_", "_ood_"), mask, **(own | {"prod_type": "dqmask"}))
    return replay.add_row(name, exposure(kind, number, NAME=name, EXPTIME=own["exposure"]), **own)


def add_night(replay, day, bands=GRIZ, **facts):
    """Add an exposure of one field in each band to the archive; return the rows of the images."""
    stamp, ra = day.replace("-", ""), 7.0 * int(day[-2:]) + 70 * int(day[-5:-3]) % 360
    own = dict(caldat=day, ra_center=ra, dec_center=-30.0) | facts
    names = {band: f"c4d_{stamp[2:]}_0{n}1500_ooi_{band}_d2.fits.fz" for n, band in enumerate(bands)}
    return [add(replay, "instcal", name, 0, ifilter=FILTERS[band], **own) for band, name in names.items()]


def add_dark(replay, number, exptime):
    name = f"c4d_1402{number:02d}_120000_dri.fits.fz"
    return add(replay, "raw", name, number, caldat=f"2014-02-{number:02d}", exposure=exptime)
