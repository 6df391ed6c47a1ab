"""The Triton kernels compiled for GPUs that are not here."""

import importlib
import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent
RECORD = ROOT / "docs" / "results" / "gpu-compile.json"
MOST_STACK_BYTES = {"edges": 0, "moments": 16}
"""The assembler keeps one kernel for the A100 to 168 registers, for more warps at once, at the price of 16 bytes."""
pytest.importorskip("triton", reason="triton is not installed")


@pytest.fixture
def gpu_compile(monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu_compile")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_variant_compiles_and_keeps_what_it_computes_in_registers(gpu_compile):
    for variant in gpu_compile.variants():
        needs = gpu_compile.compiled(variant)
        assert needs["stack_bytes"] <= MOST_STACK_BYTES[needs["kernel"]], needs
        assert needs["shared_bytes"] <= 48 * 1024, needs  # what a program may have on every architecture


def test_a_kernel_compiles_for_the_h100_without_one(gpu_compile):
    variant = next(gpu_compile.variants((torch.float32,), (90,)))
    needs = gpu_compile.compiled(variant)
    assert needs["stack_bytes"] == 0
    assert 64 <= needs["registers"] <= 255
    assert 20 < needs["loop_instructions"] < 60


def test_the_record_holds_every_variant(gpu_compile):
    rows = json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
    names = ("kernel", "tile", "warps", "architecture")
    recorded = [tuple(row[name] for name in names) for row in rows]
    assert recorded == [tuple(getattr(variant, name) for name in names) for variant in gpu_compile.variants()]
    assert all(row["stack_bytes"] <= MOST_STACK_BYTES[row["kernel"]] for row in rows)
