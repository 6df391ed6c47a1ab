from pathlib import Path

import pytest

from mrkd.config.keys import known_keys
from mrkd.config.overrides import (
    build,
)
from mrkd.errors import UserError


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("train.seed", [0, 2**32 - 1], [-1, 2**32]),
        ("train.monitor_images", [10], [9, 0, -1]),
        ("train.monitor_times", [1], [0, -1]),
        ("train.micro_batch", [1], [0]),
        ("train.steps", [1], [0]),
        ("train.max_skipped_steps", [0], [-1]),
        ("evaluation.seed", [0], [-1, 2**32]),
        ("evaluation.k", [1], [0]),
        ("evaluation.knn_temperature", [0.01], [0, -0.1]),
        ("evaluation.linear_strengths", [[0.1]], [[], [0.1, 0.0], [-1.0]]),
        ("evaluation.linear_epochs", [[1]], [[], [0], [10, -1]]),
        ("evaluation.linear_batch", [1], [0]),
        ("evaluation.linear_learning_rates", [[0.1]], [[], [0.1, 0.0], [-1.0]]),
        ("evaluation.finetune_epochs", [0], [-1]),
        ("evaluation.finetune_batch", [1], [0]),
        ("evaluation.finetune_learning_rates", [[0.1]], [[], [0.0]]),
        ("evaluation.augmentation_crop_scale", [[0.1, 1]], [[0, 1], [0.9, 0.1], [0.5, 1.1]]),
        ("evaluation.augmentation_crop_ratio", [[1, 1]], [[0, 1], [2, 1]]),
        ("evaluation.augmentation_flip", [0, 1], [-0.1, 1.1]),
        ("evaluation.augmentation_rotate_degrees", [0], [-1]),
        ("evaluation.augmentation_jitter", [0, 1], [-0.1, 1.1]),
        ("evaluation.augmentation_brightness", [0], [-0.1]),
        ("evaluation.augmentation_contrast", [0], [-0.1]),
        ("evaluation.cluster_restarts", [1], [0]),
        ("evaluation.cluster_head_epochs", [0], [-1]),
        ("evaluation.heldout_fraction", [0.01, 0.5], [0, 0.005, 0.51, 1]),
        ("optim.clip", [0], [-1]),
        ("optim.weight_decay", [0], [-0.1]),
        ("optim.final_weight_decay", [0], [-0.1]),
        ("optim.final_learning_rate", [0], [-1e-6]),
        ("optim.muon_rate_factor", [0.1], [0, -1]),
        ("optim.betas", [[0, 0]], [[1.0, 0.9], [0.9, -0.1]]),
        ("views.brightness", [0], [-0.1]),
        ("views.contrast", [0], [-0.1]),
        ("views.saturation", [0], [-0.1]),
        ("views.hue", [0, 0.5], [-0.1, 0.6]),
        ("views.jitter", [0, 1], [-0.1, 1.1]),
        ("views.grey", [0, 1], [-0.1, 1.1]),
        ("views.blur", [0, 1], [-0.1, 1.1]),
        ("views.rotate_degrees", [0], [-1]),
        ("views.crop_ratio", [[1, 1]], [[0, 1], [2, 1]]),
        ("views.local_size", [1], [0]),
        ("data.max_resident_gib", [0], [-1]),
        ("distillation.teacher_temperature_warmup", [0, 1], [-0.1, 1.1]),
        ("distillation.center_momentum", [0, 1], [-0.1, 1.1]),
        ("distillation.sinkhorn_iterations", [1], [0]),
    ],
)
def test_numbers_out_of_bounds_are_refused_with_the_bounds(key, good, bad):
    for value in good:
        build({key: value})
    for value in bad:
        with pytest.raises(UserError, match=rf"^{key} must .*, got .+") as refusal:
            build({key: value})
        assert "\n" not in str(refusal.value)


def test_the_monitor_needs_at_least_one_held_out_image():
    build({"train.monitor_images": 20, "evaluation.heldout_fraction": 0.05})
    with pytest.raises(UserError, match=r"train.monitor_images must be at least 20 with .*heldout_fraction 0.05"):
        build({"train.monitor_images": 19, "evaluation.heldout_fraction": 0.05})


def test_every_setting_has_a_docstring_below_it():
    import ast

    import mrkd.config

    files = Path(mrkd.config.__file__).parent.rglob("*.py")
    named = [node for path in files for node in ast.parse(path.read_text(encoding="utf-8")).body]
    named = [node for node in named if isinstance(node, ast.ClassDef) and node.name != "Config"]
    classes = [node for node in named if node.name == "Term" or node.name.endswith("Config")]
    assert len(classes) == 13
    for node in classes:
        for field, following in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign):
                assert isinstance(following, ast.Expr), f"{node.name}.{ast.unparse(field.target)} has no docstring"
    assert "train.epochs" in known_keys()
