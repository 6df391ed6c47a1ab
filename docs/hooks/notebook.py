"""The notebook as a page of the site: `docs/tutorial.ipynb` becomes `tutorial.md` before MkDocs reads the pages.

With `MRKD_NOTEBOOK=run`, as `make docs` sets it, its cells are run first and the page shows what they print and draw.
This trains a small network and takes one to two minutes. Without it, the page shows the cells alone.
"""

import base64
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NOTEBOOK = "tutorial.ipynb"
TIMEOUT_SECONDS = 900
"""For one cell."""
SHOWN_LINES = 6
"""A cell that prints more shows its last three lines: the others are its progress."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs with all files of the site."""
    path = Path(config.docs_dir) / NOTEBOOK
    notebook = _run(path) if os.environ.get("MRKD_NOTEBOOK") == "run" else json.loads(path.read_text(encoding="utf-8"))
    text, pictures = to_markdown(notebook)
    files.append(File.generated(config, Path(NOTEBOOK).with_suffix(".md").name, content=text))
    for name, content in pictures.items():
        files.append(File.generated(config, name, content=content))
    return files


def _run(path: Path) -> dict[str, Any]:
    """The notebook with the outputs of its cells, which run in an empty folder."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=TIMEOUT_SECONDS, resources={"metadata": {"path": folder}}).execute()
    return notebook  # type: ignore[no-any-return]


def to_markdown(notebook: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    """The cells and their outputs as Markdown, and the pictures that it shows by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        if printed := _printed(cell["outputs"]):
            parts.append(f"```text\n{printed}\n```")
        for output in cell["outputs"]:
            if png := output.get("data", {}).get("image/png"):
                name = f"tutorial-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode("".join(png))
                parts.append(f"![output of the cell above]({name})")
    return "\n\n".join(parts) + "\n", pictures


def _printed(outputs: list[dict[str, Any]]) -> str:
    """What a cell prints and returns, as a terminal shows it at the end: of a line drawn anew, its last form."""
    shown = [output for output in outputs if "image/png" not in output.get("data", {})]
    texts = [output.get("text", output.get("data", {}).get("text/plain", "")) for output in shown if _is_result(output)]
    text = _CONTROL.sub("", "".join("".join(part) for part in texts))
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1].rstrip() for line in text.split("\n")]
    lines = [line for line in lines if line]
    return "\n".join(lines if len(lines) <= SHOWN_LINES else ["…", *lines[-3:]])


def _is_result(output: dict[str, Any]) -> bool:
    return output.get("name") != "stderr"
