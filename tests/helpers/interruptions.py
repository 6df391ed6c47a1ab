"""Trainings that are killed: run as a script, so that forking happens in a process without threads.

    python tests/helpers/interruptions.py FOLDER KILLS [SEED]

Imports once, forks a training again and again, kills it (from outside at a random moment, or by itself in the middle
of a file operation), and checks the directory after each death. Prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import mrkd.system.files
from mrkd.config import Config
from mrkd.config.overrides import build, load_recipe
from mrkd.runs.checkpoint import NAME, Checkpoints
from mrkd.runs.run import RunDirectory
from mrkd.train.pretrain import pretrain

INTERVAL = 3
SETTINGS = {
    "data.train_images": 120,
    "data.test_images": 20,
    "train.epochs": 8,
    "train.batch": 40,
    "train.log_steps": 1,
    "train.monitor_times": 3,
    "train.checkpoint_steps": INTERVAL,
    "model.width": 16,
    "model.depth": 1,
    "model.heads": 2,
    "model.drop_path": 0.1,
    "objective.method": "ibot+rkd-d",
    "objective.relation_grad_norm_ratio": 0.5,
    "distillation.centering": "ema",
    "views.local_views": 1,
}


def settings(**overrides: object) -> Config:
    return build({**load_recipe("quick"), **SETTINGS, **overrides})


def assert_like(out: Path, whole: Path) -> None:
    """Both runs ended with the same weights, by the same way."""
    assert same(weights(out), weights(whole))
    assert untimed(RunDirectory(out).metrics()) == untimed(RunDirectory(whole).metrics())
    assert (out / "backbone.safetensors").read_bytes() == (whole / "backbone.safetensors").read_bytes()


def die_within(operation: str, countdown: int) -> None:
    """Have the process kill itself at the n-th of one kind of file operation, half of it done."""
    left = [countdown]

    def now() -> bool:
        left[0] -= 1
        return left[0] == 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    true_write, true_replace, true_fsync = Path.write_bytes, Path.replace, os.fsync

    def write_bytes(path: Path, content: bytes) -> int:
        if now():
            true_write(path, content[: len(content) // 2])
            die()
        return true_write(path, content)

    def replace(path: Path, target: Path) -> Path:
        if now():
            if countdown % 2:
                true_replace(path, target)
            die()
        return true_replace(path, target)

    def fsync(handle: int) -> None:
        if now():
            die()
        true_fsync(handle)

    if operation == "write":
        Path.write_bytes = write_bytes  # type: ignore[method-assign, assignment]
    if operation == "replace":
        Path.replace = replace  # type: ignore[method-assign, assignment]
    if operation == "fsync":
        mrkd.system.files.os.fsync = fsync  # type: ignore[attr-defined]


def start(config: Config, out: Path, operation: str = "", countdown: int = 0) -> int:
    process = os.fork()
    if process:
        return process
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    die_within(operation, countdown)
    status = 1
    try:
        pretrain(config, out)
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def last_logged(out: Path) -> int:
    return max((row["step"] for row in RunDirectory(out).metrics()), default=0)


def newest_step(out: Path) -> int:
    """Read as the next start would, which is what 'never an unreadable run' means."""
    if not (out / "checkpoints").is_dir():
        return 0
    found = Checkpoints(out / "checkpoints", keep=2).newest()
    return 0 if found is None else found[0].step


def weights(out: Path) -> dict[str, object]:
    newest = Checkpoints(out / "checkpoints", keep=2).newest()
    assert newest is not None
    return {key: newest[1][key] for key in ("student", "teacher", "objective", "optimizer", "random", "step")}


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))  # type: ignore[arg-type]
    return one == other


def untimed(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second", "data_wait")} for row in rows]


def main(folder: Path, kills: int, seed: int) -> None:
    choose = random.Random(seed)
    config = settings()
    began = time.monotonic()
    assert os.waitpid(start(config, folder / "whole"), 0)[1] == 0
    whole_seconds = time.monotonic() - began
    expected, rows = weights(folder / "whole"), untimed(RunDirectory(folder / "whole").metrics())

    result = {"kills": 0, "runs": 0, "worst_loss_steps": 0, "died_in": {}, "resumed_from": []}
    while result["kills"] < kills:
        out = folder / f"broken-{result['runs']}"
        done = False
        while not done:
            operation = choose.choice(["outside", "outside", "write", "replace", "fsync"])
            if result["kills"] >= kills:
                operation = "never"
            process = start(config, out, operation, choose.randint(1, 12))
            if operation == "outside":
                time.sleep(choose.uniform(0.1, 1.0) * whole_seconds)
                os.kill(process, signal.SIGKILL)
            status = os.waitpid(process, 0)[1]
            done = status == 0
            if done:
                break
            assert os.WIFSIGNALED(status), f"a start after a kill ended with {os.waitstatus_to_exitcode(status)}"
            result["kills"] += 1
            result["died_in"][operation] = result["died_in"].get(operation, 0) + 1
            if out.is_dir() and not RunDirectory(out).finished:
                reached, kept = last_logged(out), newest_step(out)
                result["worst_loss_steps"] = max(result["worst_loss_steps"], reached - kept)
                result["resumed_from"].append(kept)
        assert RunDirectory(out).finished
        assert same(weights(out), expected), f"{out} has other weights than the undisturbed run"
        assert untimed(RunDirectory(out).metrics()) == rows, f"{out} has other metrics than the undisturbed run"
        assert not [entry for entry in (out / "checkpoints").iterdir() if not NAME.fullmatch(entry.name)]
        result["runs"] += 1
    assert result["worst_loss_steps"] <= INTERVAL
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
