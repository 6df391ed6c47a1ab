"""One setting at a time on CIFAR-10, on a CPU, by k-NN on held-out training images.

    python experiments/ablations.py --data PATH/cifar10 --out runs/ablations --jobs 2
    python experiments/results_tables.py

Everything is the recipe `cifar10-cpu` with 650 steps (83,200 images) but for what a row says. A run that two questions
share is made once. May be stopped at any moment; the same command goes on. After every run, what is finished is written
to OUT/ablations.json, which a copy in docs/results turns into the page's tables.
"""

import argparse
import dataclasses
import hashlib
import json
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mrkd
from mrkd.config import Config
from mrkd.config.overrides import to_dict, with_overrides
from mrkd.runs.run import RunDirectory
from mrkd.studies.subprocesses import Subprocesses
from mrkd.system.files import write_json
from mrkd.system.signals import StopRequest

STEPS, BATCH, EMA = 650, 128, 0.93
REHEARSAL = {
    "data.train_images": 400,
    "model.width": 32,
    "model.depth": 1,
    "train.monitor_images": 400,
    "objective.koleo": 0.0,
}


@dataclass(frozen=True)
class Variant:
    """One row of a table: a method and what differs from the recipe."""

    label: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    terms: tuple[dict[str, Any], ...] = ()


def space(name: str, bottleneck: int = 128) -> dict[str, Any]:
    return {"objective.relation_space": name, "head.bottleneck": bottleneck}


def batch(size: int) -> dict[str, Any]:
    """The same images in batches of another size: the teacher moves by as much for each image, as does the student.

    Class tokens alone: angles of 1,024 patches at each of 16 positions take 20 times as long as the rest of a step.
    """
    return {
        "objective.patch_relation_weight": 0.0,
        "train.batch": size,
        "train.steps": round(STEPS * BATCH / size),
        "optim.ema": round(EMA ** (size / BATCH), 5),
    }


def structural(*tokens: str) -> tuple[dict[str, Any], ...]:
    return tuple({"loss": "structural", "tokens": kind, "anchors": "teacher"} for kind in tokens)


FEW = space("bottleneck", 8)
ABLATIONS: dict[str, list[Variant]] = {
    "space": [
        Variant("backbone, 96 channels", "rkd-d"),
        Variant("head's last layer, 128", "rkd-d", space("projection")),
        Variant("bottleneck, 128", "rkd-d", space("bottleneck")),
        Variant("bottleneck, 32", "rkd-d", space("bottleneck", 32)),
        Variant("bottleneck, 8", "rkd-d", FEW),
        Variant("bottleneck, 4", "rkd-d", space("bottleneck", 4)),
        Variant("1,024 prototype logits", "rkd-d", space("logits")),
    ],
    "tokens": [
        Variant("class tokens", "structural", {"objective.patch_relation_weight": 0.0}),
        Variant("class tokens, patches at one position", "structural"),
        Variant("patches at one position", "structural", {}, structural("patch-position")),
        Variant("class tokens, patches within an image", "structural", {}, structural("cls", "patch-image")),
    ],
    "standardise": [
        Variant("RKD-D, 96 channels, plain", "rkd-d"),
        Variant("RKD-D, 96 channels, standardised", "rkd-d", {"objective.relation_options": {"standardize": True}}),
        Variant("RKD-D, 8 channels, plain", "rkd-d", FEW),
        Variant(
            "RKD-D, 8 channels, standardised", "rkd-d", {**FEW, "objective.relation_options": {"standardize": True}}
        ),
    ],
    "batch": [
        *(Variant(f"96 channels, batch {size}", "rkd-a", batch(size)) for size in (16, 64, 256, 1024)),
        *(Variant(f"8 channels, batch {size}", "rkd-a", {**FEW, **batch(size)}) for size in (16, 64, 256, 1024)),
    ],
    "weight": [
        Variant("iBOT alone", "ibot"),
        Variant("share 0.1", "ibot+structural", {"objective.relation_grad_norm_ratio": 0.1}),
        Variant("share 0.5", "ibot+structural"),
        Variant("share 2", "ibot+structural", {"objective.relation_grad_norm_ratio": 2.0}),
        Variant("structural alone", "structural"),
    ],
    "centring": [
        Variant("iBOT, Sinkhorn", "ibot"),
        Variant("iBOT, moving centre", "ibot", {"distillation.centering": "ema"}),
        Variant("structural, Sinkhorn", "structural"),
        Variant("structural, plain softmax", "structural", {"objective.relation_options": {"sinkhorn_iterations": 0}}),
    ],
    "local": [
        Variant("structural, two global crops", "structural"),
        Variant("structural, and 2 local ones", "structural", {"views.local_views": 2}),
        Variant("structural, and 4 local ones", "structural", {"views.local_views": 4}),
        Variant("iBOT, two global crops", "ibot"),
        Variant("iBOT, and 2 local ones", "ibot", {"views.local_views": 2}),
        Variant("iBOT, and 4 local ones", "ibot", {"views.local_views": 4}),
    ],
}


def config_of(variant: Variant, data: str, rehearse: bool) -> Config:
    base = mrkd.load_config("cifar10-cpu")
    fixed = {
        "data.source": data,
        "train.steps": STEPS,
        "train.monitor_times": 4,
        "train.relation_images": 0,
        "objective.method": variant.method,
    }
    config = with_overrides(base, {**fixed, **variant.settings, **(REHEARSAL if rehearse else {})})
    if rehearse:
        config = with_overrides(config, {"train.steps": 3, "train.batch": min(config.train.batch, 100)})
    if variant.terms:
        config = with_overrides(config, {"objective.terms": [dict(term) for term in variant.terms]})
    return config


def run_name(config: Config) -> str:
    digest = hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()
    return f"{config.objective.method}-{digest[:8]}"


def row(variant: Variant, path: Path) -> dict[str, Any]:
    """What the table shows of a finished run."""
    run = RunDirectory.open(path)
    lines, summary = run.metrics(), json.loads((path / "summary.json").read_text(encoding="utf-8"))
    return {
        **dataclasses.asdict(variant),
        "knn": [[line["step"], round(line["knn"], 2)] for line in lines if "knn" in line],
        "rankme": lines[-1]["rankme"],
        "relation_correlation": lines[-1].get("relation_correlation"),
        "terms": lines[-1]["terms"],
        **{key: summary[key] for key in ("steps", "seconds", "peak_memory_mib", "device")},
        "verdict": summary["verdict"]["sentence"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=ABLATIONS, default=list(ABLATIONS))
    parser.add_argument("--rehearse", action="store_true", help="three small steps of each")
    options = parser.parse_args()
    planned = {}
    for variant in (variant for question in options.only for variant in ABLATIONS[question]):
        config = config_of(variant, options.data, options.rehearse)
        planned[run_name(config)] = config
    unfinished = [name for name in planned if not RunDirectory(options.out / "runs" / name).finished]
    children = Subprocesses(options.jobs)

    def train(name: str) -> None:
        failure = children.run(planned[name], options.out / "runs" / name, request)
        if request.received is None:
            left = sum(not RunDirectory(options.out / "runs" / other).finished for other in unfinished)
            print(f"── {name} {failure or 'done'}, {left} left", flush=True)
            _write(options)

    with StopRequest(children.pass_on) as request, ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(train, unfinished))
    _write(options)


def _write(options: argparse.Namespace) -> None:
    """Everything that is finished, also of questions that this call is not about."""
    found: dict[str, list[dict[str, Any]]] = {}
    for question, variants in ABLATIONS.items():
        for variant in variants:
            path = options.out / "runs" / run_name(config_of(variant, options.data, options.rehearse))
            if RunDirectory(path).finished:
                found.setdefault(question, []).append(row(variant, path))
    name = "rehearsal.json" if options.rehearse else "ablations.json"
    write_json(
        options.out / name,
        {"command": shlex.join(["python", "experiments/ablations.py", *sys.argv[1:]]), "seed": 0, "ablations": found},
    )


if __name__ == "__main__":
    main()
