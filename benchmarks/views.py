"""Two random views of 32-pixel images: ours against torchvision's transforms on PIL images, views a second.

    python benchmarks/views.py --json docs/results/performance.json

The same crop, flip, jitter and grey (the defaults of `views`) in turns, in one process. PIL works on one image after
another on one core; with a data loader it would have a process per core, so its figure is multiplied by the threads
that ours may use, which is more than it would reach.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms as transforms
from PIL import Image
from record import stopwatch, write_record
from torch import Tensor

from mrkd.config import ViewsConfig
from mrkd.data.augment.views import MEAN, STD, ViewMaker


def pil_pipeline(config: ViewsConfig, size: int) -> transforms.Compose:
    jitter = transforms.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=config.crop_scale, ratio=config.crop_ratio),
            transforms.RandomHorizontalFlip(config.flip),
            transforms.RandomApply([jitter], p=config.jitter),
            transforms.RandomGrayscale(config.grey),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def measure(images: Tensor, rounds: int) -> dict[str, Any]:
    config, size, clock = ViewsConfig(), images.shape[-1], stopwatch()
    maker, pipeline = ViewMaker(config, size), pil_pipeline(config, size)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    cuda = torch.cuda.is_available()
    resident = images.cuda() if cuda else images
    ours, theirs = [], []
    for number in range(rounds + 1):
        started = clock()
        maker(resident)
        if cuda:
            torch.cuda.synchronize()
        middle = clock()
        for picture in pictures:
            pipeline(picture)
            pipeline(picture)
        if number:  # the first round warms up
            ours.append(2 * len(images) / (middle - started))
            theirs.append(2 * len(images) / (clock() - middle) * (1 if cuda else torch.get_num_threads()))
    return {
        "size": size,
        "images": len(images),
        "views_per_second": statistics.median(ours),
        "torchvision_views_per_second": statistics.median(theirs),
        "times_faster": statistics.median(own / other for own, other in zip(ours, theirs, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, help="of the CPU; all of them when left out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    rows = []
    for size, count in ((32, 64), (32, 512), (96, 64), (224, 32)):
        images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)
        row = measure(images, options.rounds)
        rows.append(row)
        print(
            f"{size:3d} px, {count} images: ours {row['views_per_second']:8.0f} views/s   torchvision "
            f"{row['torchvision_views_per_second']:7.0f}   {row['times_faster']:.1f} times as fast",
            flush=True,
        )
    if options.json:
        write_record(options.json, "views", rows)


if __name__ == "__main__":
    main()
