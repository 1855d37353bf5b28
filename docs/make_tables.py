"""Fill the README's tables from the files that runs have made: `make tables`.

Between `<!-- table FILE -->` and `<!-- end -->` stands what FILE, the record of a
`kedro run --pipelines=compare_<corpus>`, comes to. `tests/test_readme.py` fails where they differ.
"""

from __future__ import annotations

import re
from pathlib import Path

from mmer.metrics.metrics import HEADLINE
from mmer.metrics.seeds import ComparedSystems
from mmer.reporting.seeds import answer, figure_text, notes

ROOT = Path(__file__).resolve().parents[1]
_TABLE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every table as its file has it."""
    return _TABLE.sub(lambda found: f"{found[1]}{_table(ROOT / found[2])}\n{found[3]}", text)


def _table(path: Path) -> str:
    compared = ComparedSystems.read(path)
    shown = {**HEADLINE, "macro_average_precision": "mAP"}
    lines = [
        f"| system | seeds | {' | '.join(shown.values())} |",
        f"|---|---|{'---|' * len(shown)}",
    ]
    if best := compared.info.bayes_optimal:
        known = [f"{best[name]:.3f}" if name in best else "" for name in shown]
        lines.append(f"| Bayes-optimal score of this corpus | | {' | '.join(known)} |")
    for one in compared.systems:
        figures = [figure_text(one.metrics[name], "<br>") for name in shown]
        lines.append(f"| {one.info.title} | {len(one.seeds) or ''} | {' | '.join(figures)} |")
    return "\n".join([*lines, "", answer(compared), *notes(compared)])


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
