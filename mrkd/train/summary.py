"""The summary and the profile of a finished training."""

import platform
import resource
import sys
from typing import Any

import torch

import mrkd
from mrkd.config import Config
from mrkd.distributed.fabric_package import Fabric
from mrkd.model.frozen_teacher import count_parameters
from mrkd.model.teacher_student import TeacherStudent
from mrkd.runs.run import SUMMARY, RunDirectory
from mrkd.system.files import write_json
from mrkd.train.profiling import Profile, table
from mrkd.train.progress import Progress


def write_summary(run: RunDirectory, config: Config, progress: Progress, pair: TeacherStudent, fabric: Fabric) -> None:
    """Write `summary.json`, whose existence says that the training is done; `parameters` counts the backbone's."""
    write_json(
        run.path / SUMMARY,
        {
            "method": config.objective.method,
            "seed": config.train.seed,
            "data": config.data.source,
            "steps": progress.step,
            "skipped_steps": progress.skipped_steps,
            "seconds": progress.seconds,
            **_machine(fabric),
            "parameters": count_parameters(pair.network.backbone.vit),
            **({} if pair.frozen is None else {"teacher": pair.frozen.described()}),
            "verdict": progress.verdict,
            "versions": {"mrkd": mrkd.__version__, "torch": torch.__version__, "python": platform.python_version()},
        },
    )


def write_profile(run: RunDirectory, profile: Profile, fabric: Fabric) -> None:
    """Print where the time of the steps went, and write `profile.json`."""
    report, machine = profile.report(), _machine(fabric)
    print(table(report, f"{machine['peak_memory_mib']:.0f} MiB ({machine['memory_kind']}, at most)"), flush=True)
    write_json(run.path / "profile.json", {**report, **machine})


def _machine(fabric: Fabric) -> dict[str, Any]:
    if fabric.device.type == "cuda":
        return {
            "peak_memory_mib": torch.cuda.max_memory_allocated() / 2**20,
            "memory_kind": "device allocations",
            "device": torch.cuda.get_device_name(),
        }
    # ru_maxrss counts KiB on Linux and bytes on macOS.
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {
        "peak_memory_mib": resident,
        "memory_kind": "process",
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
    }
