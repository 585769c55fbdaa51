"""Choose sigclip, sigfrac and objlim by F1 on validation frames:

python scripts/tune_classical.py astroscrappy conf/detector/astroscrappy_tuned.yaml experiment=decam_semireal real=DIR

Prints a table and writes a detector config. The frames are those of the validation split of the data config that the
overrides of train.py name; F1 is the paper's (dilated masks against the dilated truth), of all frames together.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from tqdm.auto import tqdm

from cosmicgate.config import build, one_sentence
from cosmicgate.data.store import Labelled, load_labelled
from cosmicgate.detectors import seen
from cosmicgate.detectors.classical import AstroScrappy, LACosmic, LACosmicFamily
from cosmicgate.evaluation.judging import frame_of
from cosmicgate.files import write_whole
from cosmicgate.metrics import Curves, Scores, counts_from_mask

CONF = Path(__file__).resolve().parents[1] / "conf"
DETECTORS: dict[str, type[LACosmicFamily]] = {"astroscrappy": AstroScrappy, "lacosmic": LACosmic}
SWEEPS = {  # of the config: LACosmic takes ten times as long at sigclip 1, where it marks two pixels of five
    "astroscrappy": [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20],
    "lacosmic": [2, 3, 4, 5, 7, 10, 14, 20],
}
Point = tuple[float, float, float]  # sigclip, sigfrac, objlim


def validation_frames(overrides: Sequence[str]) -> tuple[list[Labelled], str]:
    """Return the validation frames of a data config, and its name and provenance."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", list(overrides))
    data = build(cfg.data)
    data.prepare_data()
    return [load_labelled(pair.folder) for pair in data.pairs("validation")], f"{cfg.data.name}, {data.provenance}"


def scores(detector: LACosmicFamily, frames: Sequence[Labelled]) -> Iterator[tuple[float, Scores]]:
    """Yield each sigclip of the detector's sweep with the scores of all frames together."""
    totals: dict[float, Any] = {}
    for labelled in frames:
        truth = np.array(labelled.truth)
        for sigclip, mask in seen(detector, frame_of(labelled), dilated=True).masks.items():
            totals[sigclip] = totals.get(sigclip, 0) + counts_from_mask(mask, truth)
    for sigclip, counts in totals.items():
        yield sigclip, Curves.from_counts(counts, "dilated").at_threshold(0.5)


def search(
    detector: LACosmicFamily, frames: Sequence[Labelled], sigfracs: Sequence[float], objlims: Sequence[float]
) -> dict[Point, Scores]:
    """Return the scores of every point of the grid; the sigclips are those of the detector's sweep."""
    found = {}
    for sigfrac, objlim in tqdm(list(itertools.product(sigfracs, objlims)), desc=detector.title, unit="setting"):
        for sigclip, score in scores(replace(detector, sigfrac=sigfrac, objlim=objlim), frames):
            found[sigclip, sigfrac, objlim] = score
    return found


def table(found: dict[Point, Scores], rows: int) -> str:
    """Return the best points as a Markdown table."""
    lines = ["| sigclip | sigfrac | objlim | F1 | precision | recall |", "|---:|---:|---:|---:|---:|---:|"]
    for point, s in list(found.items())[:rows]:
        settings = " | ".join(f"{value:g}" for value in point)
        lines.append(f"| {settings} | {s.f1:.4f} | {s.precision:.4f} | {s.recall:.4f} |")
    return "\n".join(lines)


def config(name: str, best: Point, f1: float, frames: int, data: str, tried: int) -> str:
    """Return the detector config as YAML."""
    sigclip, sigfrac, objlim = best
    kind = DETECTORS[name]
    return f"""\
# {kind().title} with the settings of the best F1, {f1:.3f}, among {tried} on the validation split
# of {data}: {frames} frames. Written by scripts/tune_classical.py.
{name}_tuned:
  _target_: {kind.__module__}.{kind.__name__}
  title: {kind().title} (tuned)
  trained_on: {data} (settings)
  objlim: {objlim:g}
  sigfrac: {sigfrac:g}
  threshold: {sigclip:g} # sigclip of F1, IoU and FDR
  sweep: {SWEEPS[name]}
  grow: true # by 3x3, where the truth is dilated
  niter: 4
"""


@one_sentence()
def main() -> None:
    """Search, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", choices=DETECTORS)
    parser.add_argument("output", type=Path, help="the detector config to write")
    parser.add_argument("overrides", nargs="*", help="as for train.py: experiment=decam_semireal real=DIR ...")
    parser.add_argument("--sigclip", type=float, nargs="+", default=[2, 3, 4, 5, 6, 8, 10])
    parser.add_argument("--sigfrac", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    parser.add_argument("--objlim", type=float, nargs="+", default=[0.5, 1, 2, 4])
    parser.add_argument("--rows", type=int, default=10, help="of the table, best first")
    options = parser.parse_args()

    detector = DETECTORS[options.detector](sweep=options.sigclip, threshold=options.sigclip[0])
    frames, data = validation_frames(options.overrides)
    found = search(detector, frames, options.sigfrac, options.objlim)
    found = dict(sorted(found.items(), key=lambda item: (-np.nan_to_num(item[1].f1), item[0])))
    best = next(iter(found))
    print(f"{len(frames)} validation frames of {data}\n\n{table(found, options.rows)}")
    write_whole(options.output, config(options.detector, best, found[best].f1, len(frames), data, len(found)))
    print(f"\n{options.output}")


if __name__ == "__main__":
    main()
