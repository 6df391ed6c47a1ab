"""The table of a race, from a record that is made up for this test: none of its numbers was measured."""

import importlib
import json
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"


def run(contestant: str, seed: int, to_40: float | None, knn: float) -> dict[str, object]:
    curve = [{"core_seconds": 5.0, "knn": 27.0}, {"core_seconds": 400.0 + seed, "knn": knn}]
    targets = {"40": to_40, "50": None}
    return {"contestant": contestant, "seed": seed, "held_out": 9, "core_seconds_to": targets, "curve": curve}


MADE_UP = {
    "device": "a made-up processor",
    "threads": 1,
    "torch": "0.0",
    "commit": "fixture",
    "lightly": "0.0",
    "images": 10_000,
    "epochs": 13,
    "limit": 3600.0,
    "rows": [
        run("quick", 0, 98.76, 44.0),
        run("slow", 0, None, 39.0),
        run("quick", 1, 123.4, 46.0),
        run("slow", 1, 300.0, 40.0),
        run("quick", 2, 110.0, 45.0),
    ],
}


@pytest.fixture
def race(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.setattr(importlib.import_module("tables.form"), "RESULTS", tmp_path)
    (tmp_path / "race.json").write_text(json.dumps(MADE_UP))
    return importlib.import_module("tables.races").race


def test_a_race_is_told_by_median_and_range_and_by_what_was_not_reached(race):
    _, _, quick, slow, _, made = race().split("\n")
    assert quick == "| `quick` | 3 | 110 (98.8–123) | not reached | 401 (400–402) | 45.0 (44.0–46.0) |"
    assert slow == "| `slow` | 2 | 300, 1 of 2 runs | not reached | 400 (400–401) | 39.5 (39.0–40.0) |"
    assert made.startswith(
        "Median (range) over the runs. 10,000 images, 13 passes, k-NN of 9 others, lightly 0.0. A run was stopped"
    )
    assert made.endswith("processor, 1 thread. torch 0.0, commit fixture.")
