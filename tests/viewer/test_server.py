"""The server answers this machine's browser alone, with the given files alone."""

import errno
import os
import time
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

import cosmicgate
from cosmicgate.data.labelling.write_truth_planes import write_plane
from cosmicgate.io.atomic import sha256_of
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.viewer.images import Images
from cosmicgate.viewer.runs import to_runs, to_text
from cosmicgate.viewer.search import Search
from cosmicgate.viewer.static import export
from helpers.full_disk import full_disk
from helpers.mask_command import run
from helpers.tiny_model import hit, sky
from helpers.viewer import client, write_sky

SHAPE = (64, 80)


@pytest.fixture
def frame(tmp_path):
    return write_sky(tmp_path / "a.fits", sky(SHAPE))


@pytest.fixture
def images(frame, masker):
    return Images([frame], None, masker)


def found(api, number=0):
    """Search an image and return the answer."""
    answer = api.post(f"/secret/api/{number}/search").json()
    while answer["state"] == "running":
        time.sleep(0.02)
        answer = api.get(f"/secret/api/{number}/search").json()
    return answer


@pytest.mark.parametrize("path", ["/", "/secre/", "/secret0/", "/Secret/api", "//secret/", "/%C3%A4/"])
def test_an_address_without_the_token_is_refused(images, path):
    answer = client(images).get(path)
    assert answer.status_code == 403
    assert "token" in answer.text


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1.example.org", "10.0.0.1", "localhost.example.org"])
def test_another_host_is_refused(images, host):
    assert client(images, host=host).get("/secret/").status_code == 400
    for own in ("127.0.0.1", "localhost", "localhost:8000"):
        assert client(images, host=own).get("/secret/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("api/1", "api/-1", "api/a.fits", "api/..%2f..%2fetc%2fpasswd", "../../etc/passwd", "a.fits", "api/0/../../x"),
        *(
            "api/0/tile/image/0/0/9/9",
            "api/0/tile/cleaned/1/0/0/0",
            "api/0/overlay/5",
            "api/0/overlay/0",
            "%2fetc%2fpasswd",
            "static/x",
        ),
    ],
)
def test_nothing_but_the_named_files_can_be_read(images, path):
    answer = client(images).get(f"/secret/{path}")
    assert answer.status_code in (403, 404), answer.text
    assert "root:" not in answer.text


def test_a_file_name_that_is_no_text_is_shown_escaped(frame, masker):
    odd = frame.rename(frame.with_name(os.fsdecode(b"a\xff.fits")))
    images = Images([odd], None, masker)
    api = client(images)
    assert "<title>a\\udcff.fits - CosmicGate</title>" in api.get("/secret/").text
    assert api.get("/secret/api").json()["images"][0]["file"] == odd.name
    assert api.get("/secret/api/0").json()["file"] == odd.name
    export(images, lambda _name, _fraction: None).save(frame.with_name("a.html"))
    assert "<title>a\\udcff.fits - CosmicGate</title>" in frame.with_name("a.html").read_text()


def test_the_page_says_that_it_may_request_nothing_from_elsewhere(images):
    answer = client(images).get("/secret/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in answer.text.replace("http-equiv", "")
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_tiles_are_the_pixels_of_the_file(images, frame):
    answer = client(images).get("/secret/api/0/tile/image/0/0/0/0")
    assert np.array_equal(np.frombuffer(answer.content, "<f4").reshape(SHAPE), fits.getdata(frame))


def test_the_search_finds_what_the_masker_finds(images, frame, masker):
    answer = found(client(images))
    assert (answer["state"], answer["fraction"]) == ("done", 1.0)
    candidates = images.search_of(0).found
    for threshold in (0.1, 0.5, 0.99):
        mask = np.zeros(SHAPE, bool)
        mask.ravel()[candidates.index[candidates.probability >= np.float32(threshold)]] = True
        assert np.array_equal(mask, masker.mask(fits.getdata(frame), threshold))
    assert candidates.excess[candidates.probability > 0.5].min() > 50


def test_a_search_can_be_stopped_while_the_network_runs(images, masker):
    search = Search()
    search.stop.set()
    images[0].run_search(search)
    assert search.state == "cancelled"
    assert search.fraction > 0, "counted while the network runs"
    assert found(client(images))["state"] == "done", "the next search is not stopped"


def test_a_cleaned_image_is_that_of_clean(images, frame):
    api, hits = client(images), hit(SHAPE)
    version = api.post("/secret/api/0/clean", json={"hits": to_text(to_runs(hits))}).json()["version"]
    answer = api.get(f"/secret/api/0/tile/cleaned/{version}/0/0/0")
    cleaned = np.frombuffer(answer.content, "<f4").reshape(SHAPE)
    assert np.array_equal(cleaned, cosmicgate.clean(fits.getdata(frame), hits))


def test_the_mask_beside_a_file_is_found_and_not_in_blind_mode(frame, model, masker):
    assert run("mask", frame, "-m", model).exit_code == 0
    about = client(Images([frame], None, masker)).get("/secret/api/0").json()
    assert about["file_mask"]["hits"] == to_text(to_runs(hit(SHAPE)))
    assert about["file_mask"]["model"] == "tiny"
    blind = client(Images([frame], None, None))
    assert blind.get("/secret/api/0").json()["file_mask"] is None
    assert blind.get("/secret/api").json()["model"] is None
    answer = blind.post("/secret/api/0/search")
    assert answer.status_code == 409
    assert answer.json()["error"] == "no detector is used in blind mode"


def test_a_mask_of_an_earlier_version_of_the_file_is_shown_with_a_note(frame, model, masker):
    assert run("mask", frame, "-m", model).exit_code == 0
    note = "the mask in a_crmask.fits is of another version of this file: check it"
    assert note not in Images([frame], None, masker).describe(0)["notes"]
    fits.writeto(frame, sky(SHAPE, seed=1), overwrite=True)
    about = Images([frame], None, masker).describe(0)
    assert about["file_mask"]["hits"] == to_text(to_runs(hit(SHAPE)))
    assert note in about["notes"]


def saved(api, number=0, **changes):
    nothing = to_text(to_runs(np.zeros(SHAPE, bool)))
    content = {"hits": to_text(to_runs(hit(SHAPE))), "unknown": nothing, "touched": nothing, "identifier": ""}
    return api.post(f"/secret/api/{number}/labels", json=content | changes)


def test_labels_are_saved_beside_the_file_and_shown_again(images, frame, masker):
    api = client(images)
    answer = saved(api)
    assert answer.status_code == 200, answer.text
    assert answer.json()["path"] == str(frame.with_name("a_truth.fits.fz"))
    assert api.get("/secret/api/0").json()["saved"] == to_text(to_runs(hit(SHAPE)))
    assert saved(api).status_code == 409, "saved from another window, which has not seen these labels"
    assert saved(api, identifier=answer.json()["identifier"]).status_code == 200


def test_labels_of_another_file_of_the_same_name_are_kept(tmp_path, masker):
    paths, folder = [], tmp_path / "labels"
    for number in (0, 1, 0):
        night = tmp_path / f"n{number}"
        if not night.exists():
            night.mkdir()
            paths.append(write_sky(night / "a.fits", sky(SHAPE, seed=number)))
        api = client(Images([paths[number]], folder, masker))
        about = api.get("/secret/api/0").json()
        assert saved(api, identifier=about["identifier"]).status_code == 200
    assert any("or another file of this name" in note for note in about["notes"])
    digits = [sha256_of(path) for path in paths]
    names = {"a_truth.fits.fz": 0} | {f"a_truth_{one[:8]}.fits.fz": number for number, one in enumerate(digits)}
    assert {path.name for path in folder.iterdir()} == set(names)
    for name, number in names.items():
        assert fits.getheader(folder / name, "TRUTH")["CRINPUT"] == digits[number]


def test_labels_that_began_with_a_detectors_mask_are_neither_shown_nor_replaced_in_blind_mode(images, frame):
    assert saved(client(images)).status_code == 200
    before = frame.with_name("a_truth.fits.fz").read_bytes()
    blind = client(Images([frame], None, None))
    about = blind.get("/secret/api/0").json()
    assert (about["saved"], about["touched"]) == (None, "")
    assert "a_truth.fits.fz has labels that were not made blind" in about["notes"][0]
    answer = saved(blind)
    assert answer.status_code == 409
    assert "save blind ones into another folder" in answer.json()["error"]
    assert frame.with_name("a_truth.fits.fz").read_bytes() == before


@pytest.mark.parametrize(
    "content", [{"hits": "AAAA"}, {"hits": to_text(np.uint32([[5120, 1, 1]]))}, {"touched": None}, {"unknown": 7}]
)
def test_labels_that_are_not_of_the_image_are_refused_and_nothing_is_written(images, frame, content):
    answer = saved(client(images), **content)
    assert answer.status_code == 409
    assert "expected runs of pixels" in answer.json()["error"]
    assert not frame.with_name("a_truth.fits.fz").exists()


def test_labels_that_do_not_fit_on_the_disk_are_reported_and_leave_no_partial_file(images, frame):
    api = client(images)
    with full_disk(3000):
        answer = saved(api)
    assert answer.status_code == 409
    assert os.strerror(errno.EFBIG) in answer.json()["error"]
    assert [path.name for path in frame.parent.iterdir()] == ["a.fits"]
    assert saved(api).status_code == 200, "once there is room"


CHANGED = "a.fits was changed since it was read, these labels are of it as it was: start again"


def test_labels_of_a_file_that_was_only_touched_are_saved_as_usual(images, frame):
    api = client(images)
    api.get("/secret/api/0")
    content = frame.read_bytes()
    frame.unlink()
    frame.write_bytes(content)
    os.utime(frame, ns=(0, 0))
    answer = saved(api)
    assert (answer.json()["path"], answer.json()["note"]) == (str(frame.with_name("a_truth.fits.fz")), "")


def test_labels_of_a_file_that_has_changed_since_are_saved_beside_those_of_the_new_one(images, frame, masker):
    api, old = client(images), sha256_of(frame)
    first = saved(api).json()
    fits.writeto(frame, sky(SHAPE, seed=1), overwrite=True)
    new = client(Images([frame], None, masker))
    identifier = new.get("/secret/api/0").json()["identifier"]
    assert saved(new, identifier=identifier).status_code == 200
    path, before = frame.with_name("a_truth.fits.fz"), frame.with_name("a_truth.fits.fz").read_bytes()
    identifier = first["identifier"]
    for _ in range(2):
        answer = saved(api, identifier=identifier).json()
        identifier = answer["identifier"]
        assert (answer["path"], answer["note"]) == (str(frame.with_name(f"a_truth_{old[:8]}.fits.fz")), CHANGED)
        assert fits.getheader(answer["path"], "TRUTH")["CRINPUT"] == old
    other = saved(api).json()  # from another window
    assert other["path"] == str(frame.with_name(f"a_truth_{old[:8]}_1.fits.fz"))
    assert path.read_bytes() == before


def test_pixels_that_were_not_searched_are_saved_as_not_known(tmp_path, masker):
    image = sky(SHAPE)
    image[3] = np.nan
    api = client(Images([write_sky(tmp_path / "b.fits", image)], tmp_path / "labels", masker))
    assert saved(api).status_code == 200
    truth = fits.getdata(tmp_path / "labels" / "b_truth.fits.fz", "TRUTH")
    assert (truth[3] == 3).all()
    assert (truth != 3).sum() == truth.size - SHAPE[1]


def test_every_hdu_with_two_dimensions_is_shown_and_only_images_are_searched(tmp_path, masker):
    path = tmp_path / "sci.fits"
    mask = np.zeros(SHAPE, np.uint8)
    mask[5] = 1
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(mask, name="BPM"), fits.ImageHDU(sky(SHAPE), name="SCI")]
    fits.HDUList([*hdus, fits.BinTableHDU.from_columns([])]).writeto(path)
    api = client(Images([path], None, masker))
    about = api.get("/secret/api").json()["images"]
    assert [(one["label"], one["searchable"]) for one in about] == [("2 SCI", True), ("1 BPM", False)]
    assert np.frombuffer(api.get("/secret/api/1/tile/image/0/0/0/0").content, "<f4").reshape(SHAPE)[5, 0] == 1
    assert api.post("/secret/api/1/search").status_code == 409


def test_an_image_with_the_number_of_another_hdu_as_its_name_is_shown_with_its_bad_pixels(tmp_path, masker):
    path, parts = tmp_path / "ccds.fits", []
    for number, name in ((1, "2"), (2, "1")):
        header = fits.Header({"SATURATE": 5e4, "BIASSEC": f"[1:10,1:{SHAPE[0]}]", "CCDNUM": number})
        parts.append(fits.ImageHDU(sky(SHAPE, seed=number), header, name=name))
        parts[-1].data[30, 40] = 6e4
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(path)
    images = Images([path], None, masker)
    for number, part in enumerate(parts):
        assert images.hdus[number].searchable
        assert np.array_equal(images[number].image, part.data)
        assert images[number].fits.bad[30, 40], "saturated"
        assert images[number].fits.bad[:, :10].all(), "overscan"


def test_labels_of_a_mask_leave_the_truth_of_the_image_beside_it(tmp_path, masker):
    path, truth = tmp_path / "sci.fits", hit(SHAPE).astype(np.uint8)
    flags = fits.ImageHDU(np.zeros(SHAPE, np.uint8), name="DQ")
    fits.HDUList([fits.PrimaryHDU(), flags, fits.ImageHDU(sky(SHAPE), name="SCI")]).writeto(path)
    write_plane(tmp_path / "sci_truth.fits.fz", truth, path)
    api = client(Images([path], None, masker))
    about = api.get("/secret/api/1").json()
    assert (about["label"], about["saved"]) == ("1 DQ", None)
    assert saved(api, 1).status_code == 200
    with fits.open(tmp_path / "sci_truth.fits.fz") as hdus:
        assert np.array_equal(hdus["TRUTH"].data, truth)
        assert "CRHDU" not in hdus["TRUTH"].header
        assert hdus["DQ_TRUTH"].header["CRHDU"] == 1
    assert api.get("/secret/api/0").json()["saved"] == to_text(to_runs(hit(SHAPE)))


def test_labels_of_a_file_that_changed_after_it_was_dropped_from_memory_are_saved_apart(tmp_path, masker, monkeypatch):
    monkeypatch.setattr("cosmicgate.viewer.images.MAX_PIXELS", SHAPE[0] * SHAPE[1])
    paths = [write_sky(tmp_path / f"{name}.fits", sky(SHAPE)) for name in "ab"]
    api = client(Images(paths, None, masker))
    for number in (0, 1):
        api.get(f"/secret/api/{number}")
    paths[0].unlink()
    write_sky(paths[0], sky(SHAPE) + 5)
    answer = saved(api, 0)
    assert answer.json()["note"] == CHANGED
    assert not (tmp_path / "a_truth.fits.fz").exists()
    assert saved(api, 1).status_code == 200


# ------------------------------------------------------------------------------------- probabilities of cosmicgate mask


@pytest.fixture
def masked(frame, model):
    assert run("mask", frame, "-m", model, "--probability", "--grow", 1).exit_code == 0
    return frame.with_name("a_crmask.fits")


def computed(monkeypatch):
    """Count the images for which a network computes probabilities."""
    calls, compute = [], CosmicRayMasker.probability
    monkeypatch.setattr(CosmicRayMasker, "probability", lambda *given: calls.append(1) or compute(*given))
    return calls


def test_probabilities_beside_the_file_are_read_and_not_computed_again(images, masked, masker, monkeypatch):
    expected, calls = masker.probability(images[0].image), computed(monkeypatch)
    api = client(images)
    assert api.get("/secret/api/0").json()["file_mask"]["probability"]
    answer = found(api)
    assert "Probabilities from a_crmask.fits" in answer["message"]
    candidates = images.search_of(0).found
    assert np.allclose(candidates.probability, expected.ravel()[candidates.index], rtol=1e-3)
    assert np.array_equal(candidates.index[candidates.probability >= 0.5], np.flatnonzero(hit(SHAPE)))
    assert not calls


@pytest.mark.parametrize(("damage", "reason"), [("disk", os.strerror(errno.EIO)), ("cut", "not a complete FITS file")])
def test_an_image_is_shown_and_searched_if_the_mask_beside_it_cannot_be_read(frame, masked, masker, damage, reason):
    if damage == "disk":
        masked.unlink()
        masked.symlink_to("/proc/self/mem")  # whose first bytes cannot be read
    else:
        masked.write_bytes(masked.read_bytes()[:4000])
    api = client(Images([frame], None, masker))
    about = api.get("/secret/api/0").json()
    assert about["file_mask"] is None
    assert [reason in note for note in about["notes"]] == [True]
    assert found(api)["state"] == "done"
    text = export(Images([frame], None, masker), lambda *_: None).text
    assert "the mask of this image cannot be read" in text


def test_a_search_that_fails_ends_with_its_message(images, masker, monkeypatch):
    monkeypatch.setattr("cosmicgate.viewer.images.mask_of_file", lambda *_: 1 / 0)
    images.start_search(0)
    with pytest.raises(ValueError, match=r"a\.fits: division by zero"):
        export(images, lambda *_: None)


def test_a_mask_is_recognised_as_of_this_network_by_its_weights_whatever_the_path_of_its_run(frame, masked, masker):
    for card, same in ((replace(masker.card, name="/data/runs/mine"), True), (replace(masker.card, sha256="0"), False)):
        known = Images([frame], None, replace(masker, card=card)).describe(0)["file_mask"]
        assert known["same_network"] is same


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("image", "the probabilities in a_crmask.fits are of another version of this file: not used"),
        ("network", "the probabilities in a_crmask.fits are of another network: not used"),
    ],
)
def test_probabilities_of_another_image_or_network_are_named_and_not_used(
    frame, masked, masker, monkeypatch, change, reason
):
    if change == "image":
        fits.writeto(frame, sky(SHAPE, seed=1), overwrite=True)
    else:
        masker = replace(masker, card=replace(masker.card, sha256="0" * 64))
    calls = computed(monkeypatch)
    api = client(Images([frame], None, masker))
    about = api.get("/secret/api/0").json()
    assert not about["file_mask"]["probability"]
    assert reason in about["notes"]
    assert found(api)["state"] == "done"
    assert calls


def test_probabilities_are_those_of_the_image_and_not_of_one_beside_it(tmp_path, model, masker):
    path = tmp_path / "two.fits"
    parts = [fits.ImageHDU(sky(SHAPE, seed), name=name) for seed, name in enumerate(("N1", "N2"))]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(path)
    assert run("mask", path, "-m", model, "--probability").exit_code == 0
    images = Images([path], None, masker)
    for number in (0, 1):
        found(client(images), number)
        candidates, expected = images.search_of(number).found, masker.probability(images[number].image).ravel()
        assert np.allclose(candidates.probability, expected[candidates.index], rtol=1e-3)
