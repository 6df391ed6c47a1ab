import contextlib
import io
import pickle
import random
from pathlib import Path

import pytest
import torch

from mrkd.errors import UserError
from mrkd.runs.checkpoint import Checkpoints, random_state, set_random_state


def state(step: int) -> dict[str, object]:
    return {"step": step, "weights": torch.arange(100.0) + step}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def steps(checkpoints: Checkpoints) -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints.listed()]


def test_the_last_few_and_the_best_are_kept(folder):
    checkpoints = Checkpoints(folder, keep=2)
    for step in range(1, 8):
        checkpoints.save(state(step), best=step in (1, 3))
    assert steps(checkpoints) == [3, 6, 7]
    assert [checkpoint.best for checkpoint in checkpoints.listed()] == [True, False, False]


def test_plain_torch_reads_a_checkpoint(folder):
    path = Checkpoints(folder, keep=1).save(state(4), best=False)
    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.arange(100.0) + 4)


def test_a_damaged_checkpoint_is_named_and_the_previous_one_is_used(folder, capsys):
    checkpoints = Checkpoints(folder, keep=3)
    checkpoints.save(state(1), best=False)
    broken = checkpoints.save(state(2), best=False)
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)
    found = checkpoints.newest()
    assert found is not None
    assert found[1]["step"] == 1
    said = capsys.readouterr().out
    assert broken.name in said
    assert "expected the checksum" in said


def test_when_every_checkpoint_is_damaged_nothing_starts_over_in_silence(folder):
    checkpoints = Checkpoints(folder, keep=3)
    path = checkpoints.save(state(1), best=False)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        checkpoints.newest()
    assert path.exists()


def with_matching_name(folder: Path, content: bytes, step: int = 5) -> None:
    import hashlib

    (folder / f"step-{step:08d}.{hashlib.sha256(content).hexdigest()[:16]}.pt").write_bytes(content)


class Harm:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harmed"),))


def test_a_pickle_is_never_run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"step": 5, "weights": Harm()}, buffer)
    for content in (buffer.getvalue(), pickle.dumps({"step": 5, "x": Harm()}, protocol=2)):
        with_matching_name(folder, content)
        with pytest.raises(UserError, match="every checkpoint is damaged"):
            Checkpoints(folder, keep=1).newest()
        for file in folder.iterdir():
            file.unlink()
    assert not (tmp_path / "harmed").exists()


def test_hundreds_of_fuzzed_checkpoints_with_a_valid_checksum_are_refused_or_read(folder, tmp_path):
    choose = random.Random(0)
    whole = Checkpoints(folder, keep=1).save(state(5), best=False)
    content = whole.read_bytes()
    whole.unlink()
    read = 0
    for _ in range(300):
        changed = bytearray(content[: choose.choice([len(content), choose.randrange(len(content))])])
        for _ in range(choose.randint(1, 6)):
            if changed:
                changed[choose.randrange(len(changed))] = choose.randrange(256)
        with_matching_name(folder, bytes(changed))
        with contextlib.suppress(UserError):
            read += Checkpoints(folder, keep=1).newest() is not None
        for file in folder.iterdir():
            file.unlink()
    assert 0 < read < 300


def test_a_vanished_folder_is_not_made_again(folder):
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        Checkpoints(folder, keep=1).save(state(1), best=False)
    assert not folder.exists()


def test_every_random_generator_goes_back_to_where_it_stood(tmp_path):
    import numpy as np

    masks = torch.Generator().manual_seed(3)

    def draw() -> list[object]:
        return [
            torch.rand(3).tolist(),
            torch.rand(3, generator=masks).tolist(),
            np.random.standard_normal(3).tolist(),
            random.gauss(0, 1),
        ]

    draw()
    torch.save(random_state(masks), tmp_path / "state.pt")
    first = draw()
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True), masks)
    assert draw() == first
