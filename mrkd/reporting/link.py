"""The page's modules as one script.

A page that is opened from a disk may not import files, so the modules of `page/` are laid one after another: each after
those it imports, without its `import` and `export` words. They share one scope, hence top-level names are unique.
"""

import re
from importlib.resources import files

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class)\b)", re.MULTILINE)


def page_file(name: str) -> str:
    """The text of a file of the page."""
    return (files("mrkd.reporting") / "page" / name).read_text(encoding="utf-8")


def link(entry: str = "main") -> str:
    """The script that begins at the module `entry`."""
    ordered: dict[str, str] = {}
    _visit(entry, ordered, ())
    return "\n".join(ordered.values())


def _visit(module: str, ordered: dict[str, str], above: tuple[str, ...]) -> None:
    if module in ordered:
        return
    assert module not in above, f"{module} imports itself by way of {', '.join(above)}"
    source = page_file(f"{module}.js")
    for _, imported in IMPORT.findall(source):
        _visit(imported, ordered, (*above, module))
    ordered[module] = f"// {module}.js\n" + EXPORT.sub("", IMPORT.sub("", source))
