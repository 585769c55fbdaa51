"""A folder of simulated sequences in the LCO data set's layout."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from cosmicgate.data.lco.masked_fits import ENDING, write_sequence
from cosmicgate.data.lco.triples import TELESCOPES, simulate_triple
from cosmicgate.data.simulate.ccd import CCDS
from cosmicgate.data.store import digest
from cosmicgate.files import whole


def simulated_archive(
    folder: str,
    sequences: Mapping[str, int],
    shape: Sequence[int] | None = None,
    frames: int = 3,
    rate: float = 1.0,
    seed: int = 0,
) -> Path:
    """Write simulated sequences as the LCO data set has them, unless they are there; return the data set's folder.

    Parameters
    ----------
    folder : str
        The data set becomes a folder in it, named by the number of fields and a hash of the other settings below. What
        other numbers of fields have in common with it is copied, not simulated again.
    sequences : mapping of str to int
        Class -> how many fields; at most 28.
    shape, frames, rate
        As in :func:`~cosmicgate.data.lco.triples.simulate_triple`.
    seed : int
        Of all fields.
    """
    if wrong := [f"{key}: {number}" for key, number in sequences.items() if not 0 <= number <= 28]:
        raise ValueError(f"sequences of {wrong[0]}; expected 0 to 28, one for each night of a month")
    key = digest(["LCO", shape, frames, rate, seed, TELESCOPES, [CCDS[name] for name in TELESCOPES]])
    known = f"LCO_CR_dataset-simulated-{key}"
    fields = "-".join(f"{telescope}x{number}" for telescope, number in sorted(sequences.items()) if number)
    home = Path(folder).expanduser() / f"{known}-{fields}"
    for telescope, number in sequences.items():
        for night in tqdm(range(number), desc=f"simulated {telescope}", unit="sequence", leave=False):
            camera = TELESCOPES[telescope].camera if telescope in TELESCOPES else ""
            name = f"{camera}-{20190101 + night}-0001-e91_{frames}frms{ENDING}"
            path = home / "test_set" / "masked_fits" / name
            if path.is_file():
                continue
            there = next(home.parent.glob(f"{known}*/test_set/masked_fits/{name}"), None)
            if there is not None:
                with whole(path) as partial:
                    shutil.copy2(there, partial)  # with its time, by which its unpacked frames are known
            else:
                one = [seed, 5, list(TELESCOPES).index(telescope) if camera else 0, night]
                triple = simulate_triple(telescope, one, shape, frames, rate, night)
                write_sequence(triple.masked(), path, {"ORIGIN": "CosmicGate, simulated"})
    return home
