"""Test that a masker computes the same with onnxruntime as with torch."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits

import cosmicgate
from cosmicgate.inference import onnx_runtime
from cosmicgate.inference.predictor import Predictor
from cosmicgate.models import UNet
from helpers.mask_command import run
from helpers.networks import network
from helpers.tiny_model import hit, sky

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="the extra onnx is not installed")
pytestmark = pytest.mark.slow  # torch's exporter takes seconds


@torch.inference_mode()
@pytest.mark.parametrize("scaling", ["none", "robust"])
def test_overlapping_tiles_give_the_logits_of_the_whole_image(scaling, monkeypatch):
    monkeypatch.setattr(onnx_runtime, "TILE", 96)
    built = network(scaling=scaling)
    made = onnx_runtime.convert_to_onnx(built)
    for shape in ((203, 151), (8, 9), (96, 300)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        ours, theirs = (Predictor(built, onnx=onnx).logits(image.numpy()) for onnx in (None, made))
        assert torch.allclose(ours, theirs, atol=1e-4)
    again = pickle.loads(pickle.dumps(made))
    image = torch.randn(1, 1, 16, 16)
    assert torch.equal(again(image), made(image))


def test_the_general_network_gives_the_same_probabilities_with_either_engine():
    image = sky((200, 210))
    ours, theirs = (cosmicgate.load(check=False, engine=one).probability(image) for one in ("torch", "onnxruntime"))
    assert np.abs(ours - theirs).max() < 1e-4


def test_the_command_uses_the_engine_and_records_it(model, tmp_path):
    fits.writeto(tmp_path / "a.fits", sky())
    done = run("mask", tmp_path / "a.fits", "-m", model, "--engine", "onnxruntime")
    assert done.exit_code == 0, done.output
    mask, header = fits.getdata(tmp_path / "a_crmask.fits", 1, header=True)
    assert np.array_equal(mask != 0, hit())
    assert header["CRENGINE"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (dict(norm="group"), "takes networks with batch norm"),
        (dict(depth=4), "up to 3 levels, got 4"),
    ],
)
def test_unsupported_networks_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        onnx_runtime.convert_to_onnx(UNet(channels=8, **settings).eval())


def test_a_network_of_another_class_is_refused(masker, tmp_path, monkeypatch):
    own = torch.nn.Conv2d(1, 1, 3, padding=1)
    with pytest.raises(ValueError, match="networks of this package, a UNet; got Conv2d"):
        onnx_runtime.convert_to_onnx(own)
    monkeypatch.setattr("cosmicgate.masking.load.load", lambda *_, **__: replace(masker, predictor=Predictor(own)))
    done = run("export", "--onnx", tmp_path / "own.onnx")
    assert done.exit_code == 2
    assert "error: ONNX is for the networks of this package, a UNet; got Conv2d" in done.output


def test_an_unknown_engine_and_half_precision_are_refused(model):
    with pytest.raises(ValueError, match="unknown engine 'tensorflow': expected one of torch, onnxruntime"):
        cosmicgate.load(model, engine="tensorflow")
    with pytest.raises(ValueError, match="onnxruntime computes in float32"):
        cosmicgate.load(model, engine="onnxruntime", precision="bfloat16")
    with pytest.raises(ValueError, match=r"the cascade .fast=True. runs in torch only"):
        cosmicgate.load("general", engine="onnxruntime", fast=True)


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_warns_of_slow_bfloat16_unless_quiet(quiet, model, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True})
    fits.writeto(tmp_path / "a.fits", sky((32, 32)))
    done = run("mask", tmp_path / "a.fits", "-m", model, "--precision", "bfloat16", *["--quiet"] * quiet)
    assert done.exit_code == 0, done.output
    assert ("warning: bfloat16 is slower than float32" in done.output) is not quiet
