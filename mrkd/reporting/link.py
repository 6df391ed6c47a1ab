"""Bundle the JavaScript modules of the page into one script.

A page that is opened from disk cannot import files. The modules of `page/` are therefore concatenated, each after those
that it imports, without `import` and `export`. They share one scope, so their top-level names must be unique.
"""

import re
from importlib.resources import files

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class)\b)", re.MULTILINE)


def page_file(name: str) -> str:
    """The text of a file in `page/`."""
    return (files("mrkd.reporting") / "page" / name).read_text(encoding="utf-8")


def link(entry: str = "main") -> str:
    """The script of the module `entry` and all modules that it imports."""
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
