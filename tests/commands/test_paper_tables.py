"""Test that evaluate.py makes the paper's tables: all rows, parameters, run times, figures; and that it resumes."""

import json
import re
import signal
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cosmicgate.config import ConfigError, Evaluate, build, validate
from cosmicgate.data.collection import Collection
from cosmicgate.data.download.zenodo import fetch_lco
from cosmicgate.detectors.classical import AstroScrappy
from cosmicgate.evaluation.costs import count_parameters, frame_of_shape, time_detectors
from cosmicgate.evaluation.records import DetectorRecord, with_records
from cosmicgate.report.tables.paper import PARAMETERS, SWITCHES, seconds_tables
from helpers.archive_files import FAST_RETRY
from helpers.fake_detectors import BrightnessLogits, BrightnessMasks, make_test_set, save_frame
from helpers.hydra_config import composed_config

SETS = ["decam", "lco_simulated_0m4", "lco_simulated_1m0", "lco_simulated_2m0"]
ROWS = ["Astro-SCRAPPY (as published)", "deepCR (pretrained)", "Att deepCR (pretrained)"]

# ---------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def arguments(command) -> list[str]:
    """Shrink the quick experiment to smaller frames and a few detectors, one of which is not installed."""
    detectors = "[astroscrappy_published,maximask,pretrained_paper]"
    few = [f"detector={detectors}", "~detector.pretrained_cosmic_conn", "~detector.pretrained_att_cosmic_conn"]
    small = [f"data.parts.{part}" for part in ("decam.science", "decam.darks", "lco.simulated.archive")]
    return [
        *("evaluate.py", "evaluation=paper_tables_quick", *few, "detector.maximask.weights=nowhere.pt"),
        *(f"{part}.shape=[128,128]" for part in small),
        *("data.parts.decam.science.bands=[g,r]", "timing=[150,140]", "detector.astroscrappy_published.sweep=[5]"),
        *(f"data.parts.decam.root={command.data}/decam", f"data.parts.lco.simulated.root={command.data}/lco"),
    ]


@pytest.fixture(scope="module")
def uninterrupted(command, arguments, tmp_path_factory) -> Path:
    """Run the evaluation without an interruption; return its folder."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = command(*arguments, f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stderr
    assert "left out: maximask: " in done.stderr
    assert "row 12 of 12: Att deepCR (pretrained) on lco_simulated_2m0" in done.stdout
    return run


def results_of(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def cached_files(run: Path) -> dict[Path, int]:
    """List the whole files that a resumed evaluation reuses, and the times at which they were written."""
    found = [*run.glob("frames/[!.]*.npz"), *run.glob("seconds/[!.]*.json")]
    return {path: path.stat().st_mtime_ns for path in found}


@pytest.mark.slow
def test_results_have_every_detector_on_every_test_set(uninterrupted):
    content = with_records(results_of(uninterrupted))
    assert [(row["test_set"], row["detector"].name) for row in content["rows"]] == [(s, d) for s in SETS for d in ROWS]
    assert {row["benchmark"] for row in content["rows"]} == {""}, "published scores are of real frames"
    assert [entry["detector"] for entry in content["unavailable"]] == ["maximask"]
    tables = (uninterrupted / "report" / "tables.md").read_text()
    for number in (1, 2):
        assert all(f"### Table {number}. " in tables and f"{name} (simulated)" in tables for name in SETS)
    assert "published |" not in tables


@pytest.mark.slow
def test_parameters_and_run_times_have_tables(uninterrupted):
    content, tables = with_records(results_of(uninterrupted)), (uninterrupted / "report" / "tables.md").read_text()
    assert {e["network"]: e["parameters"] for e in content["parameters"]} == {
        "deepCR": 467_233,
        "Att deepCR": 472_499,
        "Cosmic-CoNN": 467_233,
        "Att Cosmic-CoNN": 472_499,
    }
    assert [entry["detector"].name for entry in content["seconds"]] == ROWS
    assert all(entry["seconds"] > 0 and entry["shape"] == [150, 140] for entry in content["seconds"])
    assert "| Cosmic-CoNN | model.norm_affine=false | 467,233 | 465,953 |" in tables
    assert "### Table 4. Seconds of one frame of 150 x 140 pixels" in tables


@pytest.mark.slow
def test_each_telescope_class_and_band_has_figures(uninterrupted):
    made = {path.name for path in (uninterrupted / "report").glob("*.png")}
    assert {"masks_decam_g.png", "masks_decam_r.png", *(f"masks_{name}.png" for name in SETS[1:])} <= made
    assert {
        f"features_{name}_{network}.png" for name in SETS for network in ("deepCR-pretrained", "Att-deepCR-pretrained")
    } <= made
    assert {f"attention_{name}_Att-deepCR-pretrained.png" for name in SETS} <= made


@pytest.mark.slow
def test_the_log_gives_the_time_of_each_row_and_the_path_of_the_tables(uninterrupted):
    log = (uninterrupted / "evaluate.log").read_text()
    for name in SETS:
        for detector in ROWS:
            took = re.search(rf"- {re.escape(detector)} on {name}: [\d.]+ s, (\d) of \1 frames\n", log)
            assert took, f"{detector} on {name}"
    assert "report/tables.md" in log


@pytest.mark.slow
def test_a_second_run_computes_nothing_again(command, arguments, uninterrupted):
    before, content = cached_files(uninterrupted), results_of(uninterrupted)
    assert len(before) == 3 * (2 + 3 * 3) + 3
    done = command(*arguments, f"hydra.run.dir={uninterrupted}")
    assert done.returncode == 0, done.stderr
    assert cached_files(uninterrupted) == before
    assert results_of(uninterrupted) == content


@pytest.mark.slow
def test_a_run_that_was_stopped_and_then_killed_resumes_to_the_same_rows(command, arguments, uninterrupted, tmp_path):
    run = tmp_path / "run"
    before: dict[Path, int] = {}
    for number, status in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        process = command.start(*arguments, f"hydra.run.dir={run}")
        while len(cached_files(run)) <= len(before) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=600)
        assert process.returncode == status
        assert number == signal.SIGKILL or "stopped; resume with: python evaluate.py" in err
        assert before.items() <= cached_files(run).items(), "finished frames are not computed again"
        before = cached_files(run)
        assert 0 < len(before) < len(cached_files(uninterrupted))
    done = command(*arguments, f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stderr
    assert before.items() <= cached_files(run).items(), "finished frames are not computed again"
    assert results_of(run)["rows"] == results_of(uninterrupted)["rows"]


# ---------------------------------------------------------------------------------------------------------- data


def evaluation_config(*overrides: str) -> dict:
    cfg = validate(composed_config(*overrides, name="evaluate"), Evaluate)
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


@pytest.mark.slow
def test_the_lco_data_set_is_simulated_under_another_name_unless_it_was_downloaded(
    replay,
    tmp_path,
    lco,
    caplog,
):
    where = f"data.parts.lco.fetched.root={tmp_path}/lco"
    lco_data = lambda *more: build(evaluation_config("evaluation=paper_tables", where, *more)["data"]).parts["lco"]  # noqa: E731
    assert lco_data().name == "lco_simulated"
    assert "simulated sequences are scored instead, as lco_simulated" in caplog.text
    assert lco_data("data.parts.lco.fetched.folder=elsewhere").folder == "elsewhere"
    replay.add_record(5034763, lco)
    folder = fetch_lco(tmp_path / "lco", replay.base, FAST_RETRY)
    assert (lco_data().name, lco_data().archive()) == ("lco", folder)
    assert lco_data("data.parts.lco.fetched=null").name == "lco_simulated"
    next(folder.rglob("*.fits")).unlink()
    assert lco_data().name == "lco_simulated", "a file of the data set is missing"


def test_two_test_sets_of_one_name_are_refused(tmp_path):
    part = type("Part", (), {"test_sets": lambda _: [make_test_set(tmp_path, 1)]})()
    with pytest.raises(ValueError, match="two test sets are called 'decam'"):
        Collection({"one": part, "two": part}, "both").test_sets()


def test_the_quick_experiment_differs_in_size_only():
    quick, paper = evaluation_config("evaluation=paper_tables_quick"), evaluation_config("evaluation=paper_tables")
    for config in (quick, paper):
        del config["data"], config["timing"]
    assert quick == paper


@pytest.mark.parametrize("value", ["[4096]", "true", "[4096,many]"])
def test_the_shape_of_the_timed_frame_has_rows_and_columns(value):
    with pytest.raises(ConfigError, match=r"timing: got .*, expected a list of 2: a whole number, a whole number"):
        evaluation_config(f"timing={value}")


# ------------------------------------------------------------------------------------------------- tables 3 and 4


@pytest.mark.slow
@pytest.mark.parametrize("network", ["deepcr", "att_deepcr", "cosmic_conn", "att_cosmic_conn"])
def test_the_switches_listed_in_table_3_give_the_papers_parameter_count(network):
    (ours,) = count_parameters({network: composed_config(f"model={network}").model})
    name = ours["network"]
    switches = [word for word in SWITCHES[name].replace(":", " ").replace(";", " ").split() if "=" in word]
    (theirs,) = count_parameters({network: composed_config(f"model={network}", *switches).model})
    expected = 472_695 if name == "Att deepCR" else PARAMETERS[name]
    assert theirs["parameters"] == expected
    assert (expected == PARAMETERS[name]) != (name == "Att deepCR"), "no switches give the count of Att deepCR"


def timing_entry(detector: str, shape: tuple[int, int]) -> dict:
    about = {"seconds": 12.345, "cpu_seconds": 9.87, "runs": 1, "machine": "an abacus"}
    return {"detector": DetectorRecord.from_title(detector), "shape": list(shape)} | about


def test_the_papers_run_times_are_shown_for_frames_of_its_size_only():
    names = ("MaxiMask", "deepCR (released)", "Astro-SCRAPPY (fair)")
    same, other = seconds_tables([timing_entry(name, shape) for shape in [(4096, 2048), (512, 512)] for name in names])
    assert [line[-1] for line in same.lines] == ["250.9", "25.0", "—"]
    assert [line[2:4] for line in same.lines] == [["12.3", "9.87"]] * 3
    assert {line[-1] for line in other.lines} == {"—"}
    assert "an abacus" in same.caption


def test_each_detector_is_timed_once_on_the_same_frame_and_failures_are_recorded(tmp_path):
    frame, broken = save_frame(tmp_path, 0), BrightnessLogits("Broken", fail={1: RuntimeError("no ink")})
    detectors = [BrightnessMasks(), broken, BrightnessLogits()]
    measured, failed = time_detectors(detectors, frame, (200, 100), tmp_path / "seconds")
    assert [entry["detector"].model for entry in measured] == ["LACosmic", "deepCR"]
    assert failed == [{"test_set": "timing", "detector": DetectorRecord.of(broken), "reason": "no ink"}]
    seen = len(detectors[-1].seen)
    assert time_detectors(detectors[:1] + detectors[2:], frame, (200, 100), tmp_path / "seconds") == (measured, [])
    assert len(detectors[-1].seen) == seen, "the saved time is used"
    assert frame_of_shape(frame, (200, 100)).image.shape == (200, 100)


def test_a_detector_with_a_threshold_sweep_is_timed_at_one_setting(tmp_path, monkeypatch):
    settings = []
    find = AstroScrappy._finder
    monkeypatch.setattr(
        AstroScrappy, "_finder", lambda self, frame: settings.append((self.sweep, self.threshold)) or find(self, frame)
    )
    time_detectors([AstroScrappy()], save_frame(tmp_path, 0), (64, 64), tmp_path / "seconds")
    assert set(settings) == {((), 3.0)}
