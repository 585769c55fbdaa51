"""Test masking from and to an S3 bucket: finished masks, faulty objects, killed runs and workers."""

import json
import signal
import tempfile
from io import BytesIO

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.io.urls import Url
from cosmicgate.masking.batch import mask_in_this_process
from cosmicgate.masking.load import load
from cosmicgate.masking.options import BatchOptions, MaskOptions
from cosmicgate.masking.ray_backend import mask_on_ray
from cosmicgate.masking.temporary_folder import FOLDER_PREFIX
from helpers.killed_worker import FATAL_PIXEL, MARKER_VARIABLE, KilledMasker
from helpers.mask_command import SELF_SIGNAL, SHAPE, run, start_process
from helpers.tiny_model import hit, sky, tiny_model

NEEDED = "s3:// needs the extra s3, and a server here moto[s3], flask and flask-cors"
pytest.importorskip("s3fs", reason=NEEDED)
moto = pytest.importorskip("moto.server", reason=NEEDED)


@pytest.fixture(scope="module")
def server():
    """Serve an imitation of S3 on the loopback interface; return its URL."""
    started = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    started.start()
    yield "http://{}:{}".format(*started.get_host_and_port())
    started.stop()


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    """Create a bucket ``sky``, and set the environment variables by which clients find and access it."""
    import boto3
    import s3fs

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("PROFILE", "SESSION_TOKEN", "ENDPOINT_URL_S3"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name, value in dict(ACCESS_KEY_ID="a", SECRET_ACCESS_KEY="b", DEFAULT_REGION="us-east-1").items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    s3fs.S3FileSystem.clear_instance_cache()
    made = boto3.resource("s3").Bucket("sky")
    made.create()
    yield made
    made.objects.delete()
    made.delete()


def put_image(bucket, name, image):
    """Write an image (H, W) as a FITS object."""
    file = BytesIO()
    fits.PrimaryHDU(image).writeto(file)
    bucket.put_object(Key=name, Body=file.getvalue())


def contents(bucket, prefix):
    """Read all objects below a prefix, by name."""
    return {one.key.removeprefix(prefix): one.get()["Body"].read() for one in bucket.objects.filter(Prefix=prefix)}


def read_mask_bytes(content):
    """Read the mask (H, W), bool, from the bytes of a FITS file."""
    with fits.open(BytesIO(content), checksum=True) as hdus:
        return hdus["CRMASK"].data.astype(bool)


def test_a_second_run_leaves_finished_masks_in_a_bucket_alone(bucket, tmp_path):
    model = tiny_model(tmp_path / "model")
    for number in range(2):
        put_image(bucket, f"night/{number}.fits", sky(SHAPE, number))
    first = run("mask", "s3://sky/night/", "-m", model, "-o", "s3://sky/masks", "--json", tmp_path / "s.json")
    assert first.exit_code == 0, first.output
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["done"], summary["failed"], summary["hits"]) == (2, 0, 8)
    assert [row["output"] for row in summary["files"]] == [f"s3://sky/masks/{n}_crmask.fits" for n in range(2)]
    made = contents(bucket, "masks/")
    assert sorted(made) == ["0_crmask.fits", "1_crmask.fits"]
    for content in made.values():
        np.testing.assert_array_equal(read_mask_bytes(content), hit(SHAPE))
    before = {one.key: one.last_modified for one in bucket.objects.all()}
    (tmp_path / "list").write_text("s3://sky/night/0.fits\ns3://sky/night/1.fits\n")
    again = run("mask", "--list", tmp_path / "list", "-m", model, "-o", "s3://sky/masks")
    assert again.exit_code == 0, again.output
    assert again.stdout.count("up to date") == 2
    assert {one.key: one.last_modified for one in bucket.objects.all()} == before


@pytest.mark.slow
def test_a_bad_object_and_a_missing_bucket_are_named_and_the_others_masked(bucket, tmp_path):
    put_image(bucket, "night/0.fits", sky(SHAPE))
    bucket.put_object(Key="night/1.fits", Body=b"no FITS")
    model, nowhere = tiny_model(tmp_path / "model"), ("s3://nowhere/night/", "s3://sky/night/none.fits")
    done = run("mask", "s3://sky/night/", *nowhere, "-m", model, "-o", "s3://sky/masks", "--quiet")
    assert done.exit_code == 1
    errors = done.stderr.splitlines()
    assert [error.partition(" (")[0] for error in errors] == [
        "error: s3://sky/night/1.fits: not a complete FITS file",
        "error: no such FITS file: s3://nowhere/night/",
        "error: no such FITS file: s3://sky/night/none.fits",
    ]
    assert "The specified bucket does not exist" in errors[1]
    assert list(contents(bucket, "masks/")) == ["0_crmask.fits"]
    unwritten = run("mask", "s3://sky/night/0.fits", "-m", model, "-o", "s3://nowhere/masks")
    assert unwritten.exit_code == 1
    assert "error: s3://sky/night/0.fits: cannot be written: s3://nowhere/masks/0_crmask.fits (The" in unwritten.stderr


@pytest.mark.slow
def test_a_killed_run_leaves_no_partial_object_and_resumes(bucket, tmp_path, monkeypatch):
    model = tiny_model(tmp_path / "model")
    for number in range(3):
        put_image(bucket, f"night/{number}.fits", sky(SHAPE, number))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    killed = start_process("mask", "s3://sky/night/", "-m", model, code=SELF_SIGNAL.format(signal="SIGKILL"))
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert sorted(contents(bucket, "night/")) == ["0.fits", "0_crmask.fits", "1.fits", "2.fits"]
    again = run("mask", "s3://sky/night/", "-m", model)
    assert again.exit_code == 0, again.output
    assert (again.stdout.count("up to date"), again.stdout.count("pixels hit")) == (1, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")  # Ray's
def test_a_killed_worker_loses_no_object_of_a_bucket(bucket, cluster, tmp_path, monkeypatch):
    monkeypatch.setenv(MARKER_VARIABLE, str(tmp_path / "note"))
    monkeypatch.setenv("RAY_TMPDIR", tempfile.gettempdir())
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    for number in range(4):
        image = sky(SHAPE, number)
        image[0, 0] = FATAL_PIXEL["once"] if number == 2 else image[0, 0]
        put_image(bucket, f"night/{number}.fits", image)
    masker, batch = (
        load(tiny_model(tmp_path / "model")),
        BatchOptions(MaskOptions(threshold=0.5, fpr=None, kind="mask")),
    )
    night, one, two = Url("s3://sky/night"), Url("s3://sky/one"), Url("s3://sky/two")
    pairs = [(night / f"{number}.fits", one / f"{number}_crmask.fits") for number in range(4)]
    assert {o.status for o in mask_in_this_process(pairs, masker, batch, lambda _: None)} == {"done"}
    killed_masker = KilledMasker(masker.predictor, masker.card)
    several = [(source, two / target.name) for source, target in pairs]
    assert {outcome.status for outcome in mask_on_ray(several, killed_masker, batch, "local", 2)} == {"done"}
    assert contents(bucket, "two/") == contents(bucket, "one/")
    left = list((tmp_path / "temporary").glob(f"{FOLDER_PREFIX}*"))
    assert len(left) == 1, "no worker was killed while it masked a file"


@pytest.mark.slow
def test_the_command_resumes_a_list_of_objects_on_ray(bucket, cluster, tmp_path):
    model = tiny_model(tmp_path / "model")
    for number in range(2):
        put_image(bucket, f"night/{number}.fits", sky(SHAPE, number))
    bucket.put_object(Key="night/bad.fits", Body=b"no FITS")
    fits.writeto(tmp_path / "local.fits", sky(SHAPE, 2))
    assert run("mask", "s3://sky/night/0.fits", "-m", model, "-o", "s3://sky/masks").exit_code == 0
    names = [*(f"s3://sky/night/{name}.fits" for name in (0, 1, "bad")), str(tmp_path / "local.fits")]
    (tmp_path / "list").write_text("# a night\n\n" + "".join(f"{name}\n" for name in names))
    arguments = ("--list", tmp_path / "list", "-m", model, "-o", "s3://sky/masks", "--ray", "local", "--jobs", 2)
    out, err = (started := start_process("mask", *arguments)).communicate(timeout=600)
    assert started.returncode == 1, err
    assert (out.count("up to date"), out.count("pixels hit")) == (1, 2), out
    assert err.startswith("error: s3://sky/night/bad.fits: not a complete FITS file"), err
    assert len(err.splitlines()) == 1
    assert sorted(contents(bucket, "masks/")) == [f"{name}_crmask.fits" for name in (0, 1, "local")]
