"""A checkpoint may come from anywhere: no code in it runs, and weights that nothing can compute with do not load."""

import json
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from astropy.io import fits
from typer.testing import CliRunner

import cosmicgate
from cosmicgate.cli import app
from cosmicgate.detectors import network as networks
from cosmicgate.evaluation import build_detectors
from cosmicgate.masking.export import export
from cosmicgate.models import UNet
from cosmicgate.pretrained.card import read_card, serialize
from cosmicgate.pretrained.checkpoint import HASHES, read_checkpoint, seal
from cosmicgate.training.warm_start import load_initial_weights
from helpers.tiny_model import NETWORK, sky, tiny_model, tiny_network

NODE = {"_target_": "cosmicgate.models.UNet"} | NETWORK
TRAINING = {"title": "T", "trained_on": "x", "seed": 0, "threshold": 0.4}


def a_checkpoint(path: Path, model=NODE, data=None, change=None, **more) -> Path:
    """Write a checkpoint as a training does, its weights changed before or after they are sealed."""
    state = {f"network.{name}": value.clone() for name, value in tiny_network().state_dict().items()}
    checkpoint = {"state_dict": state, "config": TRAINING | {"model": model, "data": data or {}} | more}
    seal(checkpoint, 0)
    if change:
        change(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return path


# ------------------------------------------------------------------------------------------------------------- weights


def spoilt(name: str, value: float):
    def change(weights):
        weights[name].view(-1)[0] = value

    return change


SPOILT = {
    "NaN": spoilt("head.weight", float("nan")),
    "infinite": spoilt("encoder.0.conv1.weight", float("-inf")),
    "NaN in the statistics": spoilt("encoder.1.norm1.running_mean", float("nan")),
    "negative variance": spoilt("encoder.0.norm2.running_var", -0.5),
}


@pytest.mark.parametrize("what", SPOILT)
def test_weights_that_make_every_mask_clean_are_refused_whatever_loads_them(what, tmp_path):
    weights = dict(tiny_network().state_dict())
    SPOILT[what](weights)

    def unhashed(checkpoint):
        checkpoint["state_dict"] = {f"network.{name}": value for name, value in weights.items()}
        del checkpoint[HASHES]

    run = tmp_path / "run"
    a_checkpoint(run / "checkpoints" / "best.ckpt", change=unhashed)
    a_checkpoint(run / "checkpoints" / "last.ckpt", change=unhashed)
    packed = tiny_model(tmp_path / "packed")
    content, sha256 = serialize(weights)
    packed.write_bytes(content)
    card = packed.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": sha256}))
    loads = {
        "run folder": lambda: cosmicgate.load(run),
        "safetensors": lambda: cosmicgate.load(packed),
        "export": lambda: export(cosmicgate.load(packed), tmp_path / "a.onnx"),
        "detector": lambda: networks.load(run),
        "pretrained row": lambda: networks.pretrained(str(packed)),
        "start": lambda: load_initial_weights(UNet(**NETWORK), run),
        "resume": lambda: load_initial_weights(UNet(**NETWORK), None, run / "checkpoints" / "last.ckpt"),
    }
    for name, load in loads.items():
        with pytest.raises(ValueError, match=r"NaN or infinite|variances, and -0\.5 is negative") as caught:
            load()
        assert next(iter(SPOILT[what].__closure__)).cell_contents in str(caught.value), name


def test_the_command_fails_where_it_said_that_no_pixel_is_hit(tmp_path):
    weights = dict(tiny_network().state_dict())
    SPOILT["NaN"](weights)
    content, sha256 = serialize(weights)
    packed = tiny_model(tmp_path, sha256=sha256)
    packed.write_bytes(content)
    fits.writeto(tmp_path / "a.fits", sky())
    done = CliRunner().invoke(app, ["mask", "-m", str(packed), str(tmp_path / "a.fits")])
    assert done.exit_code == 2
    assert "1 of the 4 weights in 'head.weight' are NaN or infinite" in " ".join(done.output.replace("│", "").split())
    assert not (tmp_path / "a_crmask.fits").exists()


def test_the_coarse_stage_of_a_pretrained_network_is_checked_as_well(tmp_path):
    weights = dict(tiny_network().state_dict())
    coarse = {f"coarse.{name}": value.clone() for name, value in weights.items()}
    coarse["coarse.head.bias"][0] = float("nan")
    content, sha256 = serialize(weights | coarse)
    packed = tiny_model(tmp_path, sha256=sha256, cascade={"network": NETWORK, "settings": {"threshold": 0.0}})
    packed.write_bytes(content)
    with pytest.raises(ValueError, match=r"the coarse stage of tiny: 1 of the 1 weights in 'head\.bias' are NaN"):
        cosmicgate.load(packed, fast=True)


def test_a_card_and_weights_of_version_0_1_are_a_cascade_still(tmp_path):
    weights = dict(tiny_network().state_dict())
    about = {"network": NETWORK, "settings": {"threshold": 0.0}, "looked": 0.25}
    found = {}
    for prefix, key in (("coarse.", "cascade"), ("screen.", "screen")):
        content, sha256 = serialize(weights | {prefix + name: value.clone() for name, value in weights.items()})
        packed = tiny_model(tmp_path / key, sha256=sha256)
        packed.write_bytes(content)
        card = json.loads(packed.with_suffix(".json").read_text())
        del card["cascade"]
        packed.with_suffix(".json").write_text(json.dumps(card | {key: about}))
        detector = cosmicgate.load(packed, fast=True)
        assert detector.card.cascade["searched"] == 0.25
        found[key] = detector.probability(sky())
    np.testing.assert_array_equal(found["screen"], found["cascade"])


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": float("nan")}, {"threshold": 43.0}, {"threshold": "0.5"}, {"calibration": [[1e-4, float("nan")]]}],
)
def test_a_threshold_that_no_pixel_reaches_is_refused_at_load(tmp_path, wrong):
    path = tiny_model(tmp_path / "right")
    card = json.loads(path.with_suffix(".json").read_text()) | wrong
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="expected a probability between 0 and 1"):
        cosmicgate.load(path)
    if "calibration" not in wrong:
        with pytest.raises(ValueError, match="expected a probability between 0 and 1"):
            cosmicgate.load(a_checkpoint(tmp_path / "a.ckpt", **wrong))


def test_finite_weights_whose_logits_are_nan_do_not_call_an_image_clean(tmp_path):
    def change(checkpoint):
        for value in checkpoint["state_dict"].values():
            if value.is_floating_point():
                value.fill_(1e30)
        seal(checkpoint, 0)

    with pytest.raises(ValueError, match="the network returned NaN for this image"):
        cosmicgate.load(a_checkpoint(tmp_path / "a.ckpt", change=change), check=False).mask(sky())


def test_weights_are_those_that_the_training_saved(tmp_path):
    cosmicgate.load(a_checkpoint(tmp_path / "whole.ckpt"))

    def other(checkpoint):
        checkpoint["state_dict"]["network.head.bias"] += 1e-3

    with pytest.raises(ValueError, match=r"a\.ckpt: its weights are not those that train\.py saved"):
        cosmicgate.load(a_checkpoint(tmp_path / "a.ckpt", change=other))
    cosmicgate.load(a_checkpoint(tmp_path / "old.ckpt", change=lambda checkpoint: checkpoint.pop(HASHES)))


def test_one_norm_for_two_convolutions_has_a_hash_too():
    shared = UNet(channels=4, shared_norm=True)
    assert len(networks.weights_sha256_of(shared)) == 64


# ------------------------------------------------------------------------------------------------------------ no code


def hostile(folder: Path) -> dict[str, dict]:
    """Return nodes that each would do something: what they touch lies in a folder."""
    touched = str(folder / "touched")
    return {
        "torch.hub.load": {"repo_or_dir": str(folder), "model": "evil", "source": "local"},
        "torch.load": {"f": str(folder / "evil.pt"), "weights_only": False},
        "numpy.load": {"file": str(folder / "evil.npy"), "allow_pickle": True},
        "numpy.save": {"file": touched, "arr": [1]},
        "os.system": {"_args_": [f"touch {touched}"]},
        "subprocess.run": {"args": ["touch", touched]},
        "builtins.exec": {"_args_": [f"open({touched!r}, 'w')"]},
        "builtins.open": {"file": touched, "mode": "w"},
        "shutil.rmtree": {"path": str(folder)},
        "pathlib.Path.touch": {"_args_": [touched]},
        "hydra.utils.instantiate": {"_args_": [{"_target_": "numpy.save", "file": touched, "arr": [1]}]},
        "hydra.utils.get_method": {"path": "os.system"},
        "hydra.utils.get_object": {"path": "evil_module.x"},
        "cosmicgate.data.cache.np.save": {"file": touched, "arr": [1]},
        "cosmicgate.data.cache.shutil.rmtree": {"path": str(folder)},
        "cosmicgate.provenance.subprocess.run": {"args": ["touch", touched]},
        "cosmicgate.config.instantiate": {"_args_": [{"_target_": "numpy.save", "file": touched, "arr": [1]}]},
        "cosmicgate.config.build": {"node": {"_target_": "numpy.save", "file": touched, "arr": [1]}},
        "cosmicgate.io.atomic.atomic_write": {
            "path": {"_target_": "pathlib.Path", "_args_": [touched]},
            "content": "x",
        },
        "cosmicgate.io.atomic.write_json": {"path": {"_target_": "pathlib.Path", "_args_": [touched]}, "content": {}},
        "cosmicgate.training.module.Segmentation.load_from_checkpoint": {"checkpoint_path": touched},
        "cosmicgate.inference.onnx_runtime.OnnxModel": {"content": "x"},
        "pytorch_lightning.Trainer": {"default_root_dir": touched},
        "evil_module.Net": {},
    }


NAMES = list(hostile(Path()))
PLACES = {  # of a configuration: how a hostile node gets there
    "model": lambda evil: {"model": evil},
    "an argument of the model": lambda evil: {"model": NODE | {"depth": evil}},
    "a list in the model": lambda evil: {"model": NODE | {"depth": [{"deeper": evil}]}},
    "positional": lambda evil: {"model": NODE | {"_args_": [evil]}},
    "data": lambda evil: {"data": evil},
    "an argument of data": lambda evil: {"data": DATA | {"science": evil}},
    "a transform": lambda evil: {"data": DATA | {"transforms": [evil]}},
    "a partial": lambda evil: {"data": DATA | {"contamination": evil | {"_partial_": True}}},
    "text": lambda evil: {"data": DATA | {"root": f"${{oc.create:{{_target_: {evil['_target_']}}}}}"}},
}
DATA = {"_target_": "cosmicgate.data.datamodule.DecamData", "name": "decam", "root": "nowhere"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_checkpoint_runs_no_code(tmp_path, monkeypatch, name, place):
    folder = tmp_path / "folder"
    folder.mkdir()
    code = f"open({str(folder / 'touched')!r}, 'w')\nclass Net: pass\n"
    for file in ("hubconf.py", "evil_module.py"):
        (folder / file).write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    evil = {"_target_": name} | hostile(folder)[name]
    path = a_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt", **PLACES[place](evil))
    with pytest.raises(ValueError, match=r"best\.ckpt: its (network|data) cannot be made: .*expected"):
        cosmicgate.load(path) if "model" in PLACES[place](evil) else build_detectors.data_of(str(path))
    assert sorted(file.name for file in folder.iterdir()) == ["evil_module.py", "hubconf.py"]


def test_the_data_of_a_training_are_all_that_data_may_be(tmp_path):
    """A test set, say, would be written where a foreign checkpoint wants it."""
    for wrong in ("cosmicgate.data.real_tests.RealTest", "cosmicgate.data.download.fetch_lco", 3):
        path = a_checkpoint(tmp_path / "a.ckpt", data={"_target_": wrong, "root": str(tmp_path)})
        with pytest.raises(ValueError, match=r"its data cannot be made: expected .*or give data=NAME"):
            build_detectors.data_of(str(path))


def test_a_title_of_a_foreign_checkpoint_is_no_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    title = "${oc.env:SECRET}"
    paths = [str(a_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt", title=title)) for run in "ab"]
    node = {"checkpoint": {"_target_": "cosmicgate.detectors.network.load", "path": None}}
    detectors, _ = build_detectors.build_detectors(node, paths)
    assert [(detector.model, detector.variant) for detector in detectors] == [(title, "a"), (title, "b")]


def test_own_classes_are_made_when_their_module_is_trusted_and_its_functions_never(tmp_path, monkeypatch):
    (tmp_path / "hilltop.py").write_text(
        "import os\nfrom torch import nn\nfrom cosmicgate.models import UNet\nclass Plain(UNet): pass\n"
        "def plain(**_): return UNet(depth=2, channels=4)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = a_checkpoint(tmp_path / "a.ckpt", model=NODE | {"_target_": "hilltop.Plain"})
    with pytest.raises(ValueError, match=r"found hilltop\.Plain; .*trust=\[hilltop\].*--trust hilltop"):
        cosmicgate.load(path)
    assert type(cosmicgate.load(path, trust=["hilltop"]).network).__name__ == "Plain"
    assert networks.load(path, trust=["hilltop"]).model == "T"
    fits.writeto(tmp_path / "a.fits", sky())
    asked = ["mask", "-m", str(path), str(tmp_path / "a.fits")]
    assert CliRunner().invoke(app, asked).exit_code == 2
    done = CliRunner().invoke(app, [*asked, "--trust", "hilltop"])
    assert done.exit_code == 0, done.output
    for target in ("hilltop.plain", "hilltop.os.system", "hilltop.nn.Linear"):
        other = a_checkpoint(tmp_path / "b.ckpt", model=NODE | {"_target_": target})
        with pytest.raises(ValueError, match="cannot be made: "):
            cosmicgate.load(other, trust=["hilltop"])


def test_every_configuration_of_data_that_trains_can_be_made_of_its_checkpoint(tmp_path):
    from omegaconf import OmegaConf

    from cosmicgate.config import build
    from helpers.hydra_config import composed_config

    choices = [(), ("data/contamination=both",), ("data/darks=decam_raw", "data.darks.files=x"), ("data=mixture",)]
    choices += [
        ("data=decam_semireal",),
        ("pretrained=general",),
        ("data=lco", "data.folder=x"),
        ("~data/size", "data/science=files", "data.science.files=x", "data/darks=files", "data.darks.files=x"),
    ]
    for number, choice in enumerate(choices):
        node = OmegaConf.to_container(composed_config(*choice), resolve=True)["data"]
        path = a_checkpoint(tmp_path / f"{number}.ckpt", data=node)
        assert isinstance(build(build_detectors.data_of(str(path))), pl.LightningDataModule), choice


def test_what_is_no_checkpoint_of_ours_is_one_sentence(tmp_path):
    for wrong in ([1], {"state_dict": 3, "config": {}}, {"state_dict": {}, "config": [1]}):
        torch.save(wrong, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match=r"a\.ckpt.* is not a checkpoint of train\.py"):
            read_checkpoint(tmp_path / "a.ckpt")
    for wrong in (torch.ones(4).to_sparse(), torch.empty(4, device="meta")):
        torch.save({"state_dict": {"network.a": wrong}, "config": {}}, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match="its weights are not plain tensors"):
            read_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="its configuration has no data: give data=NAME"):
        build_detectors.data_of(str(a_checkpoint(tmp_path / "b.ckpt", data=[1])))


# ------------------------------------------------------------------------------------------------------------- folders


def test_a_run_folder_stands_for_its_best_weights(tmp_path):
    best = [a_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt") for run in ("a", "b")]
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "results.json").write_text("{}")
    assert build_detectors.checkpoints(str(tmp_path / "a")) == best[:1]
    assert build_detectors.checkpoints([str(tmp_path / "b"), str(best[0])]) == best[::-1]
    assert build_detectors.checkpoints(f"{tmp_path}/*") == best
    assert build_detectors.checkpoints(f"{tmp_path}/*/checkpoints/best.ckpt") == best
    assert networks.load(tmp_path / "a").model == "T"
    with pytest.raises(FileNotFoundError, match=r"no run folder of train\.py, it has no checkpoints/best"):
        build_detectors.checkpoints(str(tmp_path / "evaluation"))
    np.testing.assert_array_equal(cosmicgate.load(tmp_path / "a").mask(sky()), cosmicgate.load(best[0]).mask(sky()))


def test_the_cards_of_pretrained_networks_pass_their_own_check():
    from cosmicgate.pretrained.card import find, names

    assert all(0 < read_card(find(name)).threshold < 1 for name in names())
