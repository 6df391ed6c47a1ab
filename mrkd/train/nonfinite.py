"""Detect NaN and infinity without waiting for the device at each step. Axes: B images, T terms."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrkd.config import TrainConfig
from mrkd.errors import UserError
from mrkd.runs.run import RunDirectory
from mrkd.system.files import write_atomically
from mrkd.system.output import say


@dataclass(frozen=True, kw_only=True)
class _Record:
    step: int
    index: Tensor
    """(B,) of the images in the training set."""
    draws: dict[str, Any]
    """The random generators before the views were drawn."""
    names: tuple[str, ...]
    values: Tensor
    """(T + 1,) the terms and the gradient's norm, on the device."""


class NonfiniteWatch:
    """Records the numbers of the last steps and checks them at intervals.

    The update is skipped on the device (see `Learner.training_step`), so a late check still finds sound weights.
    """

    def __init__(self, run: RunDirectory, config: TrainConfig, device: torch.device, writes: bool) -> None:
        self.run, self.config, self.writes = run, config, writes
        # Reading a number makes the host wait for the device; on the CPU it costs nothing.
        self.every = 1 if device.type == "cpu" else config.log_steps
        self.skipped = 0
        self._records: list[_Record] = []

    def note(self, step: int, index: Tensor, draws: dict[str, Any], numbers: dict[str, Tensor]) -> None:
        """Record one step and its numbers by name."""
        values = torch.stack([value.detach().float() for value in numbers.values()])
        self._records.append(_Record(step=step, index=index, draws=draws, names=tuple(numbers), values=values))

    def look(self, last_checkpoint: Path | None) -> None:
        """Check all recorded steps and drop them.

        Raises:
            UserError: a number was not finite and the config says stop, or too many steps have been skipped.
        """
        records, self._records = self._records, []
        if not records:
            return
        for record, row in zip(records, torch.stack([r.values for r in records]).tolist(), strict=True):
            bad = [(name, value) for name, value in zip(record.names, row, strict=True) if not math.isfinite(value)]
            if not bad:
                continue
            self.skipped += 1
            stop = self.config.on_nonfinite == "stop"
            if stop or self.skipped > self.config.max_skipped_steps:
                batch = self._keep_batch(record)
                known = last_checkpoint.name if last_checkpoint else "none yet"
                limit = "" if stop else f"; that is more than train.max_skipped_steps = {self.config.max_skipped_steps}"
                raise UserError(
                    f"{bad[0][0]} became {bad[0][1]} at step {record.step}{limit}; last good checkpoint: {known}; "
                    f"its batch: {batch}: lower optim.learning_rate"
                    + (", or continue with --on-nonfinite skip" if stop else "")
                )
            say(f"step {record.step} is skipped: {bad[0][0]} became {bad[0][1]}")

    def _keep_batch(self, record: _Record) -> Path:
        """Write what is needed to draw the same images, views and masks again."""
        self.run.check_held()
        path = self.run.path / f"nonfinite-step-{record.step:08d}.npz"
        generators: dict[str, Any] = {
            f"{name}_generator": value.numpy() for name, value in record.draws.items() if isinstance(value, Tensor)
        }

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(
                    file,
                    step=record.step,
                    image_index=record.index.cpu().numpy(),
                    term_names=np.array(record.names),
                    term_values=record.values.cpu().numpy(),
                    **generators,
                )

        if self.writes:
            write_atomically(path, write)
        return path
