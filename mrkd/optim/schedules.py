"""Schedules as pure functions of the step.

They differ from DINO's and iBOT's in two places: a warm-up starts at peak / warm-up steps instead of 0, so that the
first step learns something, and a cosine reaches its end at the last step, where theirs would reach it one step later.
"""

import math

from mrkd.config import OptimConfig


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """From `start` at step 0 to `end` at the last of `steps` steps, along half a cosine."""
    progress = min(step / max(steps - 1, 1), 1.0)
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress))


def warmup_cosine(step: int, steps: int, warmup_steps: int, peak: float, end: float) -> float:
    """Linear warmup from peak / warmup_steps to `peak`, then half a cosine down to `end`."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return cosine(step - warmup_steps, steps - warmup_steps, peak, end)


def linear_ramp(step: int, steps: int, fraction: float, start: float, end: float) -> float:
    """Linear from `start` to `end` over the first `fraction` of the run, then `end`."""
    ramp_steps = fraction * steps
    return end if step >= ramp_steps else start + (end - start) * step / ramp_steps


def scaled_learning_rate(config: OptimConfig, batch: int) -> float:
    """Peak learning rate for this global batch: the setting is for a batch of 256 and is scaled in proportion."""
    return config.learning_rate * batch / 256
