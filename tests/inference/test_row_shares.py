"""Threads take rows of an image as they come free, and the result does not depend on who computed what."""

import threading
import time

import pytest
import torch

from cosmicgate.inference import streaming
from cosmicgate.inference.background_grid import BackgroundGrid
from cosmicgate.inference.cascade import NO_HIT_LOGIT, Cascade, cascade_logits
from cosmicgate.inference.row_shares import RowShares
from cosmicgate.inference.streaming import MAX_SHARES, reach_of, streamed_logits
from cosmicgate.inference.threads import for_each, run_in_threads
from helpers.networks import network, noise_image


@pytest.fixture
def threads():
    """Set torch's number of threads for one test."""
    usual = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(usual)


@torch.inference_mode()
@pytest.mark.parametrize("height", [1, 63, 384, 701])
def test_the_number_of_threads_does_not_change_the_logits(threads, height):
    made, image = network(), noise_image(height, 45)
    threads(1)
    alone = streamed_logits(made, image)
    for number in (2, 3, 4, 9):
        threads(number)
        found = streamed_logits(made, image)
        assert torch.equal(found, alone) or height < 16 * reach_of(made) or number > MAX_SHARES
        assert torch.allclose(found, alone, rtol=0, atol=1e-5)
        assert torch.equal(streamed_logits(made, image.clone(), overwrite=True), found)


@torch.inference_mode()
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_shares_of_networks_of_any_depth_join_without_a_seam(threads, depth):
    made, image = network(depth=depth), noise_image(2 * 8 * 64 + 5, 40)
    threads(2)
    whole = made.logits(image[None, None])[0, 0]
    assert torch.allclose(streamed_logits(made, image), whole, rtol=0, atol=1e-5)


def test_the_reach_is_as_far_as_a_pixel_is_felt():
    made = network().double()
    felt = torch.zeros(101, dtype=torch.bool)
    for row in range(48, 52):  # wherever a pixel lies in the grid of the pooling
        image = torch.zeros(1, 1, 101, 16, dtype=torch.double, requires_grad=True)
        made.logits(image)[0, 0, row].sum().backward()
        felt |= image.grad[0, 0].abs().sum(1).roll(50 - row) > 0
    rows = felt.nonzero()[:, 0]
    assert max(50 - rows.min(), rows.max() - 50) <= 23 < reach_of(made) == 24


@torch.inference_mode()
def test_a_thread_that_is_held_up_loses_rows_to_the_others_and_the_logits_stay(threads, monkeypatch):
    made, image = network(), noise_image(1000, 24)
    threads(1)
    alone = streamed_logits(made, image)
    shares, push, slow = [], streaming.StreamingUNet.push, []

    class Watched(RowShares):
        def take(self):
            shares.append(share := super().take())
            return share

    def held_up(stream, strip, last):
        if not slow:
            slow.append(threading.current_thread())
        if threading.current_thread() is slow[0]:
            time.sleep(0.02)
        return push(stream, strip, last)

    monkeypatch.setattr(streaming, "RowShares", Watched)
    monkeypatch.setattr(streaming.StreamingUNet, "push", held_up)
    threads(2)
    assert torch.equal(streamed_logits(made, image.clone(), overwrite=True), alone)
    taken = sorted((share.first, share.stop) for share in shares if share is not None)
    assert len(taken) > 2, "the thread that was free took nothing over"
    assert [first for first, _ in taken] == [0, *(stop for _, stop in taken[:-1])]
    assert taken[-1][1] == 1000


@torch.inference_mode()
def test_the_cascade_gives_the_same_with_any_number_of_threads(threads):
    made, image = network(scaling="robust"), noise_image(500, 300)
    cascade = Cascade(network(depth=2, gate=False, scaling="robust"), 0.0)
    threads(1)
    alone = cascade_logits(made, cascade, image)
    threads(3)
    logits = cascade_logits(made, cascade, image)
    assert torch.allclose(logits, alone, rtol=0, atol=1e-5)
    assert (alone > NO_HIT_LOGIT).any()


def test_the_sky_is_the_same_with_any_number_of_threads(threads):
    image = noise_image(900, 500)
    threads(1)
    alone = BackgroundGrid.of(image)
    threads(3)
    many = BackgroundGrid.of(image)
    assert torch.equal(many.level, alone.level)
    assert torch.equal(many.sigma, alone.sigma)


def test_an_error_of_a_thread_ends_the_others_and_is_raised(threads):
    threads(2)
    begun = []

    def work(stop):
        begun.append(stop)
        if len(begun) == 2:
            raise ValueError("row 7 is missing")
        assert stop.wait(10), "the other thread was not told"

    with pytest.raises(ValueError, match="row 7 is missing"):
        run_in_threads(work, 2)
    assert torch.get_num_threads() == 2


def test_each_thread_computes_on_one_core_and_the_caller_keeps_its_threads(threads):
    threads(3)
    seen = []
    for_each(lambda item: seen.append((item, torch.get_num_threads())), range(6), 3)
    assert sorted(seen) == [(item, 1) for item in range(6)]
    assert torch.get_num_threads() == 3
    number = []
    other = threading.Thread(target=lambda: number.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert number == [3], "threads to come begin with another number than before"
