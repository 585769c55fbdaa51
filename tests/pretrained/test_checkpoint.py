"""Test that checkpoints of unknown origin run no code, and that damaged weights are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from astropy.io import fits
from omegaconf import OmegaConf

import cosmicgate
from cosmicgate.config import build
from cosmicgate.detectors import network as networks
from cosmicgate.evaluation import build_detectors
from cosmicgate.masking.export import export
from cosmicgate.models import UNet
from cosmicgate.pretrained.card import read_card, serialize
from cosmicgate.pretrained.checkpoint import HASHES, add_weights_hash, read_checkpoint
from cosmicgate.training.warm_start import load_initial_weights
from helpers.hydra_config import composed_config
from helpers.mask_command import output_text, run
from helpers.tiny_model import NETWORK, sky, tiny_model, tiny_network

NODE = {"_target_": "cosmicgate.models.UNet"} | NETWORK
TRAINING = {"title": "T", "trained_on": "x", "seed": 0, "threshold": 0.4}


def write_hashed_checkpoint(path: Path, model=NODE, data=None, change=None, **more) -> Path:
    """Write a checkpoint as a training does; ``change`` alters it after its hashes are computed."""
    state = {f"network.{name}": value.clone() for name, value in tiny_network().state_dict().items()}
    checkpoint = {"state_dict": state, "config": TRAINING | {"model": model, "data": data or {}} | more}
    add_weights_hash(checkpoint, 0)
    if change:
        change(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return path


# ------------------------------------------------------------------------------------------------------------- weights


def set_first_weight(name: str, value: float):
    """Return a function that sets the first value of a weight."""

    def change(weights):
        weights[name].view(-1)[0] = value

    return change


DAMAGED_WEIGHTS = {
    "NaN": set_first_weight("head.weight", float("nan")),
    "infinite": set_first_weight("encoder.0.conv1.weight", float("-inf")),
    "NaN in the statistics": set_first_weight("encoder.1.norm1.running_mean", float("nan")),
    "negative variance": set_first_weight("encoder.0.norm2.running_var", -0.5),
}


@pytest.mark.parametrize("what", DAMAGED_WEIGHTS)
def test_damaged_weights_are_refused_by_everything_that_loads_them(what, tmp_path):
    weights = dict(tiny_network().state_dict())
    DAMAGED_WEIGHTS[what](weights)

    def replace_without_hash(checkpoint):
        checkpoint["state_dict"] = {f"network.{name}": value for name, value in weights.items()}
        del checkpoint[HASHES]

    run = tmp_path / "run"
    write_hashed_checkpoint(run / "checkpoints" / "best.ckpt", change=replace_without_hash)
    write_hashed_checkpoint(run / "checkpoints" / "last.ckpt", change=replace_without_hash)
    weights_file = tiny_model(tmp_path / "packed")
    content, sha256 = serialize(weights)
    weights_file.write_bytes(content)
    card = weights_file.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": sha256}))
    loads = {
        "run folder": lambda: cosmicgate.load(run),
        "safetensors": lambda: cosmicgate.load(weights_file),
        "export": lambda: export(cosmicgate.load(weights_file), tmp_path / "a.onnx"),
        "detector": lambda: networks.load_checkpoint_detector(run),
        "pretrained row": lambda: networks.load_pretrained_detector(str(weights_file)),
        "start": lambda: load_initial_weights(UNet(**NETWORK), run),
        "resume": lambda: load_initial_weights(UNet(**NETWORK), None, run / "checkpoints" / "last.ckpt"),
    }
    for name, load in loads.items():
        with pytest.raises(ValueError, match=r"NaN or infinite|variances, and -0\.5 is negative") as caught:
            load()
        assert next(iter(DAMAGED_WEIGHTS[what].__closure__)).cell_contents in str(caught.value), name


def test_the_command_fails_for_damaged_weights(tmp_path):
    weights = dict(tiny_network().state_dict())
    DAMAGED_WEIGHTS["NaN"](weights)
    content, sha256 = serialize(weights)
    weights_file = tiny_model(tmp_path, sha256=sha256)
    weights_file.write_bytes(content)
    fits.writeto(tmp_path / "a.fits", sky())
    done = run("mask", "-m", weights_file, tmp_path / "a.fits")
    assert done.exit_code == 2
    assert "1 of the 4 weights in 'head.weight' are NaN or infinite" in output_text(done)
    assert not (tmp_path / "a_crmask.fits").exists()


def test_the_weights_of_the_coarse_stage_are_checked_too(tmp_path):
    weights = dict(tiny_network().state_dict())
    coarse = {f"coarse.{name}": value.clone() for name, value in weights.items()}
    coarse["coarse.head.bias"][0] = float("nan")
    content, sha256 = serialize(weights | coarse)
    weights_file = tiny_model(tmp_path, sha256=sha256, cascade={"network": NETWORK, "settings": {"threshold": 0.0}})
    weights_file.write_bytes(content)
    with pytest.raises(ValueError, match=r"the coarse stage of tiny: 1 of the 1 weights in 'head\.bias' are NaN"):
        cosmicgate.load(weights_file, fast=True)


def test_a_card_of_a_later_version_gets_an_error_of_one_line(tmp_path):
    fits.writeto(tmp_path / "a.fits", sky())
    later, stage = NETWORK | {"dropout": 0.1}, {"network": NETWORK, "settings": {"threshold": 0.0, "overlap": 2}}
    for number, (more, words) in enumerate([({"network": later}, []), ({"cascade": stage}, ["--fast"])]):
        model = tiny_model(tmp_path / str(number), version="9.1", **more)
        done = run("mask", tmp_path / "a.fits", "-m", model, *words)
        assert done.exit_code == 2
        assert "tiny: its card, of version 9.1, describes a network that cosmicgate" in output_text(done)
        assert ("dropout" if more == {"network": later} else "overlap") in output_text(done)


def test_a_cascade_of_version_0_1_can_be_loaded(tmp_path):
    weights = dict(tiny_network().state_dict())
    about = {"network": NETWORK, "settings": {"threshold": 0.0}, "looked": 0.25}
    found = {}
    for prefix, key in (("coarse.", "cascade"), ("screen.", "screen")):
        content, sha256 = serialize(weights | {prefix + name: value.clone() for name, value in weights.items()})
        weights_file = tiny_model(tmp_path / key, sha256=sha256)
        weights_file.write_bytes(content)
        card = json.loads(weights_file.with_suffix(".json").read_text())
        del card["cascade"]
        weights_file.with_suffix(".json").write_text(json.dumps(card | {key: about}))
        detector = cosmicgate.load(weights_file, fast=True)
        assert detector.card.cascade["searched"] == 0.25
        found[key] = detector.probability(sky())
    np.testing.assert_array_equal(found["screen"], found["cascade"])


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": float("nan")}, {"threshold": 43.0}, {"threshold": "0.5"}, {"calibration": [[1e-4, float("nan")]]}],
)
def test_an_invalid_threshold_is_refused_at_load(tmp_path, wrong):
    path = tiny_model(tmp_path / "right")
    card = json.loads(path.with_suffix(".json").read_text()) | wrong
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="expected a probability between 0 and 1"):
        cosmicgate.load(path)
    if "calibration" not in wrong:
        with pytest.raises(ValueError, match="expected a probability between 0 and 1"):
            cosmicgate.load(write_hashed_checkpoint(tmp_path / "a.ckpt", **wrong))


def test_finite_weights_with_nan_logits_are_an_error(tmp_path):
    def change(checkpoint):
        for value in checkpoint["state_dict"].values():
            if value.is_floating_point():
                value.fill_(1e30)
        add_weights_hash(checkpoint, 0)

    with pytest.raises(ValueError, match="the network returned NaN for this image"):
        cosmicgate.load(write_hashed_checkpoint(tmp_path / "a.ckpt", change=change), check=False).mask(sky())


def test_changed_weights_are_detected_by_their_hash(tmp_path):
    cosmicgate.load(write_hashed_checkpoint(tmp_path / "whole.ckpt"))

    def other(checkpoint):
        checkpoint["state_dict"]["network.head.bias"] += 1e-3

    with pytest.raises(ValueError, match=r"a\.ckpt: its weights are not those that train\.py saved"):
        cosmicgate.load(write_hashed_checkpoint(tmp_path / "a.ckpt", change=other))
    cosmicgate.load(write_hashed_checkpoint(tmp_path / "old.ckpt", change=lambda checkpoint: checkpoint.pop(HASHES)))


def test_a_network_with_shared_norms_has_a_hash():
    shared = UNet(channels=4, shared_norm=True)
    assert len(networks.weights_sha256_of(shared)) == 64


# ------------------------------------------------------------------------------------------------------ code execution


def hostile_nodes(folder: Path) -> dict[str, dict]:
    """List configuration nodes whose instantiation would change a folder, by target."""
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


NAMES = list(hostile_nodes(Path()))
PLACES = {  # part of a configuration: how a hostile node is put there
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
def test_a_checkpoint_of_unknown_origin_runs_no_code(tmp_path, monkeypatch, name, place):
    folder = tmp_path / "folder"
    folder.mkdir()
    code = f"open({str(folder / 'touched')!r}, 'w')\nclass Net: pass\n"
    for file in ("hubconf.py", "evil_module.py"):
        (folder / file).write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    evil = {"_target_": name} | hostile_nodes(folder)[name]
    path = write_hashed_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt", **PLACES[place](evil))
    with pytest.raises(ValueError, match=r"best\.ckpt: its (network|data) cannot be made: .*expected"):
        cosmicgate.load(path) if "model" in PLACES[place](evil) else build_detectors.data_node_of(str(path))
    assert sorted(file.name for file in folder.iterdir()) == ["evil_module.py", "hubconf.py"]


def test_the_data_of_a_checkpoint_must_be_training_data(tmp_path):
    """Refuse other classes, as a test set, for example, writes files to a path from the checkpoint."""
    for wrong in ("cosmicgate.data.real_tests.RealTest", "cosmicgate.data.download.zenodo.fetch_lco", 3):
        path = write_hashed_checkpoint(tmp_path / "a.ckpt", data={"_target_": wrong, "root": str(tmp_path)})
        with pytest.raises(ValueError, match=r"its data cannot be made: expected .*or give data=NAME"):
            build_detectors.data_node_of(str(path))


def test_the_title_of_a_checkpoint_is_not_interpolated(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "told")
    title = "${oc.env:SECRET}"
    paths = [str(write_hashed_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt", title=title)) for run in "ab"]
    node = {"checkpoint": {"_target_": "cosmicgate.detectors.network.load_checkpoint_detector", "path": None}}
    detectors, _ = build_detectors.build_detectors(node, paths)
    assert [(detector.model, detector.variant) for detector in detectors] == [(title, "a"), (title, "b")]


def test_classes_of_a_trusted_module_are_built_and_its_functions_are_not(tmp_path, monkeypatch):
    (tmp_path / "hilltop.py").write_text(
        "import os\nfrom torch import nn\nfrom cosmicgate.models import UNet\nclass Plain(UNet): pass\n"
        "def plain(**_): return UNet(depth=2, channels=4)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = write_hashed_checkpoint(tmp_path / "a.ckpt", model=NODE | {"_target_": "hilltop.Plain"})
    with pytest.raises(ValueError, match=r"found hilltop\.Plain; .*trust=\[hilltop\].*--trust hilltop"):
        cosmicgate.load(path)
    assert type(cosmicgate.load(path, trust=["hilltop"]).network).__name__ == "Plain"
    assert networks.load_checkpoint_detector(path, trust=["hilltop"]).model == "T"
    fits.writeto(tmp_path / "a.fits", sky())
    arguments = ("mask", "-m", path, tmp_path / "a.fits")
    assert run(*arguments).exit_code == 2
    done = run(*arguments, "--trust", "hilltop")
    assert done.exit_code == 0, done.output
    for target in ("hilltop.plain", "hilltop.os.system", "hilltop.nn.Linear"):
        other = write_hashed_checkpoint(tmp_path / "b.ckpt", model=NODE | {"_target_": target})
        with pytest.raises(ValueError, match="cannot be made: "):
            cosmicgate.load(other, trust=["hilltop"])


@pytest.mark.slow
def test_training_data_of_every_config_can_be_built_from_a_checkpoint(tmp_path):
    choices = [(), ("data/contamination=both",), ("data/darks=decam_raw", "data.darks.files=x"), ("data=mixture",)]
    choices += [
        ("data=decam_semireal",),
        ("pretrained=general",),
        ("data=lco", "data.folder=x"),
        ("~data/size", "data/science=files", "data.science.files=x", "data/darks=files", "data.darks.files=x"),
    ]
    for number, choice in enumerate(choices):
        node = OmegaConf.to_container(composed_config(*choice), resolve=True)["data"]
        path = write_hashed_checkpoint(tmp_path / f"{number}.ckpt", data=node)
        assert isinstance(build(build_detectors.data_node_of(str(path))), pl.LightningDataModule), choice


def test_invalid_checkpoints_get_an_error_of_one_line(tmp_path):
    for wrong in ([1], {"state_dict": 3, "config": {}}, {"state_dict": {}, "config": [1]}):
        torch.save(wrong, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match=r"a\.ckpt.* is not a checkpoint of train\.py"):
            read_checkpoint(tmp_path / "a.ckpt")
    for wrong in (torch.ones(4).to_sparse(), torch.empty(4, device="meta")):
        torch.save({"state_dict": {"network.a": wrong}, "config": {}}, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match="its weights are not plain tensors"):
            read_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="its configuration has no data: give data=NAME"):
        build_detectors.data_node_of(str(write_hashed_checkpoint(tmp_path / "b.ckpt", data=[1])))


# ------------------------------------------------------------------------------------------------------------- folders


def test_a_run_folder_can_be_given_for_its_best_weights(tmp_path):
    best = [write_hashed_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt") for run in ("a", "b")]
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "results.json").write_text("{}")
    assert build_detectors.checkpoints(str(tmp_path / "a")) == best[:1]
    assert build_detectors.checkpoints([str(tmp_path / "b"), str(best[0])]) == best[::-1]
    assert build_detectors.checkpoints(f"{tmp_path}/*") == best
    assert build_detectors.checkpoints(f"{tmp_path}/*/checkpoints/best.ckpt") == best
    assert networks.load_checkpoint_detector(tmp_path / "a").model == "T"
    with pytest.raises(FileNotFoundError, match=r"no run folder of train\.py, it has no checkpoints/best"):
        build_detectors.checkpoints(str(tmp_path / "evaluation"))
    np.testing.assert_array_equal(cosmicgate.load(tmp_path / "a").mask(sky()), cosmicgate.load(best[0]).mask(sky()))


def test_the_cards_of_pretrained_networks_are_valid():
    from cosmicgate.pretrained.registry import find_weights, pretrained_names

    assert all(0 < read_card(find_weights(name)).threshold < 1 for name in pretrained_names())
