"""A user's own exposures: labels by comparison, then the command of the real frames, which scores every detector."""

import csv
import json

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.labelling.multi_exposure import main as label
from cosmicgate.data.lco.io import SIMULATED, science_header
from cosmicgate.data.lco.simulation import simulate_triple


@pytest.mark.slow
def test_labelled_triples_are_scored_by_the_command_of_the_real_frames(command, tmp_path):
    night = tmp_path / "night"
    night.mkdir()
    paths = []
    for number, exposure in enumerate(simulate_triple("1m0", [3, 11], (300, 300), rate=40).exposures):
        header = science_header(exposure.exposure)
        del header[SIMULATED]  # stands for a telescope's own
        paths.append(night / f"n{number}.fits")
        fits.PrimaryHDU(exposure.exposure.frame.image, header).writeto(paths[-1])
    label([*map(str, paths), "--truth", str(night / "truth")])
    with fits.open(night / "truth" / "n1_truth.fits.fz") as hdus:
        assert set(np.unique(hdus["TRUTH"].data)) == {0, 1, 2, 3}

    run = tmp_path / "run"
    done = command(
        "evaluate.py",
        "evaluation=real_frames",
        "data=real_frames",
        f"data.root={tmp_path}/cache",
        f"data.frames.files={night}/*.fits",
        f"data.frames.truth={night}/truth",
        "detector=[astroscrappy,pretrained]",
        "detector.astroscrappy.sweep=[5,6]",
        f"hydra.run.dir={run}",
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((run / "results.json").read_text())["rows"]
    assert [row["detector"]["model"] for row in rows] == ["Astro-SCRAPPY", "CosmicGate general"]
    for row in rows:
        assert (row["data_origin"], row["frames"]) == ("real", 3)
        assert row["hits"] > 20
        assert row["per_hit"]["recall"] > 0.5
        assert row["per_hit"]["stars_masked_per_1000"] is not None
        assert sum(entry["stars"] for entry in row["per_hit"]["stars_by_snr"]) > 3
        assert row["per_hit"]["hot_pixels_masked_per_megapixel"] is not None
    assert rows[1]["dilated"]["tpr_at_fpr_0.001pct"] <= rows[1]["dilated"]["tpr_at_fpr_0.01pct"]
    assert rows[1]["per_hit"]["recall_at_1_false"] <= rows[1]["per_hit"]["recall_at_10_false"]
    with (run / "report" / "tables.csv").open(newline="") as file:
        scores = {line["score"] for line in csv.DictReader(file)}
    assert {"recall_at_10_false", "threshold_at_1_false", "stars_masked_per_1000"} <= scores
    drawn = {path.name for path in (run / "report").glob("errors_*.png")}
    assert drawn == {
        "errors_real_frames_Astro-SCRAPPY-fair.png",
        "errors_real_frames_CosmicGate-general-pretrained.png",
    }
