"""Write simulated sequences to a folder: in the structure of the LCO data set, or a file for each exposure."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from astropy.io import fits

from cosmicgate.data.cache import digest
from cosmicgate.data.lco.io import ENDING, science_header, write_sequence
from cosmicgate.data.lco.simulation import TELESCOPES, simulate_triple
from cosmicgate.data.simulation.ccd import CCDS
from cosmicgate.io.atomic import atomic_path
from cosmicgate.io.messages import with_progress


def simulated_archive(
    folder: str,
    sequences: Mapping[str, int],
    shape: Sequence[int] | None = None,
    frames: int = 3,
    rate: float = 1.0,
    seed: int = 0,
) -> Path:
    """Write simulated sequences in the structure of the LCO data set, unless they exist; return the data set's folder.

    Parameters
    ----------
    folder : str
        Parent folder. The data set's folder in it is named after the numbers of fields and a hash of the other
        settings. Fields that exist in a data set with other numbers of fields are copied, not simulated again.
    sequences : mapping of str to int
        Number of fields of each telescope class, at most 28.
    shape, frames, rate
        As in :func:`~cosmicgate.data.lco.simulation.simulate_triple`.
    seed : int
        Seed of all fields.
    """
    if wrong := [f"{key}: {number}" for key, number in sequences.items() if not 0 <= number <= 28]:
        raise ValueError(f"sequences of {wrong[0]}; expected 0 to 28, one for each night of a month")
    key = digest(["LCO", shape, frames, rate, seed, TELESCOPES, [CCDS[name] for name in TELESCOPES]])
    folder_name = f"LCO_CR_dataset-simulated-{key}"
    fields = "-".join(f"{telescope}x{number}" for telescope, number in sorted(sequences.items()) if number)
    home = Path(folder).expanduser() / f"{folder_name}-{fields}"
    for telescope, number in sequences.items():
        camera = TELESCOPES[telescope].camera if telescope in TELESCOPES else ""
        names = [f"{camera}-{20190101 + night}-0001-e91_{frames}frms{ENDING}" for night in range(number)]
        paths = [home / "test_set" / "masked_fits" / name for name in names]
        missing = [night for night, path in enumerate(paths) if not path.is_file()]
        for night in with_progress(missing, f"simulated {telescope}", "made", "sequence"):
            path = paths[night]
            there = next(home.parent.glob(f"{folder_name}*/test_set/masked_fits/{path.name}"), None)
            if there is not None:
                with atomic_path(path) as partial:
                    shutil.copy2(there, partial)  # keeps the modification time, which is part of the cache key
            else:
                one = [seed, 5, list(TELESCOPES).index(telescope) if camera else 0, night]
                triple = simulate_triple(telescope, one, shape, frames, rate, night)
                write_sequence(triple.masked(), path, {"ORIGIN": "CosmicGate, simulated"})
    return home


def simulated_exposures(
    folder: str | Path,
    fields: int,
    telescope: str = "0m4",
    shape: Sequence[int] | None = None,
    frames: int = 3,
    rate: float = 1.0,
    seed: int = 0,
) -> list[Path]:
    """Write a FITS file for each simulated exposure, as an observatory delivers them, unless they exist.

    Parameters
    ----------
    folder : str or Path
        Parent folder. That of the exposures is named after the telescope class and a hash of the other settings.
    fields : int
        Number of fields, at most 28.
    telescope, shape, frames, rate
        As in :func:`~cosmicgate.data.lco.simulation.simulate_triple`.
    seed : int
        Seed of all fields.

    Returns
    -------
    list of Path
        Files in the order of fields and of time.
    """
    if not 0 <= fields <= 28:
        raise ValueError(f"fields={fields}: expected 0 to 28, one for each night of a month")
    key = digest(["exposures", shape, frames, rate, seed, TELESCOPES, [CCDS[name] for name in TELESCOPES]])
    home = Path(folder).expanduser() / f"simulated-{telescope}-{key}"
    paths = []
    for night in range(fields):
        names = [f"{TELESCOPES[telescope].camera}-{20190101 + night}-{n:04d}-e91.fits" for n in range(1, frames + 1)]
        if not all((home / name).is_file() for name in names):
            triple = simulate_triple(telescope, [seed, 6, night], shape, frames, rate, night)
            for name, one in zip(names, triple.exposures, strict=True):
                with atomic_path(home / name) as partial:
                    fits.writeto(partial, one.exposure.frame.image, science_header(one.exposure))
        paths += [home / name for name in names]
    return paths
