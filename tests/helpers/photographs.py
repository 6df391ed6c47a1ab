"""Folders of images: pieces of the two photographs that scikit-learn carries and of matplotlib's one; and noise.

python tests/photographs.py FOLDER     writes the pieces
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

SIDE = 96


def make_photographs(folder: Path, step: int = 32) -> int:
    """Write a flat folder of pieces of 96 pixels, `step` pixels apart; returns their number."""
    folder.mkdir(parents=True)
    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    sources.append(Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB"))
    count = 0
    for source in sources:
        for top in range(0, source.height - SIDE + 1, step):
            for left in range(0, source.width - SIDE + 1, step):
                piece = source.crop((left, top, left + SIDE, top + SIDE))
                piece.save(folder / f"piece-{count:04d}.jpg", quality=92)
                count += 1
    return count


def make_two_classes(folder: Path, count: int, suffix: str, sides: Callable[[int], int] = lambda number: 32) -> Path:
    """Noisy images in the class folders `dark` and `light`, the same at every call; `sides` has the pixels of each."""
    generator = np.random.default_rng(0)
    for number in range(count):
        place = folder / ("dark" if number % 2 else "light")
        place.mkdir(parents=True, exist_ok=True)
        side = sides(number)
        pixels = generator.integers(0, 128, (side, side, 3), dtype=np.uint8) + (128 if number % 2 == 0 else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:02d}{suffix}")
    return folder


if __name__ == "__main__":
    print(make_photographs(Path(sys.argv[1])), "images")
