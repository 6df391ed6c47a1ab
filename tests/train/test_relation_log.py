import dataclasses

import numpy as np
import torch

from mrkd.config import Config
from mrkd.data.load import load
from mrkd.model.teacher_student import TeacherStudent
from mrkd.objective.checks import needs_of
from mrkd.objective.resolve import resolve_terms
from mrkd.runs.npz import read_npz
from mrkd.runs.run import RELATIONS
from mrkd.train.pretrain import pretrain
from mrkd.train.relation_log import RelationLog


def with_images(config: Config, count: int) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, relation_images=count))


def seen(config: Config, folder):
    torch.manual_seed(1)
    pair = TeacherStudent(config, needs_of(resolve_terms(config.objective)))
    return RelationLog(load(config.data).train, config, pair.grid, folder), pair


def test_a_run_keeps_relations_at_every_monitoring(tiny_config, tmp_path):
    arrays = read_npz(pretrain(with_images(tiny_config, 12), tmp_path / "run") / RELATIONS)
    assert arrays["steps"].tolist() == [0, 2, 4]
    assert arrays["teacher"].shape == arrays["student"].shape == (3, 66)
    assert arrays["views"].shape == (2, 12, 3, 32, 32)
    assert (np.diff(arrays["labels"]) >= 0).all()
    assert not np.allclose(arrays["student"][0], arrays["student"][-1])


def test_keeping_relations_changes_nothing_in_training(tiny_config, tmp_path):
    with_them = pretrain(tiny_config, tmp_path / "a") / "backbone.safetensors"
    without = pretrain(with_images(tiny_config, 0), tmp_path / "b") / "backbone.safetensors"
    assert with_them.read_bytes() == without.read_bytes()
    assert not (tmp_path / "b" / RELATIONS).exists()


def test_networks_of_equal_weights_disagree_only_by_views_and_masks(tiny_config, tmp_path):
    config = dataclasses.replace(tiny_config, mask=dataclasses.replace(tiny_config.mask, ratio=(0.0, 0.0)))
    relations, pair = seen(with_images(config, 6), tmp_path)
    relations.views = relations.views[:1].expand(2, -1, -1, -1, -1)
    relations.keep(pair, 0)
    arrays = read_npz(tmp_path / RELATIONS)
    assert np.allclose(arrays["teacher"], arrays["student"], atol=1e-5)


def test_rows_of_other_images_from_before_a_resume_are_not_mixed_with_new_ones(tiny_config, tmp_path):
    relations, pair = seen(with_images(tiny_config, 6), tmp_path)
    for step in (0, 4):
        relations.keep(pair, step)
    again, pair = seen(with_images(tiny_config, 6), tmp_path)
    again.keep(pair, 8)
    assert read_npz(tmp_path / RELATIONS)["steps"].tolist() == [0, 4, 8]
    more, pair = seen(with_images(tiny_config, 8), tmp_path)
    more.keep(pair, 12)
    arrays = read_npz(tmp_path / RELATIONS)
    assert arrays["steps"].tolist() == [12]
    assert arrays["teacher"].shape == (1, 28)


def test_steps_after_a_resume_replace_those_that_were_lost(tiny_config, tmp_path):
    relations, pair = seen(with_images(tiny_config, 6), tmp_path)
    for step in (0, 4, 8, 4):
        relations.keep(pair, step)
    assert read_npz(tmp_path / RELATIONS)["steps"].tolist() == [0, 4]
    relations.keep(pair, 0)
    assert read_npz(tmp_path / RELATIONS)["steps"].tolist() == [0]
