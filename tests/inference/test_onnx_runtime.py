"""onnxruntime computes what torch computes, in the detector that astronomers use."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits
from typer.testing import CliRunner

import cosmicgate
from cosmicgate.cli import app
from cosmicgate.inference import onnx_runtime
from cosmicgate.inference.predictor import Predictor
from cosmicgate.models import UNet
from helpers.tiny_model import hit, sky, tiny_model

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="the extra onnx is not installed")
pytestmark = pytest.mark.slow  # torch's exporter takes seconds


@torch.inference_mode()
@pytest.mark.parametrize("scaling", ["none", "robust"])
def test_tiles_that_overlap_give_the_whole_image(scaling, monkeypatch):
    monkeypatch.setattr(onnx_runtime, "TILE", 96)
    torch.manual_seed(0)
    network = UNet(channels=8, gate=True, scaling=scaling, momentum=0.5).train()
    for _ in range(3):
        network(torch.randn(2, 1, 64, 64) * 2 + 1)
    network.eval()
    made = onnx_runtime.convert_to_onnx(network)
    for shape in ((203, 151), (8, 9), (96, 300)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        ours, theirs = (Predictor(network, onnx=onnx).logits(image.numpy()) for onnx in (None, made))
        assert torch.allclose(ours, theirs, atol=1e-4)
    again = pickle.loads(pickle.dumps(made))
    image = torch.randn(1, 1, 16, 16)
    assert torch.equal(again(image), made(image))


def test_the_general_network_finds_the_same_by_either_engine():
    image = sky((200, 210))
    ours, theirs = (cosmicgate.load(check=False, engine=one).probability(image) for one in ("torch", "onnxruntime"))
    assert np.abs(ours - theirs).max() < 1e-4


def test_the_command_takes_the_engine_and_says_so(tmp_path):
    fits.writeto(tmp_path / "a.fits", sky())
    model = tiny_model(tmp_path / "model")
    done = CliRunner().invoke(app, ["mask", str(tmp_path / "a.fits"), "-m", str(model), "--engine", "onnxruntime"])
    assert done.exit_code == 0, done.output
    mask, header = fits.getdata(tmp_path / "a_crmask.fits", 1, header=True)
    assert np.array_equal(mask != 0, hit())
    assert header["CRENGINE"]


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (dict(norm="group"), "takes networks with batch norm"),
        (dict(depth=4), "up to 3 levels, got 4"),
    ],
)
def test_what_onnxruntime_cannot_do_here_is_refused(network, sentence):
    with pytest.raises(ValueError, match=sentence):
        onnx_runtime.convert_to_onnx(UNet(channels=8, **network).eval())


def test_a_network_of_somebodys_own_is_refused_in_a_sentence(tmp_path, monkeypatch):
    own = torch.nn.Conv2d(1, 1, 3, padding=1)
    with pytest.raises(ValueError, match="networks of this package, a UNet; got Conv2d"):
        onnx_runtime.convert_to_onnx(own)
    masker = cosmicgate.load(tiny_model(tmp_path))
    monkeypatch.setattr("cosmicgate.masking.load.load", lambda *_, **__: replace(masker, predictor=Predictor(own)))
    done = CliRunner().invoke(app, ["export", "--onnx", str(tmp_path / "own.onnx")])
    assert done.exit_code == 2
    assert "error: ONNX is for the networks of this package, a UNet; got Conv2d" in done.output


def test_an_unknown_engine_and_half_precision_are_refused(tmp_path):
    model = tiny_model(tmp_path)
    with pytest.raises(ValueError, match="unknown engine 'tensorflow': expected one of torch, onnxruntime"):
        cosmicgate.load(model, engine="tensorflow")
    with pytest.raises(ValueError, match="onnxruntime computes in float32"):
        cosmicgate.load(model, engine="onnxruntime", precision="bfloat16")
    with pytest.raises(ValueError, match=r"the cascade .fast=True. runs in torch only"):
        cosmicgate.load("general", engine="onnxruntime", fast=True)


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_says_that_bfloat16_is_emulated_unless_it_is_to_be_quiet(quiet, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True})
    fits.writeto(tmp_path / "a.fits", sky((32, 32)))
    told = ["mask", str(tmp_path / "a.fits"), "-m", str(tiny_model(tmp_path)), "--precision", "bfloat16"]
    done = CliRunner().invoke(app, [*told, *["--quiet"] * quiet])
    assert done.exit_code == 0, done.output
    assert ("warning: this processor has no bfloat16 and emulates it" in done.output) is not quiet
