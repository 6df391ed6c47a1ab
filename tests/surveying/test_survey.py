"""`mrkd data`: what is found in a folder of odd images, and what is drawn of it."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from mrkd.cli import main
from mrkd.config.overrides import build
from mrkd.errors import UserError
from mrkd.surveying import survey
from mrkd.surveying.facts import describe
from tests.helpers.sources import fill, labelled_parquet


@pytest.fixture
def photographs(tmp_path):
    """Two classes of noise, with a copy, a white image, a broken one and a grey one among them."""
    root = tmp_path / "photographs"
    rng = np.random.default_rng(0)
    for name, count in (("cats", 12), ("dogs", 9)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (20, 16 + number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    (root / "cats" / "copy.png").write_bytes((root / "cats" / "0.png").read_bytes())
    (root / "cats" / "broken.jpg").write_bytes(b"nothing")
    Image.new("L", (50, 40), 255).save(root / "dogs" / "white.gif")
    return root


def settings(source, **more):
    return build({"data.source": str(source), "data.size": 16, "model.patch": 4, "views.local_size": 8, **more})


def test_everything_worth_knowing_is_found(photographs, tmp_path):
    facts = survey(settings(photographs, **{"data.use_labels": False}), tmp_path / "out")
    assert facts == json.loads((tmp_path / "out" / "data.json").read_text())
    assert facts["images"] == {"train": 24}
    assert facts["broken"] == ["cats/broken.jpg"]
    assert facts["duplicates"] == [["cats/copy.png", "cats/0.png"]]
    assert facts["near_empty"] == ["dogs/white.gif"]
    assert facts["formats"] == {"PNG": 22, "GIF": 1}
    assert facts["width"] == {"min": 16, "median": 21, "max": 50}
    assert 0.4 < facts["channel_mean"][0] < 0.6
    text = "\n".join(describe(facts))
    assert "broken      1: cats/broken.jpg" in text
    assert "classes     none found" in text
    for name in ("images.png", "views.png"):
        assert np.asarray(Image.open(tmp_path / "out" / name)).std() > 10


def test_classes_are_counted_and_test_images_seen_in_training_are_told(photographs, tmp_path):
    facts = survey(settings(photographs), tmp_path / "out")
    counts = {name: facts["classes"]["train"][name] + facts["classes"]["test"][name] for name in ("cats", "dogs")}
    assert counts == {"cats": 14, "dogs": 10}
    for name in ("train", "test"):
        (tmp_path / "split" / name).mkdir(parents=True)
        (tmp_path / "split" / name / f"{name}.png").write_bytes((photographs / "cats" / "0.png").read_bytes())
    leaking = survey(settings(tmp_path / "split"), tmp_path / "out")
    assert leaking["test_images_in_train"] == [["test.png", "train.png"]]
    assert "leaks       1: test test.png = train train.png" in describe(leaking)


def test_the_verb_prints_the_facts_and_where_the_pictures_are(photographs, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["data", str(photographs), "--size", "16", "--patch", "4", "--views.local_views", "1", "--out", str(out)]
    assert main([*line, "--views.local_size", "8"]) == 0
    printed = capsys.readouterr().out
    assert "images      train 19 · test 5" in printed
    assert str(out / "views.png") in printed
    assert main([*line, "--data", "digits"]) == 2
    assert "name the images once" in capsys.readouterr().err
    assert main([*line[:3], "17", *line[4:]]) == 2
    assert "data.size must be a multiple of the patch size 4, got 17" in capsys.readouterr().err


def test_a_folder_without_a_readable_image_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"can be read .first: a.png"):
        survey(settings(tmp_path / "images"), tmp_path / "out")


@pytest.mark.parametrize("out", ["photographs", "photographs/cats/new", "elsewhere/../photographs/x", "link/x"])
def test_nothing_is_drawn_into_the_folder_of_the_images(photographs, tmp_path, out):
    (tmp_path / "link").symlink_to(photographs)
    before = sorted(photographs.rglob("*"))
    with pytest.raises(UserError, match="--out must lie outside the images' folder"):
        survey(settings(photographs), tmp_path / out)
    assert sorted(photographs.rglob("*")) == before


SMALL = ["--size", "16", "--patch", "4", "--views.local_views", "1", "--views.local_size", "8"]


def test_the_default_folder_is_named_after_the_images_and_not_put_among_them(photographs, monkeypatch, capsys):
    monkeypatch.chdir(photographs)
    assert main(["data", ".", *SMALL]) == 2
    error = capsys.readouterr().err
    assert f"--out must lie outside the images' folder {photographs}, got runs/data-photographs, " in error
    assert not (photographs / "runs").exists()
    monkeypatch.chdir(photographs.parent)
    assert main(["data", "photographs/cats/..", *SMALL]) == 0
    assert (photographs.parent / "runs" / "data-photographs" / "images.png").is_file()


def test_each_split_is_said_to_be_labelled_or_not_and_which_classes_it_has_alone(tmp_path):
    fill(tmp_path / "images", "train/a", "train/b", "val/b", "val/c", "test")
    facts = survey(settings(tmp_path / "images"), tmp_path / "out")
    lines = describe(facts)
    assert "split       train: 10 images, labelled, trained on" in lines
    assert "split       validation: 10 images, labelled, scored" in lines
    assert "split       test: 5 images, unlabelled (they lie in no class folders), left alone" in lines
    assert "train only  1: a" in lines
    assert "validation only 1: c" in lines
    assert "note        no training image has these classes, which are scored: c" in lines
    assert facts["splits"]["test"]["labelled"] == 0


def test_what_cannot_be_evaluated_is_said(tmp_path):
    fill(tmp_path / "images", "train/a", "train/b", "test/unknown")
    facts = survey(settings(tmp_path / "images"), tmp_path / "out")
    (line,) = [line for line in describe(facts) if "no evaluation will be possible" in line]
    assert "test images are unlabelled" in line


def test_class_names_with_dollars_and_bytes_that_are_no_utf_8_are_drawn_as_they_are(tmp_path, capsys):
    fill(tmp_path / "images", "a$x_{", "b$")
    folder = bytes(tmp_path / "images") + b"/caf\xe9"
    os.mkdir(folder)
    for number in range(5):
        os.link(tmp_path / "images/b$/0.png", folder + b"/%d.png" % number)
    line = ["data", str(tmp_path / "images"), *SMALL, "--out", str(tmp_path / "out")]
    assert main(line) == 0
    assert "a$x_{ 5, b$ 5, caf\\xe9 5" in capsys.readouterr().out
    assert (tmp_path / "out" / "images.png").is_file()


def test_unlabelled_images_among_others_are_counted(tmp_path):
    survey_of = settings(labelled_parquet(tmp_path / "images" / "x.parquet", ["a", "b", None] * 10))
    lines = describe(survey(survey_of, tmp_path / "out"))
    assert (
        "split       train: 30 images, 20 labelled (the label is null in 10), trained on, except 4 set aside" in lines
    )


@pytest.mark.parametrize(("broken", "said"), [(0, False), (4, True)])
def test_more_broken_images_than_training_takes_are_told(tmp_path, broken, said):
    fill(tmp_path / "photos", "a", "b", each=10)
    for number in range(broken):
        (tmp_path / "photos" / "a" / f"broken-{number}.png").write_bytes(b"nothing")
    facts = survey(settings(tmp_path / "photos"), tmp_path / "out")
    assert any("training will refuse the train images" in line for line in describe(facts)) is said
