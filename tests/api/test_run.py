import json
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import mrkd
from mrkd.errors import UserError
from mrkd.runs import run as stored
from tests.helpers.made_up_runs import make_run


@pytest.fixture(scope="module")
def run(trained_run) -> mrkd.Run:
    return mrkd.Run(trained_run)


@pytest.fixture
def image() -> Image.Image:
    return Image.effect_noise((50, 40), 60).convert("RGB")


def test_numbers_of_a_run_are_columns_and_curves_without_gaps(run):
    metrics = run.metrics
    assert metrics["step"].tolist() == [0, 1, 2, 3, 4]
    assert np.isnan(metrics["loss"]).tolist() == [True, False, False, False, False]
    steps, knn = run.curve("knn")
    rows = [row for row in stored.RunDirectory(run).metrics() if "knn" in row]
    assert steps.tolist() == [row["step"] for row in rows]
    assert knn.tolist() == [row["knn"] for row in rows]
    with pytest.raises(UserError, match=r"no metric 'los': did you mean 'loss'\?"):
        run.curve("los")


def test_pandas_makes_a_table_of_the_metrics(run):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(run.metrics)
    assert len(table) == 5
    assert {"step", "loss", "terms/rkd-distance/cls"} <= set(table.columns)


def test_settings_and_results_are_those_in_the_files(run):
    assert run.config == stored.RunDirectory(run).config()
    assert (run.method, run.seed, run.finished) == ("ibot+rkd-d", 0, True)
    assert run.summary["steps"] == 4
    assert run.evaluation is None


def test_a_run_says_in_short_what_it_is(run, tmp_path):
    assert repr(run) == f"Run({str(run.path)!r}: ibot+rkd-d on digits, 4 of 4 steps, healthy, finished)"
    shown = run._repr_html_()
    for fact in ("ibot+rkd-d", "digits", "4 of 4 steps", "% on held-out training images", "healthy: features use"):
        assert fact in shown
    unfinished = mrkd.Run(make_run(tmp_path / "<b>", finished=False))
    assert repr(unfinished).endswith("rkd-d on digits, 40 of 40 steps, healthy, stopped)")
    assert "<b>" not in unfinished._repr_html_()
    (unfinished / "metrics.jsonl").write_text("{\n")
    assert "damaged" in repr(unfinished)
    assert "damaged" in unfinished._repr_html_()


def test_there_must_be_a_run(tmp_path):
    with pytest.raises(UserError, match=r"no run at .*: expected a directory written by mrkd.pretrain"):
        mrkd.Run(tmp_path)


def test_the_backbone_and_the_transform_give_the_vectors_of_embed(run, image, tmp_path):
    model = run.backbone()
    assert not model.training
    with torch.no_grad():
        features = model(run.transform(image)[None]).numpy()
    np.testing.assert_allclose(run.embed(image).vectors, features, atol=1e-5)
    image.save(tmp_path / "x.png")
    assert torch.equal(run.transform(tmp_path / "x.png"), run.transform(image))


def test_timm_makes_the_same_transform_of_a_square_image(run, image):
    square = image.resize((32, 32))
    model = run.backbone(checkpoint="2")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    torch.testing.assert_close(transform(square), run.transform(square))


def test_attention_comes_as_arrays_and_as_a_figure(run, image):
    found = run.attention([image, image])
    assert found.heads.shape == (2, 2, *found.combined.shape[1:])
    np.testing.assert_allclose(found.combined.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    assert len(found.figure().axes) == 2 * 5  # image, two heads, their mean, the mask
    assert found._repr_png_().startswith(b"\x89PNG")


def test_results_are_written_and_read_again(run, tmp_path):
    own = mrkd.Run(shutil.copytree(run, tmp_path / "run"))
    results = own.evaluate(evaluation__finetune_epochs=0, evaluation__cluster_head_epochs=0, evaluation__map_images=0)
    assert own.evaluation == json.loads(json.dumps(results))
    assert own.report() == own / "report.html"
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        own.evaluate(epoch=1)
    with pytest.raises(UserError, match=r"evaluate takes settings of data and evaluation, got train\.epochs"):
        own.evaluate(epochs=77)
