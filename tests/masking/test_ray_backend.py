"""Test masking on Ray and in several processes: all masks are written although workers are killed."""

import sys
from pathlib import Path

import pytest
from astropy.io import fits

from cosmicgate.masking.batch import mask_in_processes, mask_in_this_process
from cosmicgate.masking.load import load
from cosmicgate.masking.options import BatchOptions, MaskOptions
from cosmicgate.masking.ray_backend import mask_on_ray
from helpers.killed_worker import FATAL_PIXEL, MARKER_VARIABLE, KilledMasker
from helpers.mask_command import SHAPE, output_text, run
from helpers.repository import ROOT
from helpers.tiny_model import sky, tiny_model


@pytest.fixture
def night(tmp_path):
    """Write eight frames, one of which kills a worker once and another each time it is masked; return the folder."""
    (tmp_path / "night").mkdir()
    for number in range(8):
        image = sky(SHAPE, number)
        image[0, 0] = {3: FATAL_PIXEL["once"], 5: FATAL_PIXEL["always"]}.get(number, image[0, 0])
        fits.writeto(tmp_path / "night" / f"{number}.fits", image)
    return tmp_path / "night"


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder that are not hidden, by name."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")  # Ray's
def test_a_killed_ray_worker_loses_no_other_file(night, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv(MARKER_VARIABLE, str(tmp_path / "note"))
    masker, batch = (
        load(tiny_model(tmp_path / "model")),
        BatchOptions(MaskOptions(threshold=0.5, fpr=None, kind="mask")),
    )
    pairs = [(night / f"{number}.fits", tmp_path / "one" / f"{number}_crmask.fits") for number in range(8)]
    assert {o.status for o in mask_in_this_process(pairs, masker, batch, lambda _: None)} == {"done"}
    killed_masker = KilledMasker(masker.predictor, masker.card)
    several = [(path, tmp_path / "two" / output.name) for path, output in pairs]
    outcomes = sorted(mask_on_ray(several, killed_masker, batch, "local", 2), key=lambda outcome: outcome.file)
    assert [outcome.status for outcome in outcomes] == ["done"] * 5 + ["failed"] + ["done"] * 2
    assert (
        outcomes[5].error
        == f"{night / '5.fits'}: 3 workers died while they masked it, perhaps because memory ran out; use fewer --jobs"
    )
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    one.pop("5_crmask.fits")
    assert two == one


@pytest.mark.slow
def test_a_killed_process_loses_no_other_file(night, tmp_path, monkeypatch):
    monkeypatch.setenv(MARKER_VARIABLE, str(tmp_path / "note"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT / 'tests'}")
    network, batch = (
        load(tiny_model(tmp_path / "model")),
        BatchOptions(MaskOptions(threshold=0.5, fpr=None, kind="mask")),
    )
    pairs = [(night / f"{number}.fits", tmp_path / "out" / f"{number}_crmask.fits") for number in range(8)]
    found = mask_in_processes(pairs, KilledMasker(network.predictor, network.card), batch, 2)
    outcomes = sorted(found, key=lambda outcome: outcome.file)
    assert [outcome.status for outcome in outcomes] == ["done"] * 5 + ["failed"] + ["done"] * 2
    message = f"{night / '5.fits'}: its process was killed before it was done, perhaps because memory ran out"
    assert outcomes[5].error == message
    assert len(contents(tmp_path / "out")) == 7


def test_without_ray_the_command_says_what_to_install(night, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run("mask", night, "-m", tiny_model(tmp_path / "model"), "--ray", "local")
    assert done.exit_code == 1
    assert "error: --ray needs a package that is missing: pip install '.[ray]' in a clone of cosmicgate" in done.stderr


@pytest.mark.parametrize(("text", "sentence"), [(None, "No such file"), ("# nothing\n", "nothing to mask")])
def test_a_missing_or_empty_list_is_an_invalid_argument(text, sentence, tmp_path):
    if text is not None:
        (tmp_path / "list").write_text(text)
    done = run("mask", "--list", tmp_path / "list")
    assert done.exit_code == 2
    assert sentence in output_text(done)
