"""What the Triton kernels need of a GPU, found by compiling them for it; no GPU is needed.

    python benchmarks/gpu_compile.py --json docs/results/gpu-compile.json

Every variant (kernel, float32 or float64, side of a tile) is compiled for each architecture with the assembler that
triton brings. `registers` are a thread's, at most 255; `stack_bytes` is what
does not fit into them and goes through memory; `shared_bytes` are a program's; `loop_instructions` are those of the
loop over the third rows k, divided by the pairs of a thread: what one triangle costs an issue slot.
"""

import argparse
import itertools
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mrkd.losses.kernels import angle_triton

KERNELS = {"edges": angle_triton._edges, "moments": angle_triton._moments}
ARCHITECTURES = (80, 90, 100)
"""A100, H100 and H200, B200."""
_TYPES = {torch.float32: "fp32", torch.float64: "fp64"}
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One compilation of a kernel."""

    kernel: str
    dtype: torch.dtype
    tile: int
    warps: int
    architecture: int


def variants(
    dtypes: tuple[torch.dtype, ...] = tuple(_TYPES), architectures: tuple[int, ...] = ARCHITECTURES
) -> Iterator[Variant]:
    """All that can come to be compiled in use."""
    for kernel, dtype, architecture in itertools.product(KERNELS, dtypes, architectures):
        for _, tile, warps in angle_triton.TILES[dtype]:
            yield Variant(kernel=kernel, dtype=dtype, tile=tile, warps=warps, architecture=architecture)


def compiled(variant: Variant) -> dict[str, Any]:
    """The variant and what its machine code needs."""
    function = KERNELS[variant.kernel]
    numbers = {"side": "i32", "rows": "i32", "stretches": "i32", "BLOCK": "constexpr"}
    signature = {name: numbers.get(name, f"*{_TYPES[variant.dtype]}") for name in function.arg_names}
    aligned = [name for name, kind in signature.items() if kind[0] == "*" or name == "side"]
    attributes = {(function.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(fn=function, signature=signature, constexprs={"BLOCK": variant.tile}, attrs=attributes)
    target = GPUTarget("cuda", variant.architecture, 32)
    result = triton.compile(source, target=target, options={"num_warps": variant.warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(result.asm["cubin"])
        file.flush()
        usage, assembly = _tool("cuobjdump", "-res-usage", file.name), _tool("nvdisasm", "-c", file.name)
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()  # type: ignore[union-attr]
    pairs = variant.tile**2 / (32 * variant.warps)
    return {
        **asdict(variant),
        "dtype": str(variant.dtype).removeprefix("torch."),
        "registers": int(registers),
        "stack_bytes": int(stack),
        "shared_bytes": result.metadata.shared,
        "loop_instructions": round(_longest_loop(assembly) / pairs, 1),
    }


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([_TOOLS / name, *arguments], capture_output=True, text=True, check=True).stdout


def _longest_loop(assembly: str) -> int:
    """Instructions between the farthest backward branch and its label."""
    labels: dict[str, int] = {}
    count = longest = 0
    for line in assembly.splitlines():
        if label := re.match(r"(\.L_\w+):", line):
            labels[label[1]] = count
        elif instruction := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*)", line):
            count += 1
            branch = re.search(r"BRA.*?(\.L_\w+)", instruction[1])
            if branch and branch[1] in labels:
                longest = max(longest, count - labels[branch[1]])
    return longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write every number to this file")
    options = parser.parse_args()
    rows = []
    for variant in variants():
        rows.append(compiled(variant))
        print(rows[-1], flush=True)
    if options.json:
        record = {"triton": triton.__version__, "torch": torch.__version__, "rows": rows}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
