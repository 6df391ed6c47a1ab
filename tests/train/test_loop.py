import dataclasses
import json
import re

import pytest
import torch

import mrkd
from mrkd.config import Config, ObjectiveConfig
from mrkd.errors import UserError
from mrkd.runs.checkpoint import Checkpoints
from mrkd.runs.run import RunDirectory


def with_method(config: Config, method: str, **objective: object) -> Config:
    return dataclasses.replace(config, objective=ObjectiveConfig(method=method, **objective))


@pytest.mark.parametrize(
    "method", ["random", "ibot", "rkd-d", "rkd-a", "structural", "ibot+rkd-d", "vicreg", "attention", "fitnet"]
)
def test_every_method_trains_and_leaves_a_complete_run(tiny_config, tmp_path, method):
    path = mrkd.pretrain(with_method(tiny_config, method), tmp_path / "run")
    run = RunDirectory.open(path)
    rows = run.metrics()
    assert (path / "backbone.safetensors").is_file()
    found = Checkpoints(path / "checkpoints", keep=2).newest()
    assert found is not None
    assert found[1]["step"] == rows[-1]["step"]
    if method != "random":
        assert rows[-1]["step"] == 4
        assert {"loss", "terms", "relation_distance", "relation_correlation", "verdict"} <= set(rows[-1])
    if "ibot" in method:
        assert {"agreement", "teacher_entropy"} <= set(rows[-1])
    assert {"knn", "rankme", "feature_std"} <= set(rows[0])


def test_relations_on_logits_train_as_the_posters_setting_asks(tiny_config, tmp_path):
    config = with_method(tiny_config, "ibot+rkd-d", relation_space="logits")
    assert mrkd.pretrain(config, tmp_path / "run").is_dir()


def test_one_seed_gives_one_result(tiny_config, tmp_path):
    def last_loss(name: str) -> float:
        return RunDirectory.open(mrkd.pretrain(with_method(tiny_config, "rkd-a"), tmp_path / name)).metrics()[-1][
            "loss"
        ]

    assert last_loss("a") == last_loss("b")


def test_a_directory_that_holds_another_run_is_left_alone(tiny_config, tmp_path):
    path = mrkd.pretrain(with_method(tiny_config, "random"), tmp_path / "run")
    before = sorted(entry.name for entry in path.iterdir())
    with pytest.raises(UserError, match="already holds a finished run"):
        mrkd.pretrain(tiny_config, path)
    assert sorted(entry.name for entry in path.iterdir()) == before


def test_evaluation_attention_and_report_complete_a_run(tiny_config, tmp_path):
    path = mrkd.pretrain(with_method(tiny_config, "rkd-d"), tmp_path / "<run>")
    results = mrkd.evaluate(path)
    assert json.loads((path / "evaluation.json").read_text()) == results
    assert {"knn", "linear", "finetune", "kmeans", "cluster_head", "health", "data"} <= set(results)
    assert results["knn"]["protocol"] == {"k": 20, "temperature": 0.07, "distance": "cosine"}
    assert mrkd.attend(path).stat().st_size > 5000
    page = mrkd.report(path).read_text()
    assert "&lt;run&gt;" in page
    assert "<run>" not in page
    assert not re.search(r"""(src|href|action)\s*=\s*["']?(https?:)?//""", page)


def test_an_unlabelled_folder_trains_and_refuses_evaluation(tiny_config, tmp_path):
    from PIL import Image

    for number in range(60):
        Image.effect_noise((32, 32), 10 + number).convert("RGB").save(tmp_path / f"{number}.png")
    data = dataclasses.replace(tiny_config.data, source=str(tmp_path))
    config = dataclasses.replace(with_method(tiny_config, "rkd-d"), data=data)
    path = mrkd.pretrain(config, tmp_path.parent / f"{tmp_path.name}-run")
    assert "knn" not in RunDirectory.open(path).metrics()[-1]
    with pytest.raises(UserError, match="no test split, and no labels"):
        mrkd.evaluate(path)


def test_a_diverging_loss_is_refused_with_the_name_of_its_term(tiny_config, tmp_path, monkeypatch):
    from mrkd.objective.loss_table import LOSSES

    nan = dataclasses.replace(LOSSES["koleo"], value=lambda *_: torch.tensor(torch.nan, requires_grad=True))
    monkeypatch.setitem(LOSSES, "koleo", nan)
    with pytest.raises(UserError, match="the term koleo became nan at step 1"):
        mrkd.pretrain(with_method(tiny_config, "ibot", koleo=0.1), tmp_path / "run")


@pytest.mark.parametrize("micro_batch", [None, 16])
def test_shares_and_parts_go_back_through_the_network_in_mixed_precision_too(tiny_config, tmp_path, micro_batch):
    config = with_method(tiny_config, "ibot+rkd-d", relation_grad_norm_ratio=0.5)
    train = dataclasses.replace(config.train, precision="bf16-mixed", micro_batch=micro_batch)
    rows = RunDirectory.open(mrkd.pretrain(dataclasses.replace(config, train=train), tmp_path / "run")).metrics()
    assert rows[-1]["gradient_norm"] > 0


@pytest.mark.slow
def test_a_compiled_run_trains_as_a_plain_one(tiny_config, tmp_path, capfd):
    losses = []
    for compiled in (False, True):
        config = dataclasses.replace(tiny_config, train=dataclasses.replace(tiny_config.train, compile=compiled))
        losses.append(
            [row["loss"] for row in RunDirectory.open(mrkd.pretrain(config, tmp_path / str(compiled))).metrics()[1:]]
        )
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert "its compilation took" in capfd.readouterr().out


@pytest.mark.slow
def test_relations_alone_teach_digits_far_beyond_random_weights(tmp_path):
    config = mrkd.load_config("quick", objective__method="rkd-d", train__epochs=20, data__holdout="validation")
    rows = RunDirectory.open(mrkd.pretrain(config, tmp_path / "run")).metrics()
    assert rows[-1]["knn"] > rows[0]["knn"] + 10


@pytest.mark.slow
def test_a_small_vit_learns_beyond_random_weights_on_cifar10(cifar10, tmp_path):
    config = mrkd.load_config(
        "cifar10",
        data__source=str(cifar10),
        data__train_images=4000,
        data__test_images=1000,
        model__name=None,
        model__width=96,
        model__depth=3,
        model__heads=3,
        views__local_views=0,
        train__batch=128,
        train__epochs=8,
        objective__method="rkd-d",
        optim__learning_rate=0.004,
    )
    rows = RunDirectory.open(mrkd.pretrain(config, tmp_path / "run")).metrics()
    assert rows[-1]["knn"] > rows[0]["knn"] + 1
