"""Batch and length of a run where they are left to the machine."""

import dataclasses
import math
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import mrkd.train.autotune as budget
from mrkd.config import Config
from mrkd.config.overrides import build, load_recipe
from mrkd.data.dataset import Batch
from mrkd.data.load import load
from mrkd.errors import UserError
from mrkd.runs.run import SUMMARY, RunDirectory
from mrkd.studies.compare import compare
from mrkd.system.files import read_json
from mrkd.train.pretrain import pretrain


def changed(config: Config, section: str = "train", **changes: object) -> Config:
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **changes)})


@pytest.mark.parametrize(
    ("images", "most", "batch"),
    [(5, 256, 4), (40, 256, 16), (300, 256, 32), (1438, 256, 64), (50_000, 256, 256), (50_000, 4096, 2048)],
)
def test_an_automatic_batch_is_a_power_of_two_that_leaves_sixteen_steps_in_a_pass(images, most, batch):
    assert budget.batch_limit(images, most) == batch


def test_the_word_auto_is_a_batch_and_a_number_above_it_wins():
    assert build({"train.batch": "auto"}).train.auto_batch
    assert build({**load_recipe("photos"), "train.batch": "64"}).train.batch == 64


def test_an_automatic_batch_is_stored_as_a_number_and_the_same_command_finds_the_run(tiny_config, tmp_path, capsys):
    config = changed(tiny_config, auto_batch=True)
    pretrain(config, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "batch 32: a power of two, at most 256, for 16 steps or more in a pass over 200 images" in printed
    assert "learning rate 0.016 x batch 32 / 256 = 0.002 at its peak" in printed
    stored = RunDirectory(tmp_path / "run").config().train
    assert (stored.auto_batch, stored.batch) == (False, 32)
    pretrain(config, tmp_path / "run")
    assert "is finished" in capsys.readouterr().out


@pytest.mark.slow
def test_the_schedule_fits_the_minutes_and_is_that_of_so_many_steps(tiny_config, tmp_path, capsys, monkeypatch):
    true_time = budget._time_steps

    def half_a_minute(*trial: object) -> float:
        true_time(*trial)  # the steps are taken, but how long they last depends on the machine
        return 30.0

    monkeypatch.setattr(budget, "_time_steps", half_a_minute)
    config = changed(tiny_config, minutes=12.0, monitor_times=1, log_steps=5)
    pretrain(config, tmp_path / "minutes")
    run = RunDirectory(tmp_path / "minutes")
    steps = run.config().train.steps
    assert f"steps {steps}: " in capsys.readouterr().out
    assert run.config().train.minutes is None
    assert read_json(run.path / SUMMARY)["steps"] == steps
    assert 10 <= steps <= 22  # 95 % of 24, less what loading and measuring took
    assert run.metrics()[-1]["learning_rate"] == pytest.approx(config.optim.final_learning_rate, rel=1e-3)
    # Trying steps beforehand leaves no trace.
    pretrain(changed(config, minutes=None, steps=steps), tmp_path / "steps")
    losses = [[row.get("loss") for row in RunDirectory(tmp_path / name).metrics()] for name in ("minutes", "steps")]
    assert losses[0] == losses[1]


def test_a_steps_time_holds_the_wait_for_images_that_are_decoded_meanwhile(tiny_config):
    class SlowDataset:
        batches_ahead = 3

        def __len__(self):
            return 200

        def batches(self, order, local):
            for number, indices in enumerate(order):
                time.sleep(0.0 if number < self.batches_ahead else 0.03)
                yield Batch(indices, indices[local])

    class Idle:
        def training_step(self, images, step):
            return SimpleNamespace(losses=SimpleNamespace(total=torch.zeros(())))

    fabric = SimpleNamespace(broadcast=lambda count: count)
    seconds = budget._time_steps(Idle(), SlowDataset(), tiny_config, fabric)
    assert seconds >= 0.03


def test_a_run_that_goes_on_keeps_what_was_chosen(tiny_config, tmp_path):
    RunDirectory.start(tmp_path, changed(tiny_config, steps=123, batch=64)).close()
    again = budget.recall(changed(tiny_config, minutes=3.0, auto_batch=True), tmp_path)
    assert again == changed(tiny_config, steps=123, batch=64)
    RunDirectory(tmp_path).check(again)


def test_a_run_of_epochs_is_not_taken_for_one_of_minutes(tiny_config, tmp_path):
    RunDirectory.start(tmp_path, tiny_config).close()
    with pytest.raises(UserError, match=r"train.minutes: None → 3.0"):
        pretrain(changed(tiny_config, minutes=3.0), tmp_path)


def test_a_time_too_short_for_steps_is_refused(tiny_config, tmp_path):
    with pytest.raises(UserError, match=r"train.minutes = 0.001 is too short: .* a step takes"):
        pretrain(changed(tiny_config, minutes=0.001), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def on_a_gpu(config: Config, monkeypatch: pytest.MonkeyPatch, largest: int) -> tuple[int, str]:
    """The batch chosen on a device that would hold `largest` images."""
    monkeypatch.setattr(budget, "_fits", lambda config, *rest: config.train.batch <= largest)
    monkeypatch.setattr(budget, "sample_in_memory", lambda dataset, count: None)

    class ManyImages:
        def __len__(self) -> int:
            return 20_000

    return budget._choose_batch(config, ("a term",), ManyImages(), SimpleNamespace(device=torch.device("cuda")))


def test_on_a_gpu_the_batch_grows_until_the_memory_is_full_or_the_rule_ends_it(tiny_config, monkeypatch):
    assert on_a_gpu(tiny_config, monkeypatch, 300) == (256, "512 would take more than 90% of the device's memory")
    assert on_a_gpu(tiny_config, monkeypatch, 10**6)[0] == 1024
    with pytest.raises(UserError, match="with several, give a number"):
        on_a_gpu(changed(tiny_config, devices=2), monkeypatch, 300)


def test_running_out_of_memory_means_that_the_batch_does_not_fit(tiny_config, monkeypatch):
    class Full:
        def __init__(self, *rest: object, **named: object) -> None:
            raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(budget, "Learner", Full)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    images = load(tiny_config.data).train
    assert not budget._fits(tiny_config, (), images, SimpleNamespace(device=torch.device("cuda")))


@pytest.mark.usefixtures("trains_in_this_process", "without_figures")
def test_compare_refuses_minutes_and_gives_all_methods_one_automatic_batch(tiny_config, tmp_path, capsys):
    with pytest.raises(UserError, match="the same length for all"):
        compare(changed(tiny_config, minutes=1.0), ["rkd-d"], [0], tmp_path / "out")
    automatic = changed(changed(tiny_config, auto_batch=True), "evaluation", finetune_epochs=0)
    compare(automatic, ["random"], [0], tmp_path / "out")
    assert "batch 32 for all, by the number of images, 200" in capsys.readouterr().out
    assert RunDirectory(tmp_path / "out" / "runs" / "random-seed0").config().train.batch == 32
    compare(automatic, ["random"], [0], tmp_path / "out")
    assert "finished before, kept" in capsys.readouterr().out


def test_training_starts_from_weights_and_goes_on_without_their_file(tiny_config, tmp_path):
    pretrain(tiny_config, tmp_path / "first")
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((tmp_path / "first" / "backbone.safetensors").read_bytes())
    start = changed(tiny_config, "model", weights=str(weights))
    start = changed(start, "objective", method="random")
    pretrain(start, tmp_path / "second")
    from safetensors.torch import load_file

    first, second = (load_file(tmp_path / name / "backbone.safetensors") for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    (tmp_path / "second" / SUMMARY).unlink()
    weights.unlink()
    pretrain(start, tmp_path / "second")
    assert (tmp_path / "second" / SUMMARY).is_file()
    with pytest.raises(UserError, match=r"model.weights must be an existing file"):
        pretrain(start, tmp_path / "third")


def photos(folder: Path, count: int) -> str:
    folder.mkdir()
    for number in range(count):
        Image.effect_noise((32, 32), 10 + number).save(folder / f"{number:02d}.png")
    return str(folder)


def on_photos(config: Config, folder: Path, count: int, **train: object) -> Config:
    data = dataclasses.replace(config.data, source=photos(folder, count), train_images=None, test_images=None)
    return changed(dataclasses.replace(config, data=data), **train)


def test_a_batch_larger_than_the_folder_gives_way_in_one_line_and_the_same_command_goes_on(
    tiny_config, tmp_path, capsys
):
    config = on_photos(tiny_config, tmp_path / "photos", 20, batch=64, epochs=2)
    (tmp_path / "photos" / "broken.png").write_bytes(b"nothing")
    config = changed(config, "data", max_broken_fraction=0.1)
    pretrain(config, tmp_path / "run")
    printed = capsys.readouterr().out
    assert printed.count("batch 8: there are only 20 images, fewer than train.batch = 64\n") == 1
    assert RunDirectory(tmp_path / "run").config().train.batch == 8
    pretrain(config, tmp_path / "run")
    assert "is finished" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"train.batch: 8 → 16"):  # a batch that was possible is another setting
        pretrain(changed(config, batch=16), tmp_path / "run")


def test_compared_methods_share_the_batch_that_a_small_folder_allows(tiny_config, tmp_path, capsys):
    config = budget.with_one_batch(on_photos(tiny_config, tmp_path / "photos", 20, batch=64))
    assert config.train.batch == 8
    assert "batch 8 for all, by the number of images, 20" in capsys.readouterr().out


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("auto_batch", [True, False])
@pytest.mark.parametrize("images", [1, 2, 3])
def test_too_few_images_are_one_line(tiny_config, tmp_path, images, auto_batch):
    config = on_photos(tiny_config, tmp_path / "photos", images, auto_batch=auto_batch)
    with pytest.raises(UserError, match=f"at least 4 images, because it compares them, got {images}"):
        pretrain(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("images", [4, 7, 12])
def test_a_handful_of_images_trains_without_numbers_that_are_none(tiny_config, tmp_path, images):
    config = on_photos(tiny_config, tmp_path / "photos", images, auto_batch=True, steps=3)
    path = pretrain(config, tmp_path / "run")
    assert RunDirectory(path).config().train.batch == 4
    for row in RunDirectory(path).metrics():
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert all(math.isfinite(number) for number in numbers), row
