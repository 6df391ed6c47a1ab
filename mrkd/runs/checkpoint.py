"""Checkpoints: written atomically, checked before use, the last few and the best kept.

A file is called `step-00000120.<digest>.pt`, or `….best.pt` when its k-NN was the best so far. The digest is the start
of the content's SHA-256: content and checksum come into place in one rename, and plain `torch.load` reads the file.
"""

import contextlib
import errno
import hashlib
import io
import os
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrkd.errors import UserError
from mrkd.system.files import write_bytes
from mrkd.system.output import say

DIGEST_LENGTH = 16
NAME = re.compile(r"step-(?P<step>\d{8,})\.(?P<digest>[0-9a-f]{16})(?P<best>\.best)?\.pt")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One file."""

    path: Path
    step: int
    digest: str
    best: bool

    def read(self) -> dict[str, Any]:
        """The state inside, tensors on the CPU.

        Raises:
            UserError: the content is not what was written; the message says in what way.
        """
        content = self.path.read_bytes()
        if (digest := _digest(content)) != self.digest:
            raise UserError(f"expected the checksum {self.digest}, got {digest}")
        try:
            # Nothing but tensors and plain values is ever unpickled.
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        except Exception as error:  # whatever torch stumbles over in a file made to mislead it
            raise UserError(f"expected tensors and plain values, got {type(error).__name__}") from None
        if not isinstance(state, dict) or state.get("step") != self.step:
            raise UserError(f"expected the state of step {self.step}, got something else")
        return state


class Checkpoints:
    """The folder of a run's checkpoints."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def listed(self) -> list[Checkpoint]:
        """All of them, oldest first; files of other names are none."""
        found = []
        for path in self.folder.glob("step-*.pt"):
            if match := NAME.fullmatch(path.name):
                best = match["best"] is not None
                found.append(Checkpoint(path=path, step=int(match["step"]), digest=match["digest"], best=best))
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def save(self, state: dict[str, Any], *, best: bool) -> Path:
        """Write the state of `state["step"]`, then remove what is no longer kept.

        Raises:
            OSError: the disk is full, read-only, or the folder has vanished; earlier checkpoints are untouched.
        """
        if not self.folder.is_dir():
            # A vanished run directory must not come back as one with a checkpoint and nothing else.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.folder))
        # Through memory, because torch reports a full disk as a RuntimeError, and plain writing as what it is.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        path = self.folder / f"step-{state['step']:08d}.{_digest(content)}{'.best' if best else ''}.pt"
        write_bytes(path, content)
        self._prune(path)
        return path

    def _prune(self, newest: Path) -> None:
        checkpoints = self.listed()
        kept = {newest, *(checkpoint.path for checkpoint in checkpoints[-self.keep :])}
        kept |= {checkpoint.path for checkpoint in [c for c in checkpoints if c.best][-1:]}
        for checkpoint in checkpoints:
            if checkpoint.path not in kept:
                checkpoint.path.unlink()

    def newest_readable(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that can be read; None where there is none. Nothing is removed."""
        for checkpoint in reversed(self.listed()):
            with contextlib.suppress(UserError, OSError):
                return checkpoint.read()
        return None

    def newest(self) -> tuple[Checkpoint, dict[str, Any]] | None:
        """The newest checkpoint that can be read, with its state; None before the first one.

        A damaged one is named and removed, and the previous one is used.

        Raises:
            UserError: there are checkpoints, and every one is damaged.
        """
        damaged: list[tuple[Checkpoint, str]] = []
        for checkpoint in reversed(self.listed()):
            try:
                state = checkpoint.read()
            except (UserError, OSError) as error:
                damaged.append((checkpoint, str(error)))
                continue
            for broken, reason in damaged:
                say(f"{broken.path} is damaged ({reason}): going back to step {checkpoint.step}")
                broken.path.unlink(missing_ok=True)
            return checkpoint, state
        if damaged:
            raise UserError(f"every checkpoint is damaged, such as {damaged[0][0].path}: {damaged[0][1]}")
        return None


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]


def random_state(mask_generator: torch.Generator) -> dict[str, Any]:
    """Where every random generator stands, in tensors and plain values."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
        "masks": mask_generator.get_state(),
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any], mask_generator: torch.Generator) -> None:
    """Put every random generator back to where it stood."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])
    mask_generator.set_state(state["masks"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
