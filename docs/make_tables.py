"""Fill the tables of README and `docs/figures.md` from what runs have made: `make tables`.

Between `<!-- table FILE -->` and `<!-- end -->` stands what FILE, the record of a
`kedro run --pipelines=compare_<corpus>`, comes to, and after `<!-- costs FILE -->` what it cost;
after `<!-- shares FILE -->` that of `compare_probes`, after `<!-- parts FILE -->` that of
`ablate_<corpus>`; after `<!-- subsets FILE FILE -->` micro-F1 with some modalities hidden, of a
network trained with and of one trained without modality dropout; after `<!-- serving FILE -->` what
`benchmarks/serving.py` printed.
`tests/test_readme.py` fails where they differ.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from mmer.evaluation.costs import ComparedCosts
from mmer.evaluation.robustness import Robustness
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.seeds import ComparedCorpora, ComparedSystems
from mmer.reporting import ablations, corpora
from mmer.reporting.costs import COST_TITLES, cost_notes, cost_texts
from mmer.reporting.seeds import answer, figure_text, notes
from mmer.reporting.summary import difference_text, interval_text

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/figures.md")
_TABLE = re.compile(
    r"(<!-- (table|costs|shares|parts|subsets|serving) (.+?) -->\n).*?(<!-- end -->)", re.DOTALL
)


def filled(text: str) -> str:
    """The text with every table as its file has it."""
    kinds = {
        "table": _table,
        "costs": _costs,
        "shares": _shares,
        "parts": _parts,
        "subsets": _subsets,
        "serving": _serving,
    }

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


def _costs(path: Path) -> str:
    costs = ComparedCosts.read(path)
    lines = [f"| system | {' | '.join(COST_TITLES)} |", f"|---|{'---|' * len(COST_TITLES)}"]
    for one in costs.systems:
        lines.append(f"| {one.title} | {' | '.join(cost_texts(one.costs))} |")
    return "\n".join([*lines, "", *cost_notes(costs)])


def _shares(path: Path) -> str:
    compared = ComparedCorpora.read(path)
    titles = [one.info.title for one in compared.corpora[0].compared.systems]
    lines = [f"| | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    for on in compared.corpora:
        shares = [on.compared.share_of_possible(title, "micro_f1") for title in titles]
        cells = ["unknown" if one is None else interval_text(one, "<br>") for one in shares]
        lines.append(f"| {on.corpus} | {' | '.join(cells)} |")
    said = [*corpora.answers(compared), *corpora.notes(compared)]
    return "\n".join([*lines, "", *said])


def _parts(path: Path) -> str:
    ablated = ComparedCorpora.read(path)
    titles = [on.corpus for on in ablated.corpora]
    parts = [ablations.part_name(one) for one in ablations.parts_of(ablated.corpora[0])]
    lines = [f"| without | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    for row, part in enumerate(parts):
        cells = [
            difference_text(on.compared.pairs[row].metrics["micro_f1"], "<br>")
            for on in ablated.corpora
        ]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *ablations.answers(ablated), *ablations.notes(ablated)])


def _subsets(dropped: Path, never: Path) -> str:
    lines = ["| modalities shown | trained with modality dropout | without |", "|---|---|---|"]
    pairs = zip(Robustness.read(dropped).by_subset, Robustness.read(never).by_subset, strict=True)
    for one, other in pairs:
        figures = [interval_text(of.intervals["micro_f1"]) for of in (one, other)]
        lines.append(f"| {', '.join(one.modalities)} | {' | '.join(figures)} |")
    return "\n".join(lines)


def _serving(path: Path) -> str:
    told = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| server | samples in a request | clients | p50 | p99 | samples per second |"]
    lines.append("|---|---|---|---|---|---|")
    lines += [
        f"| `{server}` | {one['samples']} | {one['clients']} | {one['p50_ms']:.1f} ms "
        f"| {one['p99_ms']:.1f} ms | {one['samples_per_second']:,.0f} |"
        for server, measured in told["servers"].items()
        for one in measured
    ]
    model, machine = told["model"], told["machine"]
    widths = " + ".join(map(str, model["widths"].values()))
    said = [
        f"Samples of {model['steps']} steps of {widths} numbers, system `{model['system']}`. "
        f"Scoring alone, without HTTP and JSON: {told['in_process_ms']['1']:.1f} ms for 1 sample, "
        f"{told['in_process_ms']['64']:.1f} ms for 64.",
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} thread; the "
        f"clients ran there too, and other work: load {machine['load_average']:.1f} at the end. "
        "The p99 of fewer than 100 requests is about the slowest of them.",
    ]
    return "\n".join([*lines, "", *said])


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
