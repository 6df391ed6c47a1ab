"""A folder of small photographs: pieces of the two that scikit-learn carries and of the one that matplotlib carries.

python tests/photographs.py FOLDER
"""

import sys
from pathlib import Path

import matplotlib
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


if __name__ == "__main__":
    print(make_photographs(Path(sys.argv[1])), "images")
