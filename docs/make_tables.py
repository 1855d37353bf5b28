"""Fill the README's tables from the files that runs have made: `make tables`.

Between `<!-- table FILE -->` and `<!-- end -->` stands what FILE, the record of a
`kedro run --pipelines=compare_<corpus>`, comes to; after `<!-- subsets FILE FILE -->` micro-F1 with
some modalities hidden, of a network trained with and of one trained without modality dropout.
`tests/test_readme.py` fails where they differ.
"""

from __future__ import annotations

import re
from pathlib import Path

from mmer.evaluation.robustness import Robustness
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.seeds import ComparedSystems
from mmer.reporting.seeds import answer, figure_text, notes
from mmer.reporting.summary import interval_text

ROOT = Path(__file__).resolve().parents[1]
_TABLE = re.compile(r"(<!-- (table|subsets) (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every table as its file has it."""
    kinds = {"table": _table, "subsets": _subsets}

    def fill(found: re.Match[str]) -> str:
        files = [ROOT / name for name in found[3].split()]
        return f"{found[1]}{kinds[found[2]](*files)}\n{found[4]}"

    return _TABLE.sub(fill, text)


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


def _subsets(dropped: Path, never: Path) -> str:
    lines = ["| modalities shown | trained with modality dropout | without |", "|---|---|---|"]
    pairs = zip(Robustness.read(dropped).by_subset, Robustness.read(never).by_subset, strict=True)
    for one, other in pairs:
        figures = [interval_text(of.intervals["micro_f1"]) for of in (one, other)]
        lines.append(f"| {', '.join(one.modalities)} | {' | '.join(figures)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8")), encoding="utf-8")
