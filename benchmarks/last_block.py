"""Time saved by running the MLP of the last block for selected tokens only: a backbone with and without, in turns.

    python benchmarks/last_block.py --threads 1 --json docs/results/performance.json

Forward and backward pass at 32 px, patch 8: all tokens, the class tokens with a fifth of the patches (iBOT's share with
masks of 20 to 50 % in half of the views), and the class tokens alone. A round times every way once; the ratio is the
median over rounds of all tokens' time over the other's, on the process's own clock with --threads 1.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from record import stopwatch, write_record

from mrkd.config import ModelConfig
from mrkd.model.backbone import MaskedBackbone, create_vit

NETWORKS = {
    "width 96, 3 blocks": (ModelConfig(patch=8, width=96, depth=3, heads=4), 256),
    "ViT-Ti/8": (ModelConfig(patch=8, width=192, depth=12, heads=3), 128),
    "ViT-S/8": (ModelConfig(patch=8, width=384, depth=12, heads=6), 128),
}
MASKED = 0.2


def measure(model: ModelConfig, images: int, bfloat16: bool, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one that does not count."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    backbone = MaskedBackbone(create_vit(model, 32)).to(device).train()
    if bfloat16 and device.type == "cpu":  # as in training
        for block in backbone.vit.blocks:
            block.attn.fused_attn = False
    batch = torch.randn(images, 3, 32, 32, device=device)
    mask = torch.rand(images, 16, device=device) < MASKED
    masked = mask.flatten().nonzero().flatten()
    ways = {"all tokens": None, "class tokens and masked patches": masked, "class tokens": masked[:0]}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    clock = stopwatch()
    for number in range(rounds + 1):
        for way, patch_index in ways.items():
            started = clock()
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                output = backbone(batch, mask, patch_index)
            output.root.float().square().sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds[way].append(clock() - started)
            backbone.zero_grad()
    return seconds


def against_all_tokens(
    name: str, model: ModelConfig, *, images: int, bfloat16: bool, rounds: int
) -> list[dict[str, Any]]:
    """A row for each way but all tokens, which it is set against."""
    seconds = measure(model, images, bfloat16, rounds)
    everything = seconds.pop("all tokens")
    return [
        {
            "network": name,
            "precision": "bfloat16" if bfloat16 else "float32",
            "images": images,
            "tokens": way,
            "all_milliseconds": 1e3 * statistics.median(everything),
            "milliseconds": 1e3 * statistics.median(times),
            "times_faster": statistics.median(a / b for a, b in zip(everything, times, strict=True)),
        }
        for way, times in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="of the CPU; all of them when left out")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    for name, (model, images) in NETWORKS.items():
        for bfloat16 in (False, True):
            rows += against_all_tokens(name, model, images=images, bfloat16=bfloat16, rounds=options.rounds)
            print(*rows[-2:], sep="\n", flush=True)
    if options.json:
        write_record(options.json, "last_block", rows)


if __name__ == "__main__":
    main()
