"""Test training and validation patches: grid, random crops, reproducibility over workers, augmentations."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cosmicgate.data.cache import LabelledFrame, save_labelled
from cosmicgate.data.patches import CropSampler, EpochSampler, GridSampler, PatchDataset
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.transforms import Flips, SkyAugmentation
from cosmicgate.io.fits.frames import Frame

AUGMENTED = (SkyAugmentation(-0.9, 3.0), Flips())


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Save two labelled frames whose pixels all have different values; the first has three hits, the second none."""
    root = tmp_path_factory.mktemp("labelled")
    for number, shape in enumerate([(100, 140), (90, 120)]):
        image = 1000 * number + np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 100
        truth = np.full(shape, SKY, np.uint8)
        if number == 0:
            for row, column in ((0, 0), (50, 70), (99, 139)):  # in two corners and in the middle
                truth[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = RING
                truth[row, column] = CORE
        save_labelled(Frame(image, 4.0, 6.5, 45_000.0, 90.0), truth, {"name": str(number)}, root / str(number))
    return [root / "0", root / "1"]


def epoch_batches(patches, epoch, workers):
    """Load the images and labels of an epoch with a number of worker processes."""
    sampler = EpochSampler(len(patches), seed=0)
    sampler.set_epoch(epoch)
    batches = list(DataLoader(patches, batch_size=4, sampler=sampler, num_workers=workers))
    return tuple(torch.cat([batch[key] for batch in batches]) for key in ("image", "truth"))


# ------------------------------------------------------------------------------------------------------- windows


def test_a_grid_covers_a_whole_ccd_with_128_patches(tmp_path):
    image = np.memmap(tmp_path / "zeros", np.float32, "w+", shape=(4096, 2048))  # a sparse file
    grid = GridSampler(256).prepare([LabelledFrame(image, np.zeros((1, 1), np.uint8), np.zeros((1, 1), bool), {})])
    assert len(grid) == 128
    seen = np.zeros(image.shape, np.uint8)
    for index in range(len(grid)):
        number, rows, columns = grid.window(index, generator())
        assert number == 0
        assert seen[rows, columns].shape == (256, 256)
        seen[rows, columns] += 1
    assert (seen == 1).all()


def test_a_grid_leaves_out_only_incomplete_patches(folders):
    patches = PatchDataset(folders, GridSampler(40))
    assert len(patches) == 2 * 3 + 2 * 3
    assert all(patch["image"].shape == patch["truth"].shape == (1, 40, 40) for patch in patches)
    assert patches[6]["image"][0, 0, 0] == 1000  # the first patch of the second frame


def test_bad_pixels_are_interpolated_as_they_are_for_a_network_that_is_used(tmp_path):
    image = np.full((64, 64), 200.0, np.float32) + np.arange(64, dtype=np.float32)
    bad = np.zeros(image.shape, bool)
    bad[:, 9], bad[32:, 32:] = True, True
    spoiled = np.where(bad, np.float32(45_000), image)
    truth = np.where(bad, IGNORED, SKY).astype(np.uint8)
    save_labelled(Frame(spoiled, 4.0, 6.5, 45_000.0, 90.0, bad=bad), truth, {"name": "a"}, tmp_path / "a")
    first, *_, last = (patch["image"][0].numpy() for patch in PatchDataset([tmp_path / "a"], GridSampler(32)))
    np.testing.assert_array_equal(first, image[:32, :32])
    assert (last == np.median(spoiled[~bad])).all()  # without a good pixel


def test_crops_on_hits_contain_a_hit(folders):
    patches = PatchDataset(folders[:1], CropSampler(size=32, count=300, on_hits=1.0))
    cores = [(patch["truth"] == CORE).nonzero() for patch in patches]
    assert all(len(core) for core in cores)
    assert all(patch["image"].shape == (1, 32, 32) for patch in patches)
    # The hit is at a random position in the crop, and each hit is used.
    rows = torch.cat([core[:, 1] for core in cores]).unique()
    assert len(rows) > 25
    first = {float(patch["image"].min()) for patch in patches}
    assert min(first) < 10
    assert max(first) > 90


def test_crops_are_anywhere_without_on_hits(folders):
    patches = PatchDataset(folders, CropSampler(size=32, count=400, on_hits=0.0))
    corners = np.array([float(patch["image"][0, 0, 0]) for patch in patches])
    assert np.mean(corners >= 1000) == pytest.approx(0.5, abs=0.1)  # both frames equally often
    rows = (corners[corners < 1000] * 100).round().astype(int) // 140
    assert rows.min() < 5
    assert rows.max() > 100 - 32 - 5
    assert np.mean([(patch["truth"] == CORE).any() for patch in patches]) < 0.3


def test_a_frame_without_hits_gives_crops_too(folders):
    patches = PatchDataset(folders[1:], CropSampler(size=32, count=10, on_hits=1.0))
    assert all(patch["image"].shape == (1, 32, 32) for patch in patches)


@pytest.mark.parametrize("windows", [GridSampler(128), CropSampler(128)])
def test_a_patch_larger_than_every_frame_is_refused_with_their_shapes(folders, windows):
    with pytest.raises(ValueError, match=r"of 128 px fits into frames of \(100, 140\), \(90, 120\)"):
        PatchDataset(folders, windows)


def test_frames_too_small_for_a_grid_are_counted(folders, caplog):
    assert len(GridSampler(96).prepare(PatchDataset(folders, CropSampler(32)).frames)) == 1
    assert "1 of 2 frames are smaller than a patch of 96 px: not used" in caplog.text


def test_a_patch_beyond_the_last_is_refused(folders):
    with pytest.raises(IndexError, match="patch 12 of 12"):
        PatchDataset(folders, GridSampler(40))[12]


# ------------------------------------------------------------------------------------------------ reproducibility


def test_a_patch_is_the_same_whatever_the_number_of_workers(folders):
    patches = PatchDataset(folders, CropSampler(size=32, count=10), AUGMENTED, seed=3)
    images, truths = epoch_batches(patches, 5, workers=0)
    again, truths_again = epoch_batches(patches, 5, workers=2)
    assert torch.equal(images, again)
    assert torch.equal(truths, truths_again)


def test_a_patch_depends_on_seed_epoch_and_index_only(folders):
    def patch(seed, epoch, index):
        return PatchDataset(folders, CropSampler(size=32, count=10), AUGMENTED, seed=seed)[epoch, index]["image"]

    assert torch.equal(patch(0, 1, 2), patch(0, 1, 2))
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert not torch.equal(patch(0, 1, 2), patch(*other))


def test_a_new_epoch_gives_new_draws_and_a_new_order(folders):
    patches = PatchDataset(folders, GridSampler(40), AUGMENTED)
    first, second = (epoch_batches(patches, epoch, 0)[0] for epoch in (0, 1))
    assert not torch.equal(first, second)
    orders = []
    sampler = EpochSampler(50, seed=0)
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append([index for _, index in sampler])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))


def test_validation_is_the_same_in_every_epoch(folders):
    loader = DataLoader(PatchDataset(folders, GridSampler(40)), batch_size=4)
    first, second = (torch.cat([batch["image"] for batch in loader]) for _ in range(2))
    assert torch.equal(first, second)
    assert float(first[0, 0, 0, 0]) == 0  # the first patch of the grid
    assert len(first) == 12


def test_the_pickle_for_a_worker_holds_no_pixels(folders):
    patches = PatchDataset(folders, GridSampler(40), AUGMENTED)
    sent = pickle.dumps(patches)
    assert len(sent) < 3000
    there = pickle.loads(sent)
    assert torch.equal(there[4, 7]["image"], patches[4, 7]["image"])
    assert isinstance(there.frames[0].image, np.memmap)


def test_patches_are_writable_torch_tensors(tmp_path):
    frame = Frame(np.zeros((40, 40), np.float32), 4.0, 6.5, 45_000.0, 90.0)
    save_labelled(frame, np.zeros((40, 40), np.uint8), {"name": "square"}, tmp_path / "square")
    patches = PatchDataset([tmp_path / "square"], GridSampler(40))  # one patch covers the file
    patch = patches[0]
    assert patch["image"].dtype == torch.float32
    assert patch["truth"].dtype == torch.uint8
    patch["image"] += 1
    patch["truth"] += 1
    assert float(patches[0]["image"].max()) == float(patches[0]["truth"].max()) == 0


# ------------------------------------------------------------------------------------------------- augmentations


def test_sky_augmentation_adds_alpha_times_the_median_and_keeps_the_labels():
    image = generator().normal(200, 10, (32, 32)).astype(np.float32)
    truth = (generator().random((32, 32)) < 0.1).astype(np.uint8)
    before, alphas, rng = image.copy(), [], generator(1)
    for _ in range(300):
        changed, same = SkyAugmentation(-0.9, 3.0)(image, truth, rng)
        added = changed - image
        assert changed.dtype == np.float32
        np.testing.assert_allclose(added, added.mean(), atol=1e-3)
        alphas.append(added.mean() / np.median(image))
        np.testing.assert_array_equal(same, truth)
    np.testing.assert_array_equal(image, before)
    assert -0.9 < min(alphas) < -0.8
    assert 2.9 < max(alphas) < 3
    assert np.mean(alphas) == pytest.approx(1.05, abs=0.2)


@pytest.mark.parametrize(("level", "has"), [(100.0, True), (20.0, True), (4.0, False), (0.0, False), (-50.0, False)])
def test_a_subtracted_sky_is_recognised_by_level_and_noise(level, has):
    image = generator().normal(level, 10, (700, 400)).astype(np.float32)
    image[::50] += 30_000  # stars are not sky
    assert SkyAugmentation.has_sky(image) is has


def test_flips_keep_image_and_labels_aligned_in_all_eight_orientations():
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    truth, before, orientations = image.astype(np.uint8), image.copy(), set()
    for seed in range(100):
        turned, marks = Flips()(image, truth, generator(seed))
        np.testing.assert_array_equal(turned, marks)
        orientations.add(turned.tobytes())
    assert len(orientations) == 8
    np.testing.assert_array_equal(image, before)
