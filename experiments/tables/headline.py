"""iBOT and structural under four conditions, beside raw pixels and random weights: the headline of README and site."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from mrkd.reporting.difference import paired_difference
from tables.form import markdown, read


@dataclass(frozen=True, kw_only=True)
class Group:
    """k-NN on test images, in percent, that was measured under the same conditions; lists are in the order of seeds."""

    images: str
    training: str
    ibot: list[float]
    structural: list[float]
    pixels: float
    random: list[float]
    """Empty where it was not measured."""
    page: str
    """In docs/results."""


def groups() -> list[Group]:
    pixels = {row["train_images"]: row["knn"] for row in read("pixels.json")["rows"]}
    long, muon, photographs = (
        {row["method"]: row["knn"]["values"] for row in read(name)["rows"]}
        for name in ("cifar10-long.json", "cifar10-muon.json", "imagenette.json")
    )
    large: dict[str, list[float]] = {}
    for run in sorted(read("gpu.json")["training"]["runs"], key=lambda run: run["summary"]["seed"]):
        large.setdefault(run["summary"]["method"], []).append(run["evaluation"]["knn"]["acc1"])
    return [
        Group(
            images="CIFAR-10, 10,000 images",
            training="small ViT, AdamW, 50 passes",
            ibot=long["ibot"],
            structural=long["structural"],
            pixels=pixels[10000],
            random=long["random"],
            page="cifar10.md",
        ),
        Group(
            images="CIFAR-10, 10,000 images",
            training="small ViT, Muon, 13 passes",
            ibot=muon["ibot"],
            structural=muon["structural"],
            pixels=pixels[10000],
            random=long["random"],
            page="cifar10-details.md#muon",
        ),
        Group(
            images="Imagenette, 64 pixels",
            training="small ViT, Muon, 12 passes",
            ibot=photographs["ibot"],
            structural=photographs["structural"],
            pixels=fmean(photographs["pixels"]),
            random=photographs["random"],
            page="photographs.md",
        ),
        Group(
            images="CIFAR-10, 50,000 images",
            training="ViT-S/8 on a GPU, Muon, 22 passes",
            ibot=large["ibot"],
            structural=large["structural"],
            pixels=pixels[50000],
            random=[],
            page="gpu.md",
        ),
    ]


def headline(folder: str = "docs/results/") -> str:
    """The four conditions as a table; `folder` is what stands before the names of the pages in links."""
    rows = []
    for group in groups():
        ibot, structural = (
            {"seeds": list(range(len(values))), "knn": {"values": values}} for values in (group.ibot, group.structural)
        )
        seeds = len(group.ibot)
        rows.append(
            [
                f"{group.images} ([page]({folder}{group.page}))",
                group.training,
                f"{fmean(group.random):.1f}" if group.random else "–",
                f"{group.pixels:.1f}",
                f"{fmean(group.ibot):.1f}",
                f"**{fmean(group.structural):.1f}**",
                str(paired_difference(structural, ibot)),
                str(seeds),
            ]
        )
    head = ["images", "training", "random weights", "raw pixels", "`ibot`", "`structural`", "difference", "seeds"]
    return markdown(head, rows)


TABLES: dict[str, Callable[[], str]] = {"headline": headline}
