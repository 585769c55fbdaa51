"""A folder of simulated sequences in the LCO data set's layout."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from cosmicgate.data.lco.masked_fits import ENDING, write_sequence
from cosmicgate.data.lco.triples import TELESCOPES, simulate_triple
from cosmicgate.data.simulate.ccd import CCDS
from cosmicgate.data.store import digest


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
        The data set becomes a folder in it, named by a hash of the settings below.
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
    home = Path(folder).expanduser() / f"LCO_CR_dataset-simulated-{key}"
    for telescope, number in sequences.items():
        for night in tqdm(range(number), desc=f"simulated {telescope}", unit="sequence", leave=False):
            camera = TELESCOPES[telescope].camera if telescope in TELESCOPES else ""
            name = f"{camera}-{20190101 + night}-0001-e91_{frames}frms{ENDING}"
            path = home / "test_set" / "masked_fits" / name
            if not path.is_file():
                one = [seed, 5, list(TELESCOPES).index(telescope) if camera else 0, night]
                triple = simulate_triple(telescope, one, shape, frames, rate, night)
                write_sequence(triple.masked(), path, {"ORIGIN": "CosmicGate, simulated"})
    return home
