"""What the cache of decoded images saves: python benchmarks/decode_cache.py PATH [--size 32].

Prints the seconds to load the source three times: decoded without a cache, decoded and kept, read from the cache.
"""

import argparse
import tempfile
import time

from mrkd.config import DataConfig
from mrkd.data.load import load


def seconds(config: DataConfig) -> tuple[float, int]:
    """Seconds to load, and the number of images."""
    started = time.perf_counter()
    splits = load(config)
    return time.perf_counter() - started, len(splits.train) + len(splits.test or ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds(
            DataConfig(source=options.source, size=options.size, cache=None, train_images=10)
        )  # imports, Arrow files
        for name, cache in (("no cache", None), ("first, kept", folder), ("from the cache", folder)):
            spent, images = seconds(DataConfig(source=options.source, size=options.size, cache=cache))
            print(f"{name:15s} {images} images {spent:6.2f} s")


if __name__ == "__main__":
    main()
