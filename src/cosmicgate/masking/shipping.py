"""From the folder of a finished run to a packaged network: weights, calibration, card.

``python -m cosmicgate.masking.shipping outputs/RUN --name NAME --command 'python ...' [--screen outputs/SCREEN]``;
another first look for a packaged network: ``python -m cosmicgate.masking.shipping NAME --screen outputs/SCREEN``;
its thresholds measured anew, on the validation frames of a run: ``... NAME --calibrate outputs/RUN``; its scores
counted anew: ``... NAME --results outputs/EVALUATION/results.json``. A first look is tuned on the validation frames of
the run that is packaged, or of that which calibrates, or of its own.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from scipy.stats import beta
from torch import Tensor
from tqdm.auto import tqdm

from cosmicgate.config import build
from cosmicgate.data.store import digest, load_labelled
from cosmicgate.detectors.inputs import bridged
from cosmicgate.detectors.network import hash_of, read_checkpoint
from cosmicgate.detectors.packaged.cards import FOLDER, SCREEN, TUNED, Card, names, pack, ship
from cosmicgate.detectors.packaged.unpacking import screen_of, unpacked
from cosmicgate.masking.loading import load
from cosmicgate.masking.masker import Masker
from cosmicgate.masking.traits import TRAITS, traits
from cosmicgate.models.inference import frame_logits
from cosmicgate.models.scaling import Levels
from cosmicgate.models.screening import FIRST_ROWS, Screen, brightest, screened_logits
from cosmicgate.models.streaming import streamed_logits, unscaled
from cosmicgate.models.unet import UNet
from cosmicgate.truth import CORE, SKY

RATES = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
LEAST = 10  # false alarms from which a rate is known well enough to be written down
LOST = 3e-4  # part of the found pixels that a screen may lose on the frames it is tuned on
HALO = 16  # pixels around a square that a network sees at most; beyond, there is next to nothing that moves a logit
WIDEST = 200  # training frames whose traits are measured


def calibration(network: UNet, frames: Sequence[Path]) -> list[list[float]]:
    """Return rates of false alarms among the sky pixels of labelled frames, and the thresholds that give them.

    Where pixels share a logit, the threshold lies above them: a rate is not exceeded. One that no threshold gives is
    left out.
    """
    pixels = sum(load_labelled(folder).truth.size for folder in frames)
    keep = int(max(RATES) * pixels) + LEAST  # of all frames together
    highest, sky = np.empty(0, np.float32), 0
    for _, logits, truth in looked_at(network, frames, "calibration"):
        found = logits[truth == SKY]
        sky += found.size
        highest = np.sort(np.concatenate([highest, found]))[-keep:]
    highest = highest[::-1].astype(np.float64)
    pairs = []
    for rate in RATES:
        if LEAST <= rate * sky < len(highest):
            above = highest[highest > highest[int(rate * sky)]]  # highest first
            pairs += [(rate, above[-1])] if len(above) >= LEAST else []
    return [[rate, float(1 / (1 + np.exp(-logit)))] for rate, logit in pairs]


def ranges(frames: Sequence[Path], scaling: str) -> dict[str, list[float]]:
    """Return where 98 % of labelled frames lie in each trait; at most :data:`WIDEST` of them are measured.

    Traits that a network cannot see behind its scaling are left out, and a field may be as empty as it likes.
    """
    step = max(len(frames) // WIDEST, 1)
    found = []
    for folder in tqdm(frames[::step], desc="traits", unit="frame"):
        labelled = load_labelled(folder)
        found.append(traits(*bridged(np.asarray(labelled.image), np.asarray(labelled.bad))))
    table = {name: np.array([one[name] for one in found]) for name in TRAITS}
    limits = {
        name: [float(value) for value in np.nanpercentile(values, [1, 99])]
        for name, values in table.items()
        if np.isfinite(values).any() and not (scaling == "robust" and name in ("background", "noise"))
    }
    return limits | {"sources": [0.0, limits["sources"][1]]}


def tuned_screen(masker: Masker, first: UNet, frames: Sequence[Path], fpr: float = TUNED) -> Screen:
    """Return the strictest screen that loses no more than :data:`LOST` of the hit pixels which the network finds.

    Squares are judged without their margin, which comes on top: for what a hit leaves in the squares beside its own.
    """
    step = masker.network.step
    halo = step * math.ceil(min(masker.network.reach, HALO) / step)
    screen = Screen(first, 0.0, cell=max(Screen.cell, step), halo=halo)
    least = masker.card.calibration[0][0]  # few frames do not tell rates as low as that
    threshold = np.log(t := masker.card.threshold_at(max(fpr, least))) - np.log1p(-t)
    found = []
    for image, logits, truth in looked_at(masker.network, frames, "screen"):
        scale = Levels.of(image).scaled if first.scaling == "robust" else unscaled
        cells = brightest(replace(screen, margin=0), streamed_logits(first, image, scale, FIRST_ROWS)).numpy()
        rows, columns = np.nonzero((truth == CORE) & (logits >= threshold))
        found.append(cells[rows // screen.cell, columns // screen.cell])
    return replace(screen, threshold=float(np.quantile(np.concatenate(found), LOST)))


def missed(masker: Masker, screen: Screen, frames: Sequence[Path]) -> dict[str, Any]:
    """Return what a screen misses of the hits that the network finds in labelled frames at its threshold."""
    hits = lost = 0
    looked, threshold = [], np.log(t := masker.card.threshold) - np.log1p(-t)
    for image, logits, truth in looked_at(masker.network, frames, "what the screen misses"):
        quick, part = screened_logits(masker.network, screen, image)
        looked.append(part)
        numbers, _ = label(truth == CORE, np.ones((3, 3)))
        for number, box in enumerate(find_objects(numbers), start=1):
            core = numbers[box] == number
            if (logits[box][core] >= threshold).mean() >= 0.5:
                hits += 1
                lost += bool((quick.numpy()[box][core] >= threshold).mean() < 0.5)
    bound = float(beta.ppf(0.95, lost + 1, hits - lost)) if hits > lost else 1.0
    return {"hits": hits, "missed": lost, "bound": bound, "looked": float(np.mean(looked))}


def looked_at(
    network: UNet, frames: Sequence[Path], purpose: str
) -> Iterator[tuple[Tensor, NDArray[np.float32], NDArray[np.uint8]]]:
    """Return image, logits and truth of labelled frames."""
    for folder in tqdm(frames, desc=purpose, unit="frame"):
        labelled = load_labelled(folder)
        image = torch.from_numpy(bridged(np.asarray(labelled.image), np.asarray(labelled.bad))[0])
        yield image, frame_logits(network, image).numpy(), np.asarray(labelled.truth)


def scores(results: Sequence[Path], network: UNet, own: Path | None = None) -> list[dict[str, Any]]:
    """Return the rows of results files that a network earned, short.

    Networks before it had the same title: it is the weights that count. In those of its ``own`` run rows may lack them,
    as rows did up to 0.1.2. Of several rows of one data set the last one.

    Raises
    ------
    ValueError
        A file has no row of these weights.
    """
    latest: dict[str, dict[str, Any]] = {}
    mine = hash_of(network)
    for path in results:
        unknown = mine if path == own else None
        rows = [row for row in json.loads(path.read_text())["rows"] if row.get("weights", unknown) == mine]
        if not rows:
            raise ValueError(f"{path} has no row of these weights: expected results of train.py or evaluate.py of them")
        latest |= {row["test_set"]: row for row in rows if not row["detector"].endswith(", fast")}
    return [
        {
            "data": row["test_set"],
            "provenance": row["provenance"],
            "truth": convention,
            "metric": metric,
            "value": row[convention][metric],
            "interval": row["intervals"][convention].get(metric),
        }
        for row in latest.values()
        for convention in ("dilated", "core")
        for metric in ("tpr_at_fpr_0.01pct", "f1")
    ]


def renewed(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a card's scores with those of some data sets counted anew."""
    anew = {one["data"] for one in after}
    return [one for one in before if one["data"] not in anew] + after


def card_of(run: Path, name: str, command: str, results: Sequence[Path]) -> tuple[UNet, Card, Any]:
    """Return the network of a run, its card with calibration and ranges, and its data."""
    provenance = json.loads((run / "provenance.json").read_text())
    data = data_of(run)
    masker = load(run, check=False)
    if not isinstance(masker.network, UNet):
        found = type(masker.network).__name__
        raise ValueError(f"{run}: expected a UNet, found {found}: other networks are loaded from their run folder")
    card = replace(
        masker.card,
        name=name,
        command=command,
        data_hash=digest(provenance["inputs"]),
        machine=provenance["device"],
        calibrated_on=f"{masker.card.trained_on}: validation frames, sky pixels",
        calibration=calibration(masker.network, data.split("validation")),
        ranges=ranges(data.split("train"), masker.network.scaling),
        scores=scores([run / "results.json", *results], masker.network, own=run / "results.json"),
    )
    return masker.network, card, data


def data_of(run: Path) -> Any:
    """Return the data of a run, made anew where they are missing."""
    data = build(read_checkpoint(run / "checkpoints" / "best.ckpt")["config"]["data"])
    data.prepare_data()
    return data


def first_look(of: Path, command: str) -> tuple[UNet, dict[str, Any]]:
    """Return the small network of a run, or that of a packaged network's screen, and what a card says of it."""
    if str(of) in names():
        _, card, tensors = unpacked(str(of))
        told: dict[str, Any] = card.screen or {}
        return screen_of(card, tensors).network, {key: told[key] for key in ("network", "command", "data")}
    first = load(of, check=False)
    return first.network, {"network": first.card.network, "command": command, "data": first.card.trained_on}


def screened(masker: Masker, first: UNet, data: Any) -> dict[str, Any]:
    """Return what the card of a network says of its screen: the settings that the data ask for, and what it misses."""
    screen = tuned_screen(masker, first, data.split("validation"))
    settings = {key: getattr(screen, key) for key in ("threshold", "cell", "margin", "halo")}
    return {"settings": settings} | missed(masker, screen, data.split("test"))


def main(arguments: Sequence[str]) -> int:
    """Package a run, or give a packaged network another screen or thresholds measured anew."""
    parser = argparse.ArgumentParser(
        prog="python -m cosmicgate.masking.shipping", description="Package a trained network."
    )
    parser.add_argument("run", type=Path, help="folder of a finished run of train.py, or a packaged network")
    parser.add_argument("--name", help="by which cosmicgate.load finds it")
    parser.add_argument("--command", help="what trains it again")
    parser.add_argument(
        "--screen", type=Path, help="run folder of a small network, or a packaged network: its first look"
    )
    parser.add_argument("--calibrate", type=Path, help="run folder whose validation frames a packaged network gets")
    parser.add_argument("--screen-command", default="", help="what trains that again")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="further results.json whose rows it keeps")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where it goes; the package itself if not given")
    options = parser.parse_args(arguments)
    if options.run.is_dir() and str(options.run) not in names():
        if not (options.name and options.command) or options.calibrate:
            parser.error(f"{options.run} is a run: give the --name of the packaged network and its --command, no more")
        network, card, data = card_of(options.run, options.name, options.command, options.results)
        weights = network.state_dict()
    else:
        if not (options.screen or options.calibrate or options.results) or options.name or options.command:
            parser.error(
                f"{options.run} is no folder of a run: a packaged network takes --screen, --calibrate or --results"
            )
        if str(options.screen) in names() and not options.calibrate:
            parser.error(
                f"--screen {options.screen}: its first look is tuned on the frames of a run: give --calibrate RUN"
            )
        network, card, weights = unpacked(str(options.run))
        if of := options.calibrate or options.screen:
            data = data_of(of)
        card = replace(card, scores=renewed(card.scores, scores(options.results, network)))
        if options.calibrate:
            card = replace(card, calibration=calibration(network, data.split("validation")))
    if options.screen:
        first, told = first_look(options.screen, options.screen_command)
        weights = {key: value for key, value in weights.items() if not key.startswith(SCREEN)}
        weights |= {SCREEN + key: value for key, value in first.state_dict().items()}
        card = replace(card, screen=told | screened(Masker(network, card), first, data))
    content, sha256 = pack({key: value.cpu() for key, value in weights.items()})
    ship(replace(card, sha256=sha256), content, options.folder)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
