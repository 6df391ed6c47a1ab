"""A folder of 200,000 images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

LIST = """
import json, resource, sys, time
from mrkd.config import DataConfig
from mrkd.data.sources.find import list_splits

def mebibytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

before, started = mebibytes(), time.process_time()
splits = list_splits(DataConfig(source=sys.argv[1]))
found = len(splits.train.labels) + len(splits.test.labels)
print(json.dumps([found, mebibytes() - before, time.process_time() - started]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count this memory in bytes")
def test_two_hundred_thousand_images_are_found_in_little_memory_and_time(tmp_path):
    folder = tmp_path / "images"
    try:
        for number in range(20):
            place = folder / f"class-{number:02d}"
            place.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(place / "0.png")
            for copy in range(1, 10_000):
                os.link(place / "0.png", place / f"{copy}.png")
        done = subprocess.run([sys.executable, "-c", LIST, folder], capture_output=True, text=True, check=True)
    finally:
        shutil.rmtree(Path(folder))  # pytest keeps the folders of its last runs
    found, mebibytes, seconds = json.loads(done.stdout)
    assert found == 200_000
    assert mebibytes < 400
    assert seconds < 30
