"""Attention, map and relations: what a click, a slider or a key shows, checked against the arrays of the runs."""

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys


def test_clicking_a_patch_shows_attention_from_there(page):
    page.view("attention")
    page.wait("return document.querySelector('#panel-attention .explorer')?.dataset.drawn === '1'")
    shown = '#panel-attention [data-method="rkd-d"] .cells figure:nth-child(2) canvas'
    token = page.pixels(shown)
    picker = page.find("#panel-attention [data-picker]")
    ActionChains(page.driver).move_to_element_with_offset(picker, -40, 30).click().perform()
    page.wait("return document.querySelector('#panel-attention .picker h3').textContent.includes('row')")
    page.wait("return document.querySelector('#panel-attention .explorer')?.dataset.drawn === '1'")
    patch = page.pixels(shown)
    assert patch != token
    heading = page.find("#panel-attention .picker h3").text
    page.control("attention-picker").send_keys(Keys.ARROW_RIGHT)
    assert page.find("#panel-attention .picker h3").text != heading
    page.control("attention-picker").send_keys(Keys.ESCAPE)
    assert page.find("#panel-attention .picker h3").text == "From the class token"


def test_the_slider_changes_the_mask_and_its_overlap_with_the_object(page):
    page.view("attention")
    page.control("attention-mode-mask").click()
    number = '#panel-attention [data-method="ibot"] .number'
    text = "return document.querySelector(arguments[0]).textContent"
    page.slide("attention-mass", 0.2)
    page.wait(f"{text}.includes('hold 20 %')".replace("return", "return ", 1), number)
    small = page.js(text, number)
    canvas = page.pixels('#panel-attention [data-method="ibot"] canvas')
    page.slide("attention-mass", 1)
    page.wait(f"{text}.includes('64 of 64 patches hold 100 %')", number)
    whole = page.js(text, number)
    assert page.pixels('#panel-attention [data-method="ibot"] canvas') != canvas
    assert "Jaccard with the object" in small
    assert small.split("Jaccard")[1] != whole.split("Jaccard")[1]


def test_the_overlap_of_the_full_mask_is_the_objects_fraction_of_the_image(page, trained):
    from mrkd.runs.npz import read_npz
    from mrkd.runs.run import ATTENTION

    share = 100 * read_npz(trained[0] / ATTENTION)["objects"][0].mean()
    page.view("attention")
    page.slide("attention-mass", 1)
    number = '#panel-attention [data-method="random"] .number'
    wanted = f"Jaccard with the object {share:.1f} %"
    page.wait("return document.querySelector(arguments[0]).textContent.includes(arguments[1])", number, wanted)


def test_all_images_of_a_method_are_drawn_on_one_sheet_and_saved(page):
    page.view("attention")
    page.control("attention-preset-sheet").click()
    page.wait("return document.querySelectorAll('#panel-attention .poster svg image').length === 3 * 5")
    kind, _, text = page.saved("SVG", "attention shapes ibot")
    assert kind == "image/svg+xml"
    assert text.startswith("<svg ")
    assert 'xmlns="http://www.w3.org/2000/svg"' in text
    for part in ("shapes · ibot seed 0", "8 × 8 patches", "maximum of the map"):
        assert part in text
    kind, size, _ = page.saved("PNG", "attention shapes ibot")
    assert kind == "image/png"
    assert size > 10_000


def test_attention_says_how_far_images_are_enlarged(page):
    page.view("attention")
    assert "8 × 8 patches where training had 4 × 4" in page.find("#panel-attention").text


def test_random_weights_are_shown_beside_every_jaccard_index(page):
    page.view("attention")
    table = page.find("#panel-attention table.jaccard").text
    assert "random weights" in table
    assert "rkd-d" in table


def test_a_point_of_the_map_shows_its_image_and_a_click_its_neighbours(page):
    page.view("map")
    page.wait("return document.querySelector('#panel-map .clouds')?.dataset.drawn === 'yes'")
    assert "of the 8 nearest neighbours share the class" in page.find("#panel-map .number").text
    cloud = page.control("map-cloud-rkd-d")
    cloud.send_keys(Keys.ARROW_RIGHT)
    page.wait("return !document.getElementById('tip').hidden && document.querySelector('#tip canvas')")
    first = page.find("#tip").text
    page.control("map-cloud-rkd-d").send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.find("#tip").text != first
    page.control("map-cloud-rkd-d").send_keys(Keys.ENTER)
    page.wait("return document.querySelectorAll('#panel-map .neighbours figure').length === 3 * 9")
    page.control("map-colour-cluster").click()
    page.wait("return document.querySelector('#panel-map .clouds')?.dataset.drawn === 'yes'")
    assert "cluster 1" in page.find("#panel-map .legend").text
    page.control("map-layout-pca").click()
    page.wait("return document.querySelector('#panel-map .number').textContent.includes('of the variance')")


def test_the_mouse_finds_points_of_the_map(page, trained):
    from mrkd.runs.npz import read_npz
    from mrkd.runs.run import EMBEDDING

    points = read_npz(trained[1] / EMBEDDING)["tsne"]
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    lonely = int(apart.min(axis=1).argmax())
    low, high = points.min(axis=0), points.max(axis=0)
    from_middle = (points[lonely] - (low + high) / 2) / (high - low).max() * (640 - 2 * 22) / 640
    page.view("map")
    page.wait("return document.querySelector('#panel-map .clouds')?.dataset.drawn === 'yes'")
    cloud = page.control("map-cloud-ibot")
    page.js("arguments[0].scrollIntoView({block: 'center'})", cloud)
    across, up = (from_middle * cloud.size["width"]).round()
    place = ActionChains(page.driver).move_to_element_with_offset(cloud, int(across), int(-up))
    place.perform()
    assert f"image {lonely + 1} " in page.find("#tip").text
    place.click().perform()
    page.wait("return document.querySelectorAll('#panel-map .neighbours figure').length === 3 * 9")


def test_relations_are_shown_early_and_late(page, trained):
    from mrkd.runs.npz import read_npz
    from mrkd.runs.run import RELATIONS

    page.view("relations")
    page.control("relations-method-rkd-d").click()
    page.wait("return document.querySelectorAll('#panel-relations .moment[data-drawn]').length === 2")
    assert "distance 0\n2.2 times the mean, or more" in page.find("#panel-relations .scales").text
    assert "shapes · rkd-d seed 0" in page.saved("SVG", "relations")[2]
    arrays = read_npz(trained[-1] / RELATIONS)
    for name, moment in (("Early", 0), ("Late", -1)):
        wanted = np.corrcoef(arrays["teacher"][moment], arrays["student"][moment])[0, 1]
        text = page.find(f'#panel-relations [data-moment="{name}"]').text
        assert f"Correlation of distances {wanted:.3f}" in text
    page.slide("relations-Early", 1)
    page.wait("return document.querySelector('#panel-relations .moment h3').textContent === 'Early: step 2'")


def test_the_losses_below_the_relations_equal_those_of_training(page, trained):
    import torch

    from mrkd.runs.npz import read_npz
    from mrkd.runs.run import RELATIONS
    from tests.helpers.explicit_relations import explicit_angle, explicit_distance

    arrays = read_npz(trained[-1] / RELATIONS)
    images = arrays["views"].shape[1]
    sides = []
    for side in ("student", "teacher"):  # any points with these distances do: classical scaling gives some
        squared = torch.zeros(images, images, dtype=torch.float64)
        pairs = torch.from_numpy(arrays[side][-1].astype("float64"))
        squared[tuple(torch.triu_indices(images, images, 1))] = pairs**2
        centring = torch.eye(images, dtype=torch.float64) - 1 / images
        values, vectors = torch.linalg.eigh(-0.5 * centring @ (squared + squared.T) @ centring)
        sides.append(vectors * values.clamp(min=0).sqrt())
    page.view("relations")
    page.control("relations-method-rkd-d").click()
    page.wait("return document.querySelectorAll('#panel-relations .moment[data-drawn]').length === 2")
    text = page.find('#panel-relations [data-moment="Late"]').text
    shown = [float(part.split()[1]) for part in text.split(" · ")[1:3]]
    assert shown[0] == pytest.approx(explicit_distance(*sides).item(), rel=0.01)
    assert shown[1] == pytest.approx(explicit_angle(*sides).item(), rel=0.01)
