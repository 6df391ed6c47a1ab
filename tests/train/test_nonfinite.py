"""Numbers that are not finite, and features that collapse, while a run trains."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import mrkd
from mrkd.errors import UserError
from mrkd.train.loop import Training
from mrkd.train.step import Learner
from tests.helpers.interruptions import assert_like, same, settings


def nan_at(monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...]) -> None:
    """Have iBOT's class term become NaN at these steps (counted from 1), with a gradient of NaN."""
    from mrkd.objective.loss_table import LOSSES

    true_term = LOSSES["ibot-cls"].value
    current = [0]
    true_take = Learner.training_step

    def take(learner: Learner, images: torch.Tensor, number: int) -> object:
        current[0] = number + 1
        return true_take(learner, images, number)

    def term(*arguments: object) -> torch.Tensor:
        value = true_term(*arguments)
        return value * torch.nan if current[0] in steps else value

    monkeypatch.setattr(Learner, "training_step", take)
    monkeypatch.setitem(LOSSES, "ibot-cls", dataclasses.replace(LOSSES["ibot-cls"], value=term))


def test_a_nan_stops_and_leaves_its_batch_and_the_run_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        nan_at(patch, (8,))
        with pytest.raises(UserError) as caught:
            mrkd.pretrain(settings(), tmp_path / "run")
    assert "the term ibot-cls became nan at step 8; last good checkpoint: step-00000006." in str(caught.value)
    batch = np.load(tmp_path / "run" / "nonfinite-step-00000008.npz", allow_pickle=False)
    assert batch["step"] == 8
    assert batch["image_index"].shape == (40,)
    assert {"torch_generator", "masks_generator", "term_names", "term_values"} <= set(batch)
    mrkd.pretrain(settings(), tmp_path / "run")
    assert_like(tmp_path / "run", mrkd.pretrain(settings(), tmp_path / "undisturbed"))


def test_skipped_steps_leave_every_weight_as_it_was_and_are_counted(tmp_path, monkeypatch):
    nan_at(monkeypatch, (4, 5))
    skip = settings(**{"train.on_nonfinite": "skip", "train.max_skipped_steps": 2})
    seen: dict[int, dict[str, object]] = {}
    true_save = Training._save_when_due

    def look(training: Training, best: bool) -> None:
        state = training.learner.state()
        optimizer = training.learner.optimizer.state_dict()["state"]
        seen[training.progress.step] = {
            "student": {k: v.clone() for k, v in state["student"].items()},
            "optimizer": {k: {n: t.clone() for n, t in v.items()} for k, v in optimizer.items()},
            "centre": state["objective"]["cls_center.center"].clone(),
        }
        true_save(training, best)

    monkeypatch.setattr(Training, "_save_when_due", look)
    path = mrkd.pretrain(skip, tmp_path / "run")
    assert same(seen[5], seen[3])
    assert not same(seen[6]["student"], seen[5]["student"])
    assert all(tensor.isfinite().all() for tensor in seen[max(seen)]["student"].values())  # type: ignore[attr-defined]
    assert json.loads((path / "summary.json").read_text())["skipped_steps"] == 2


def test_more_skipped_steps_than_stated_stop_the_run(tmp_path, monkeypatch):
    nan_at(monkeypatch, (4, 5, 6))
    skip = settings(**{"train.on_nonfinite": "skip", "train.max_skipped_steps": 2})
    with pytest.raises(UserError, match=r"at step 6; that is more than train\.max_skipped_steps = 2"):
        mrkd.pretrain(skip, tmp_path / "run")


def test_a_collapse_is_told_once_and_at_once_and_can_stop_the_run(tmp_path, capsys, monkeypatch):
    from mrkd.evaluation.collapse import Verdict

    monkeypatch.setattr("mrkd.train.loop.judge", lambda *_, **__: Verdict(kind="rank", sentence="collapse (rank): few"))
    mrkd.pretrain(settings(), tmp_path / "warned")
    assert capsys.readouterr().out.count("warning at step 1: collapse (rank)") == 1
    with pytest.raises(UserError, match="stopped at step 14: collapse"):
        mrkd.pretrain(settings(**{"train.on_collapse": "stop"}), tmp_path / "stopped")
