"""The page in a real browser: open, zoom, move the slider, paint, save, open again."""

import json
import re
from contextlib import ExitStack

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.viewer.images import Images
from cosmicgate.viewer.static import export
from helpers.mask_command import run
from helpers.star_exposures import STARS, exposure, moved
from helpers.tiny_model import sky, tiny_model
from helpers.viewer import browser, opened_page, served, write_sky  # noqa: F401 (a fixture)

pytestmark = pytest.mark.slow
SHAPE = (300, 400)
FAINT = {(150, 200): 9.0, (150, 201): 11.0, (40, 60): 8.0, (250, 300): 10.0, (20, 350): 12.0}  # sigma above the sky


def scene(seed=0):
    """Simulate sky with two bright hits and faint ones, which only some thresholds find."""
    image = sky(SHAPE, seed)
    for place, sigmas in FAINT.items():
        image[place] = 100 + 5 * sigmas
    image[-1] = np.nan
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("night")
    for number in (0, 1):
        write_sky(folder / f"{number}.fits", scene(number))
    return folder


@pytest.fixture(scope="module")
def address(folder, model):
    with served(folder / "0.fits", folder / "1.fits", "-m", model, "-o", folder / "labels") as address:
        yield address


@pytest.fixture
def page(browser, address):  # noqa: F811
    page, faults = opened_page(browser, address)
    search(page)
    yield page
    page.close(run_before_unload=False)
    assert not faults


def search(page):
    if page.locator("#find").is_visible():
        page.click("#find")
    page.locator("#search").wait_for(state="hidden")


def save(page):
    press(page, "s")
    page.locator("#saved", has_text=re.compile("^Saved: ")).wait_for()


def count(page):
    """Read the numbers of hits and pixels."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    hits, _, pixels, _ = page.inner_text("#counts").replace(",", "").split()
    return int(hits), int(pixels)


def slide(page, name, part):
    """Move a slider to a part of its way, as the mouse does."""
    page.locator(name).evaluate(
        "(slider, part) => { slider.value = Number(slider.min) + part * (slider.max - slider.min);"
        " slider.dispatchEvent(new Event('input')); }",
        part,
    )


def press(page, *keys):
    page.focus("#image")
    for key in keys:
        page.keyboard.press(key)


def go_to(page, x, y):
    """Put the cursor on a pixel, counted from 0, by the keyboard."""
    press(page, *["Shift+ArrowLeft"] * 45, *["Shift+ArrowDown"] * 35, "w")
    keys = ["Shift+ArrowRight"] * (x // 10) + ["ArrowRight"] * (x % 10)
    press(page, *keys, *["Shift+ArrowUp"] * (y // 10), *["ArrowUp"] * (y % 10))
    page.get_by_text(f"x {x + 1}, y {y + 1}: ").first.wait_for()


def test_the_count_follows_threshold_growth_and_rate_as_the_masker_does(page, masker):
    image, seen = scene(), set()
    assert count(page)[1] == int(masker.mask(image).sum())
    for part in (0.1, 0.35, 0.6, 0.95):
        slide(page, "#threshold-slider", part)
        pixels = count(page)[1]
        assert pixels == int(masker.mask(image, float(page.input_value("#threshold"))).sum())
        seen.add(pixels)
    assert len(seen) > 2, "the slider changes the count"
    page.fill("#threshold", "0.3")
    slide(page, "#grow", 0.4)
    assert page.inner_text("#grow-value") == "2"
    assert count(page)[1] == int(masker.mask(image, 0.3, grow=2).sum())
    slide(page, "#rate-slider", 0.5)
    rate = 10 ** float(page.input_value("#rate-slider"))
    assert float(page.input_value("#threshold")) == pytest.approx(masker.card.threshold_at(rate), rel=1e-3)
    assert float(page.inner_text("#rate")) == pytest.approx(rate, rel=0.06)


def test_zoom_and_cursor_show_the_pixels_of_the_file(page):
    before = page.evaluate("() => view.scale")
    go_to(page, 133, 150)
    press(page, *["+"] * 8)
    assert page.evaluate("() => view.scale") > 10 * before
    page.get_by_text(f"x 134, y 151: {scene()[150, 133]:.6g}"[:17]).first.wait_for()
    painted = page.evaluate(
        "() => { const c = document.getElementById('image');"
        " const x = (133.5 - view.x) * view.scale + c.width / 2, y = c.height / 2 - (150.5 - view.y) * view.scale;"
        " return [...c.getContext('2d').getImageData(Math.round(x), Math.round(y), 1, 1).data].slice(0, 3); }"
    )
    assert painted[0] > 1.5 * painted[1], "a hit is red"


def test_a_click_in_the_list_goes_to_the_hit_and_sorting_changes_the_order(page):
    def rows():
        return [row.split("\t") for row in page.inner_text("#rows").splitlines()]

    ratios = [float(row[2]) for row in rows()]
    assert ratios == sorted(ratios, reverse=True)
    page.click("th button[data-key=size]")
    sizes = [int(row[1]) for row in rows()]
    assert sizes == sorted(sizes, reverse=True)
    page.locator("#rows button").first.click()
    x, y = (int(number) for number in rows()[0][0].split(","))
    page.get_by_text(f"x {x}, y {y}: ").first.wait_for()
    assert page.evaluate("() => [view.x, view.y]") == [x - 0.5, y - 0.5]


def test_what_is_painted_is_saved_and_there_again(browser, page, address, folder):  # noqa: F811
    page.select_option("#file", "1")
    page.locator("#state", has_text="1.fits, 400 x 300").wait_for()
    search(page)
    hits = count(page)[0]
    go_to(page, 50, 200)
    press(page, "b", "h", "Enter", "ArrowRight", "Enter")
    assert count(page) == (hits + 1, count(page)[1])
    press(page, "z", "z")
    assert count(page)[0] == hits
    press(page, "y", "y", "e", "f")
    go_to(page, 133, 150)
    press(page, "f", "Enter")
    assert count(page)[0] == hits, "one more by hand, one less of the network"
    go_to(page, 300, 200)
    press(page, "b", "u", "Enter")
    save(page)
    path = folder / "labels" / "1_truth.fits.fz"
    truth, touched = fits.getdata(path, "TRUTH"), fits.getdata(path, "TOUCHED")
    brush = np.zeros(SHAPE, bool)
    brush[199:202, 49:53] = True
    assert np.array_equal(touched == 1, brush)
    assert (truth[brush] == 1).all()
    assert (truth[touched == 2] != 1).all()
    assert touched[150, 133] == 2
    assert (truth[200, 299:302] == 3).all()
    assert (truth[-1] == 3).all(), "a row that was not searched"
    other, faults = opened_page(browser, address)
    other.select_option("#file", "1")
    other.locator("#state", has_text="1.fits, 400 x 300").wait_for()
    assert other.input_value("#source") == "saved"
    assert count(other) == count(page)
    assert not faults
    other.close(run_before_unload=False)


def test_labels_without_a_hit_are_shown_again_as_they_were_saved(browser, folder, model, tmp_path):  # noqa: F811
    assert run("mask", folder / "1.fits", "-m", model, "-o", tmp_path).exit_code == 0
    (tmp_path / "1.fits").symlink_to(folder / "1.fits")
    with served(tmp_path / "1.fits", "--blind") as address:
        page, _ = opened_page(browser, address)
        press(page, "b", "e", "Enter")
        save(page)
        page.close(run_before_unload=False)
    with served(tmp_path / "1.fits", "-m", model) as address:
        page, faults = opened_page(browser, address)
        assert page.input_value("#source") == "saved", "not the mask beside it"
        assert count(page) == (0, 0)
        assert not faults
        page.close(run_before_unload=False)


def test_the_mask_beside_a_file_keeps_its_threshold_also_if_its_network_is_that_of_a_run(browser, tmp_path):  # noqa: F811
    model = tiny_model(tmp_path / "runs", name="/data/runs/mine/last.ckpt")
    write_sky(tmp_path / "a.fits", scene())
    assert run("mask", tmp_path / "a.fits", "-m", model, "--threshold", 0.99, "--probability").exit_code == 0
    with served(tmp_path / "a.fits", "-m", model) as address:
        page, faults = opened_page(browser, address)
        page.locator("#source option[value=network]").wait_for(state="attached")
        assert float(page.input_value("#threshold")) == 0.99
        assert count(page)[1] == fits.getheader(tmp_path / "a_crmask.fits", "CRMASK")["CRHITPIX"]
        assert not faults
        page.close(run_before_unload=False)


def test_labels_made_just_before_saving_are_saved_and_those_made_while_saving_are_not_called_so(page, folder):
    page.select_option("#file", "1")
    page.locator("#state", has_text="1.fits, 400 x 300").wait_for()
    page.evaluate(
        "() => { const first = window.fetch; window.posts = 0;"
        " window.fetch = async (path, options) => { const answer = await first(path, options);"
        " if (path.endsWith('/labels') && !posts++) { brushAt(80, 60); save(); } return answer; };"
        " label = HIT; brushAt(60, 60); save(); }"  # no picture is drawn between the edit and saving
    )
    page.get_by_text("What was labelled since is not saved.").first.wait_for(state="attached")
    path = folder / "labels" / "1_truth.fits.fz"
    assert fits.getdata(path, "TRUTH")[60, [60, 80]].tolist() == [1, 0]
    assert page.evaluate("() => [now.unsaved, posts]") == [True, 1]
    save(page)
    page.wait_for_function("() => !now.unsaved")
    assert fits.getdata(path, "TRUTH")[60, [60, 80]].tolist() == [1, 1]


def test_flood_labels_the_bright_pixels_that_touch_the_cursor(page):
    page.click("[value=flood]")
    page.fill("#threshold", "0.9999")
    press(page, "h")
    go_to(page, 200, 150)
    press(page, "Enter")
    page.get_by_text("2 pixels: hit").first.wait_for(state="attached")
    assert (
        page.evaluate("() => [...now.edits].map((pixel) => [pixel % 400, Math.floor(pixel / 400)])").count([201, 150])
        == 1
    )
    press(page, "z")


def test_blinking_shows_the_cleaned_image_and_the_other_exposure(page):
    go_to(page, 133, 150)
    press(page, "x")
    page.wait_for_timeout(300)
    page.locator("#layer").wait_for()
    assert page.input_value("#layer") == "cleaned"
    page.get_by_text("x 134, y 151: ").first.wait_for()
    press(page, "x")
    assert page.input_value("#layer") == "image"
    page.select_option("#layer", "exposure 1")
    page.get_by_text(f"x 134, y 151: {scene(1)[150, 133]:.6g}"[:18]).first.wait_for()


def drawn(page):
    """Read the middle of the drawn image, as grey values from the first row on."""
    return np.array(
        page.evaluate(
            "() => { const c = document.getElementById('image'), s = 70, n = 2 * s;"
            " const d = c.getContext('2d').getImageData(c.width / 2 - s, c.height / 2 - s, n, n).data;"
            " return [...Array(n)].map((_, y) => [...Array(n)].map((_, x) => d[4 * (y * n + x) + 1])); }"
        ),
        float,
    )


@pytest.mark.parametrize("static", [False, True])
def test_a_turned_exposure_lies_on_the_image_and_one_of_another_field_is_named(browser, masker, tmp_path, static):  # noqa: F811
    turned = moved(STARS, 8.0, (6.0, -3.0))
    other = np.random.default_rng(6).uniform(12, 168, (30, 2))
    paths = [
        exposure(tmp_path / f"{name}.fits", places) for name, places in zip("abc", (STARS, turned, other), strict=True)
    ]
    with ExitStack() as stack:
        if static:
            export(Images(paths, None, masker), lambda *_: None).save(tmp_path / "out.html")
            address = (tmp_path / "out.html").as_uri()
        else:
            address = stack.enter_context(served(*paths, "--blind"))
        page, faults = opened_page(browser, address, 700, 700)
        page.evaluate("() => { $('mask-opacity').value = 0; cursor.x = cursor.y = 0; view.scale = 1; draw(); }")
        page.wait_for_timeout(300)
        image = drawn(page)
        page.select_option("#layer", "exposure 1")
        page.get_by_text("b.fits, aligned by its stars.").wait_for()
        page.wait_for_timeout(300)
        assert np.corrcoef(image.ravel(), drawn(page).ravel())[0, 1] > 0.8
        go_to(page, *np.rint(STARS[-1]).astype(int))
        value = float(page.inner_text("#readout").split(": ")[1].split(",")[0])
        assert value > 1000, "the brightest star of the other exposure is read at the place of the image's"
        page.select_option("#layer", "exposure 2")
        page.get_by_text("Not aligned, shown pixel on pixel: c.fits (a.fits: its header has no solved WCS").wait_for()
        assert not faults
        page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_every_control_has_a_name_and_nothing_overflows(browser, address, width):  # noqa: F811
    page, faults = opened_page(browser, address, width, 844)
    names = page.evaluate(
        "() => [...document.querySelectorAll('button, input, select, canvas')].map((one) => [one.id,"
        " (one.getAttribute('aria-label') || one.textContent"
        " || [...(one.labels || [])].map((label) => label.textContent).join()).trim()])"
    )
    assert [one for one, name in names if not name and one not in ("file",)] == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.locator("#frame").bounding_box()["width"] > 0.7 * width or width > 390
    assert not faults
    page.close()


def test_in_blind_mode_no_detector_is_shown_and_the_labels_say_so(browser, folder, tmp_path):  # noqa: F811
    with served(folder / "1.fits", "--blind", "-o", tmp_path) as address:
        page, faults = opened_page(browser, address)
        assert not page.locator("#find").is_visible()
        assert count(page) == (0, 0)
        press(page, "b", "h", "Enter")
        save(page)
        assert fits.getheader(tmp_path / "1_truth.fits.fz", "TRUTH")["CRBLIND"]
        assert not faults
        page.close(run_before_unload=False)


def test_a_page_without_a_server_has_slider_list_and_cleaned_image(browser, masker, tmp_path):  # noqa: F811
    image = scene()
    masker.view(image, threshold=0.6).save(tmp_path / "out.html")
    page, faults = opened_page(browser, (tmp_path / "out.html").as_uri(), 390, 844)
    assert count(page)[1] == int(masker.mask(image, 0.6).sum())
    slide(page, "#threshold-slider", 0.1)
    assert count(page)[1] == int(masker.mask(image, float(page.input_value("#threshold"))).sum())
    assert not page.locator("#save").is_visible()
    page.locator("#rows button").first.click()
    page.get_by_text("probability ").first.wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    values = page.evaluate("async () => [...(await source.level(0, 'cleaned', 0)).data].map((v) => v === v ? v : null)")
    assert np.nanmax(np.array(json.loads(json.dumps(values)), float)) < 170
    assert not faults
    page.close()
