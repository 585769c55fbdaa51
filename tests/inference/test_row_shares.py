"""Test that threads share the rows of an image, and that logits do not depend on their number or speed."""

import threading
import time

import pytest
import torch

from cosmicgate.inference import streaming
from cosmicgate.inference.background_grid import BackgroundGrid
from cosmicgate.inference.cascade import NO_HIT_LOGIT, Cascade, cascade_logits
from cosmicgate.inference.row_shares import RowShares
from cosmicgate.inference.streaming import MAX_SHARES, streamed_logits
from cosmicgate.inference.threads import for_each, run_in_threads
from helpers.networks import network, noise_image

STEPS = 24  # rows that a network of depth 3 reaches, in whole steps of its pooling


@pytest.fixture
def threads():
    """Return the function that sets torch's number of threads, and restore the number after the test."""
    usual = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(usual)


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("height", [1, 63, 384, 701])
def test_the_number_of_threads_does_not_change_the_logits(threads, height):
    made, image = network(), noise_image(height, 45)
    threads(1)
    alone = streamed_logits(made, image)
    for number in (2, 3, 4, 9):
        threads(number)
        found = streamed_logits(made, image)
        assert torch.equal(found, alone) or height < 16 * STEPS or number > MAX_SHARES
        assert torch.allclose(found, alone, rtol=0, atol=1e-5)
        assert torch.equal(streamed_logits(made, image.clone(), overwrite=True), found)


@torch.inference_mode()
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_shares_of_rows_join_without_a_seam_at_any_depth(threads, depth):
    made, image = network(depth=depth), noise_image(2 * 8 * 64 + 5, 40)
    threads(2)
    whole = made.logits(image[None, None])[0, 0]
    assert torch.allclose(streamed_logits(made, image), whole, rtol=0, atol=1e-5)


def test_the_reach_covers_every_pixel_that_changes_a_logit():
    made = network().double()
    changes_logit = torch.zeros(101, dtype=torch.bool)
    for row in range(48, 52):  # every position relative to the grid of the pooling
        image = torch.zeros(1, 1, 101, 16, dtype=torch.double, requires_grad=True)
        made.logits(image)[0, 0, row].sum().backward()
        changes_logit |= image.grad[0, 0].abs().sum(1).roll(50 - row) > 0
    rows = changes_logit.nonzero()[:, 0]
    assert max(50 - rows.min(), rows.max() - 50) <= 23 == made.receptive_field_radius


@torch.inference_mode()
def test_a_slow_thread_passes_rows_to_the_others_without_a_change_of_logits(threads, monkeypatch):
    made, image = network(), noise_image(1000, 24)
    threads(1)
    alone = streamed_logits(made, image)
    shares, push, slow = [], streaming.StreamingUNet.push, []

    class RecordedShares(RowShares):
        def take(self):
            shares.append(share := super().take())
            return share

    def slow_push(stream, strip, last):
        if not slow:
            slow.append(threading.current_thread())
        if threading.current_thread() is slow[0]:
            time.sleep(0.02)
        return push(stream, strip, last)

    monkeypatch.setattr(streaming, "RowShares", RecordedShares)
    monkeypatch.setattr(streaming.StreamingUNet, "push", slow_push)
    threads(2)
    assert torch.equal(streamed_logits(made, image.clone(), overwrite=True), alone)
    taken = sorted((share.first, share.stop) for share in shares if share is not None)
    assert len(taken) > 2, "the free thread took over no rows"
    assert [first for first, _ in taken] == [0, *(stop for _, stop in taken[:-1])]
    assert taken[-1][1] == 1000


@torch.inference_mode()
def test_the_number_of_threads_does_not_change_the_cascade(threads):
    made, image = network(scaling="robust"), noise_image(500, 300)
    cascade = Cascade(network(depth=2, gate=False, scaling="robust"), 0.0)
    threads(1)
    alone = cascade_logits(made, cascade, image)
    threads(3)
    logits = cascade_logits(made, cascade, image)
    assert torch.allclose(logits, alone, rtol=0, atol=1e-5)
    assert (alone > NO_HIT_LOGIT).any()


def test_the_number_of_threads_does_not_change_the_background(threads):
    image = noise_image(900, 500)
    threads(1)
    alone = BackgroundGrid.of(image)
    threads(3)
    many = BackgroundGrid.of(image)
    assert torch.equal(many.level, alone.level)
    assert torch.equal(many.sigma, alone.sigma)


def test_an_error_in_a_thread_stops_the_others_and_is_raised(threads):
    threads(2)
    begun = []

    def work(stop):
        begun.append(stop)
        if len(begun) == 2:
            raise ValueError("row 7 is missing")
        assert stop.wait(10), "the other thread was not stopped"

    with pytest.raises(ValueError, match="row 7 is missing"):
        run_in_threads(work, 2)
    assert torch.get_num_threads() == 2


def test_each_thread_computes_on_one_core_and_the_setting_is_restored(threads):
    threads(3)
    seen = []
    for_each(lambda item: seen.append((item, torch.get_num_threads())), range(6), 3)
    assert sorted(seen) == [(item, 1) for item in range(6)]
    assert torch.get_num_threads() == 3
    number = []
    other = threading.Thread(target=lambda: number.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert number == [3], "new threads have the restored setting"
