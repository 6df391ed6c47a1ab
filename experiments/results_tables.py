"""Fill the tables of the result pages from the JSON beside them.

    python experiments/results_tables.py          write them
    python experiments/results_tables.py --check  say which would change

A page in docs/results, or the README, holds `<!-- table: NAME -->` and `<!-- end -->`; what lies between is made by
the modules of `tables`. A page whose JSON is missing is named and left as it is.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from tables import comparisons, gpu, headline, races, speed, trials
from tables.form import RESULTS

TABLES: dict[str, Callable[[], str]] = (
    speed.TABLES | comparisons.TABLES | trials.TABLES | gpu.TABLES | headline.TABLES | races.TABLES
)
_MARKED = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """Where tables may stand."""
    return [RESULTS.parent.parent / "README.md", *sorted(RESULTS.glob("*.md"))]


def filled(text: str) -> str:
    return _MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        try:
            made = filled(text)
        except FileNotFoundError as error:
            print(f"{page.name}: no {Path(error.filename).name}, left as it is")
            continue
        if made != text:
            stale.append(page.name)
            if not options.check:
                page.write_text(made, encoding="utf-8")
    print("\n".join(stale) or "nothing to change")
    if stale and options.check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
