"""Choose sigclip, sigfrac and objlim by F1 on frames outside of all test sets, for each telescope:

python scripts/tune_classical.py astroscrappy conf/detector/astroscrappy.yaml experiment=decam_semireal real=DIR
python scripts/tune_classical.py astroscrappy conf/detector/astroscrappy.yaml \\
    data=lco_simulated data.archive.seed=1 data.root=data/lco_tuning

Prints a table and writes a detector config, in which settings of other telescopes are kept. The frames are those of the
validation split of the data that the overrides of train.py choose. A data set without one (LCO) needs its training part
(data.part=train), or a simulation with another seed. F1 is by the paper's convention (dilated masks against the dilated
truth), over all frames of a telescope together.
"""

import argparse
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cosmicgate.extras import extra

with extra("train", __name__):
    from hydra import compose, initialize_config_dir
    from tqdm import tqdm

    from cosmicgate.config import build, report_user_errors
    from cosmicgate.data.cache import LabelledFrame, load_labelled
    from cosmicgate.detectors import detect_for_truth
    from cosmicgate.detectors.classical import AstroScrappy, LACosmic, LACosmicFamily
    from cosmicgate.evaluation.frame_results import frame_of
    from cosmicgate.io.atomic import atomic_write
    from cosmicgate.metrics import Curves, Scores, counts_from_mask

CONF = Path(__file__).resolve().parents[1] / "conf"
DETECTORS: dict[str, type[LACosmicFamily]] = {"astroscrappy": AstroScrappy, "lacosmic": LACosmic}
SWEEPS = {  # sigclip values written to the config
    "astroscrappy": [1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20],
    "lacosmic": [1, 2, 3, 4, 5, 7, 10, 15, 20],
}
Point = tuple[float, float, float]  # sigclip, sigfrac, objlim


def frames_by_telescope(overrides: Sequence[str]) -> tuple[dict[str, list[LabelledFrame]], str]:
    """Load the validation frames of a data config by telescope; return them with the data set's name and origin."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", list(overrides))
    data = build(cfg.data)
    data.prepare_data() if hasattr(data, "pairs") else data.prepare_test()
    folders = (
        [pair.folder for pair in data.pairs("validation")]
        if hasattr(data, "pairs")
        else [folder for test_set in data.test_sets() for folder in test_set.folders]
    )
    frames: dict[str, list[LabelledFrame]] = {}
    for folder in folders:
        labelled = load_labelled(folder)
        frames.setdefault(labelled.facts.get("telescope") or "other", []).append(labelled)
    return frames, f"{data.name}, {data.data_origin}"


def scores(detector: LACosmicFamily, frames: Sequence[LabelledFrame]) -> Iterator[tuple[float, Scores]]:
    """Yield each sigclip of the detector's sweep with its scores over all frames."""
    totals: dict[float, Any] = {}
    for labelled in frames:
        truth = np.array(labelled.truth)
        for sigclip, mask in detect_for_truth(detector, frame_of(labelled), dilated=True).masks.items():
            totals[sigclip] = totals.get(sigclip, 0) + counts_from_mask(mask, truth)
    for sigclip, counts in totals.items():
        yield sigclip, Curves.from_counts(counts, "dilated").at_threshold(0.5)


def search(
    detector: LACosmicFamily, frames: Sequence[LabelledFrame], sigfracs: Sequence[float], objlims: Sequence[float]
) -> dict[Point, Scores]:
    """Score every point of the grid; the values of sigclip are those of the detector's sweep."""
    found = {}
    for sigfrac, objlim in tqdm(list(itertools.product(sigfracs, objlims)), desc=detector.model, unit="setting"):
        for sigclip, score in scores(replace(detector, sigfrac=sigfrac, objlim=objlim), frames):
            found[sigclip, sigfrac, objlim] = score
    return found


def table(found: dict[Point, Scores], rows: int) -> str:
    """Format the best points as a Markdown table."""
    lines = ["| sigclip | sigfrac | objlim | F1 | precision | recall |", "|---:|---:|---:|---:|---:|---:|"]
    for point, s in list(found.items())[:rows]:
        settings = " | ".join(f"{value:g}" for value in point)
        lines.append(f"| {settings} | {s.f1:.4f} | {s.precision:.4f} | {s.recall:.4f} |")
    return "\n".join(lines)


def config(name: str, best: Mapping[str, Point], notes: Mapping[str, str]) -> str:
    """Format the detector config as YAML: settings, and notes on their origin, by telescope."""
    kind = DETECTORS[name]
    values = {
        key: "{" + ", ".join(f"{telescope}: {point[place]:g}" for telescope, point in best.items()) + "}"
        for place, key in enumerate(("threshold", "sigfrac", "objlim"))
    }
    found = "\n".join(f"#   {telescope}: {note}" for telescope, note in notes.items())
    return f"""\
# {kind().model}, fair: each frame's own gain and read noise, and the settings of best F1 on frames of no test set.
# Written by scripts/tune_classical.py.
{found}
{name}:
  _target_: {kind.__module__}.{kind.__name__}
  model: {kind().model}
  variant: fair
  trained_on: validation frames (settings)
  objlim: {values["objlim"]}
  sigfrac: {values["sigfrac"]}
  threshold: {values["threshold"]} # sigclip of F1, IoU and FDR
  sweep: {SWEEPS[name]}
  dilate_masks: true # by 3x3, where the truth is dilated
  niter: 4
"""


def existing_settings(name: str, output: Path) -> tuple[dict[str, Point], dict[str, str]]:
    """Read the settings of an existing config, and the notes on their origin, by telescope."""
    if not output.is_file():
        return {}, {}
    text = output.read_text()
    node = yaml.safe_load(text)[name]
    settings = [node[key] for key in ("threshold", "sigfrac", "objlim")]
    if not all(isinstance(setting, dict) for setting in settings):
        raise ValueError(f"{output}: expected a value for each telescope, as this script writes it")
    notes = dict(re.findall(r"^#   (\w+): (.+)$", text, re.MULTILINE))
    return {telescope: tuple(setting[telescope] for setting in settings) for telescope in settings[0]}, notes


@report_user_errors()
def main() -> None:
    """Search the grid for each telescope, print the best points and write the config."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", choices=DETECTORS)
    parser.add_argument("output", type=Path, help="the detector config to write")
    parser.add_argument("overrides", nargs="*", help="as for train.py: experiment=decam_semireal real=DIR ...")
    parser.add_argument("--sigclip", type=float, nargs="+", default=[2, 3, 4, 5, 6, 8, 10])
    parser.add_argument("--sigfrac", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    parser.add_argument("--objlim", type=float, nargs="+", default=[0.5, 1, 2, 4])
    parser.add_argument("--rows", type=int, default=10, help="number of rows of the table, best first")
    options = parser.parse_args()

    best, notes = existing_settings(options.detector, options.output)
    detector = DETECTORS[options.detector](sweep=options.sigclip, threshold=options.sigclip[0])
    telescopes, data = frames_by_telescope(options.overrides)
    for telescope, frames in telescopes.items():
        found = search(detector, frames, options.sigfrac, options.objlim)
        found = dict(sorted(found.items(), key=lambda item: (-np.nan_to_num(item[1].f1), item[0])))
        best[telescope], score = next(iter(found.items()))
        notes[telescope] = f"F1 {score.f1:.3f}, best of {len(found)} on {len(frames)} frames of {data}"
        print(f"{telescope}: {len(frames)} frames of {data}\n\n{table(found, options.rows)}\n")
    if "other" not in notes:  # settings for all telescopes without frames
        best["other"] = best.get("decam", next(iter(best.values())))
    atomic_write(options.output, config(options.detector, best, notes))
    print(options.output)


if __name__ == "__main__":
    main()
