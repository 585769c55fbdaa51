"""Make rows of results and write the folders of finished runs."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np

from cosmicgate.evaluation.records import DetectorRecord, write_results

SCORES = {
    "tpr_at_fpr_0.001pct": 0.9012,
    "tpr_at_fpr_0.01pct": 0.97691,
    "tpr_at_fpr_0.1pct": 0.996,
    "precision_at_tpr_95pct": None,
    "f1": 0.97494,
    "iou": 0.95111,
    "fdr": 0.02459,
    "roc_auc": 0.9999,
    "average_precision": 0.99,
}
PER_HIT = {
    "recall": 0.98,
    "false_per_megapixel": 3.25,
    "recall_at_10_false": 0.99,
    "threshold_at_10_false": 0.125,
    "recall_at_1_false": 0.97,
    "threshold_at_1_false": 0.75,
    "stars_masked_per_1000": None,
    "hot_pixels_masked_per_megapixel": None,
}
PAIR = {"a": "Att deepCR", "b": "deepCR"}


def result_row(detector="Att Cosmic-CoNN", test_set="decam", data_origin="simulated", points=200, **changes):
    """Make a row of results.json; ``detector`` is a record, or a title as in files of version 0.1."""
    rates = np.geomspace(1e-7, 1, points)
    curve = {
        "fpr": list(rates),
        "tpr": list(rates**0.01),
        "recall": list(rates**0.01),
        "precision": [None, *rates[:0:-1]],
    }
    trained_on = changes.pop("trained_on", "decam, simulated")
    if isinstance(detector, str):
        detector = DetectorRecord.from_title(detector, trained_on)
    row = {"test_set": test_set, "data_origin": data_origin, "detector": detector}
    row |= {"benchmark": next((name for name in ("decam", "lco_0m4") if test_set.startswith(name)), "")}
    row |= {"threshold": 0.5, "frames": 8, "pixels": 2097152, "hits": 321}
    by_length = [{"from": 1, "to": 2, "hits": 40, "found": 30, "interval": [0.7, 0.8]}]
    by_length += [{"from": 3, "to": None, "hits": 0, "found": 0, "interval": None}]
    by_snr = [{"from": None, "to": 5.0, "hits": 40, "found": 30, "interval": None}]
    hits = PER_HIT | {"by_length": by_length, "by_snr": by_snr}
    row |= {"dilated": SCORES, "core": SCORES | {"f1": 0.5}, "per_hit": hits}
    row |= {"intervals": {"dilated": {"tpr_at_fpr_0.01pct": [0.97, 0.98]}, "core": {}, "per_hit": {}, "draws": 1000}}
    return row | {"curves": {"dilated": curve, "core": curve}} | changes


def difference_entry(**changes):
    """Make an entry of results.json for the difference between the detectors of PAIR."""
    parts = {"dilated": SCORES, "core": SCORES, "per_hit": PER_HIT}
    entry = {"test_set": "decam", "data_origin": "simulated", "frames": 8}
    entry |= {side: DetectorRecord(model, trained_on="decam, simulated") for side, model in PAIR.items()}
    found = {"difference": 0.0125, "interval": [-0.001, 0.02], "above_zero": 0.97}
    return entry | {part: dict.fromkeys(scores, found) for part, scores in parts.items()} | changes


def write_run(folder: Path, *rows, seed=None, **more) -> Path:
    """Write the files of a finished run into a folder; return it."""
    (folder / "report").mkdir(parents=True)
    write_results(folder / "results.json", {"rows": rows} | more)
    if seed is not None:
        facts = {"command": ["train.py", f"seed={seed}"], "seed": seed, "commit": "abc", "uncommitted": "- a < b\n+ c"}
        facts |= {"packages": {"torch": "2"}, "inputs": {"a": "0"}, "config": {"group": "gates", "model": {}}}
        (folder / "provenance.json").write_text(json.dumps(facts))
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "config.yaml").write_text("title: <deepCR & friends>\n")
        lines = ["epoch,step,val/loss,val/tpr_at_fpr_0.01pct,train/loss_step", "0,1,0.5,0.1,", "0,1,,,0.3"]
        (folder / "metrics.csv").write_text("\n".join([*lines, "1,2,0.25,0.9,", "1,2,0.2,0.9,"]) + "\n")
    matplotlib.image.imsave(folder / "report" / "masks_decam_g.png", np.zeros((8, 16)))
    return folder
