"""What helps networks to do without modalities: micro-F1 with every pattern of them shown.

Run with `python benchmarks/absent_modalities.py`; prints one JSON object. The corpus is a SYNTHETIC
probe whose training and validation samples lack each modality with probability `--absent`; the test
samples have all, so that every pattern and rate of absences is judged on the same ones. Its label
probabilities are known under every pattern, so the best score that any system can expect is, too.

Every network is trained with every treatment and seed, with modality dropout; each seed is another
draw of the samples and of the parameters. A treatment's difference from "mask", which is what
networks do of themselves, is taken seed by seed. A score becomes a label at the one threshold that
is best on validation. Of the systems that look at nothing, one predicts every label, and one knows
how frequent each is. As they are, the settings are for ten minutes of one core; of two seeds,
a difference's interval is so wide that it tells little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from statistics import fmean, stdev
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from measure import show
from scipy.stats import t as student

from mmer.calibration.targets import Target
from mmer.calibration.thresholds import shared_threshold
from mmer.corpora.bayes_optimal import bayes_optimal_scores
from mmer.corpora.probes.between_modalities import AbsentAtRandom
from mmer.corpora.probes.files import directions, draw_split
from mmer.corpora.probes.probe import LABELS, MODALITIES, WIDTH, Probe, Shown
from mmer.evaluation.robustness import draw_shown, modality_subsets
from mmer.metrics.counts import micro_f1
from mmer.metrics.decisions import decide
from mmer.samples.batches import Samples, samples_of
from mmer.samples.table import Features, Split, TableInfo
from mmer.systems import SYSTEMS
from mmer.training.loop import train
from mmer.training.scoring import score_samples

NETWORKS = ("carat", "ramer", "pooled")
TREATMENTS: dict[str, dict[str, object]] = {
    "mask": {},
    "token": {"fill": "token"},
    "prototypes": {"fill": "prototypes"},
    "mask+distillation": {"distillation": 1.0},
}
RATES = (0.1, 0.3, 0.5, 0.7)
DROPOUT = 0.2
SMALL = {
    "hidden": 32,
    "latent": 16,
    "heads": 4,
    "feed_forward": 64,
    "layers": dict.fromkeys(MODALITIES, 1),
    "dropout": 0.1,
    "queue": 256,
}
RECONSTRUCTING = {
    "network": SMALL,
    "training": {"batch_size": 32, "optimiser": {"learning_rate": 2e-3}},
}
SETTINGS = {"carat": RECONSTRUCTING, "ramer": RECONSTRUCTING, "pooled": {}}

Pattern = np.ndarray  # (N, M) bool, what is shown of each sample
Score = Callable[[Pattern], np.ndarray]  # -> (N, L)


class Drawn(NamedTuple):
    """The samples of a seed, what the test samples show, and the patterns they are judged under."""

    train: Samples
    valid: Samples
    test: Samples
    probe: Probe
    shown: Shown
    patterns: dict[str, Pattern]


def samples_of_split(probe: Probe, split: Split) -> tuple[Samples, Shown]:
    """Samples as a table would hold them, without the files."""
    groups, labels, shown = draw_split(probe, split)
    values = np.einsum("nmtc,mcd->nmtd", shown.values, directions(probe)).astype(np.float32)
    features = {
        name: [rows[there] for rows, there in zip(values[:, m], shown.there[:, m], strict=True)]
        for m, name in enumerate(MODALITIES)
    }
    info = TableInfo(
        corpus="probe",
        split=split,
        labels=LABELS,
        features={m: Features(name="drawn numbers", width=WIDTH) for m in MODALITIES},
        alignment="word",
        synthetic=True,
        fingerprint="benchmark",
    )
    samples = samples_of(info, features, tuple(f"{split}_{n}" for n in range(len(labels))))
    names = tuple(f"{split}_group_{group}" for group in groups)
    return replace(samples, labels=torch.from_numpy(labels).float(), group_ids=names), shown


def drawn(seed: int, arguments: argparse.Namespace) -> Drawn:
    """What all systems of a seed are fitted to and judged on."""
    same = {
        "seed": seed,
        "strength": arguments.strength,
        "train_samples": arguments.samples,
        "test_samples": arguments.test_samples,
    }
    lacking, whole = (AbsentAtRandom(absent=rate, **same) for rate in (arguments.absent, 0.0))
    test, shown = samples_of_split(whole, "test")
    rng, size = np.random.default_rng(seed), (len(test), len(MODALITIES))
    patterns = {
        " + ".join(subset): np.tile([m in subset for m in MODALITIES], (len(test), 1))
        for subset in modality_subsets(MODALITIES)
    }
    patterns |= {f"rate {rate:g}": draw_shown(rng, *size, rate) for rate in RATES}
    fitting = (samples_of_split(lacking, split)[0] for split in ("train", "valid"))
    return Drawn(*fitting, test, lacking, shown, patterns)


def possible(one: Drawn) -> dict[str, float]:
    """Pattern -> the micro-F1 that who knows the label probabilities of these samples expects."""
    found = {}
    for name, pattern in one.patterns.items():
        there = one.shown.there & pattern[:, :, None]
        seen = Shown(one.shown.values * there[..., None], there)
        found[name] = bayes_optimal_scores(one.probe.posterior(seen))["micro_f1"]
    return found


def judged(score: Score, one: Drawn, threshold: float) -> dict[str, float]:
    """Pattern -> micro-F1."""
    return {
        name: micro_f1(decide(score(pattern), threshold), one.test.truth)
        for name, pattern in one.patterns.items()
    }


def constants(one: Drawn) -> dict[str, dict[str, float]]:
    """Systems that look at nothing; who knows the rates takes the threshold best on validation."""
    size, rates = one.test.truth.shape, one.train.truth.mean(axis=0)
    known = np.tile(rates, (len(one.valid), 1)), one.valid.truth
    threshold = shared_threshold(*known, Target("micro_f1"))
    return {
        "all labels": judged(lambda pattern: np.ones(size), one, 0.0),
        "prevalence": judged(lambda pattern: np.tile(rates, (size[0], 1)), one, threshold),
    }


Cell = tuple[int, str, str]  # seed, network, treatment


def trained(arguments: argparse.Namespace, cell: Cell) -> dict[str, float]:
    """Pattern -> micro-F1 of a network trained with a treatment."""
    torch.set_num_threads(1)
    seed, name, treatment = cell
    one, system = drawn(seed, arguments), SYSTEMS[name]
    training = {
        **SETTINGS[name].get("training", {}),
        "epochs": arguments.epochs,
        "seed": seed,
        "device": "cpu",
        "modality_dropout": DROPOUT,
        "absent": TREATMENTS[treatment],
    }
    settings = system.settings.model_validate({**SETTINGS[name], "training": training})
    network, _ = train(
        lambda: system.build(settings, one.train.info), one.train, one.valid, settings.training
    )
    known = score_samples(network, one.valid), one.valid.truth
    threshold = shared_threshold(*known, Target("micro_f1"))

    def score(pattern: Pattern) -> np.ndarray:
        return score_samples(network, one.test, dict(zip(MODALITIES, pattern.T, strict=True)))

    found = judged(score, one, threshold)
    told = ", ".join(f"{value:.3f}" for value in found.values())
    print(f"seed {seed}, {name}, {treatment}: {told}", file=sys.stderr, flush=True)
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Mean over seeds, and their deviation."""
    return {"mean": round(fmean(values), 4), "deviation": round(stdev(values), 4)}


def difference(treated: list[float], mask: list[float]) -> dict[str, float | bool]:
    """From "mask", seed by seed; it is taken for one if its 95 % t-interval leaves 0 out."""
    apart = [a - b for a, b in zip(treated, mask, strict=True)]
    half = float(student.ppf(0.975, len(apart) - 1)) * stdev(apart) / len(apart) ** 0.5
    return {**spread(apart), "half_interval": round(half, 4), "told": abs(fmean(apart)) > half}


def summary(by_seed: list[dict[str, float]]) -> dict[str, object]:
    """Pattern -> mean and deviation over seeds; and of all patterns that hide something."""
    return {name: spread([found[name] for found in by_seed]) for name in by_seed[0]}


def groups_of_patterns(names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """All shown, one hidden, two hidden, at random."""
    subsets = [name for name in names if not name.startswith("rate ")]
    for hidden, title in enumerate(("all shown", "one hidden", "two hidden")):
        yield title, [n for n in subsets if n.count(" + ") == len(MODALITIES) - 1 - hidden]
    yield "at random", [name for name in names if name.startswith("rate ")]


def against_mask(by_seed: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Treatment -> its difference from "mask" over groups of patterns."""
    names = list(by_seed["mask"][0])
    means = {
        treatment: {
            title: [fmean(found[n] for n in members) for found in runs]
            for title, members in groups_of_patterns(names)
        }
        for treatment, runs in by_seed.items()
    }
    return {
        treatment: {title: difference(x, means["mask"][title]) for title, x in found.items()}
        for treatment, found in means.items()
        if treatment != "mask"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=800, help="of training")
    parser.add_argument("--test-samples", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--strength", type=float, default=0.7, help="of what a label adds")
    parser.add_argument("--absent", type=float, default=0.4, help="share of training that lacks")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--treatments", nargs="+", choices=TREATMENTS, default=tuple(TREATMENTS))
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.seeds < 2 or "mask" not in arguments.treatments:
        parser.error("at least 2 seeds, and mask among the treatments")
    begin, seeds = perf_counter(), range(1, arguments.seeds + 1)
    cells = list(product(seeds, arguments.networks, arguments.treatments))
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        found = dict(zip(cells, pool.map(partial(trained, arguments), cells), strict=True))
    every = [drawn(seed, arguments) for seed in seeds]
    best, nothing = [possible(one) for one in every], [constants(one) for one in every]
    runs = {
        name: {t: [found[seed, name, t] for seed in seeds] for t in arguments.treatments}
        for name in arguments.networks
    }
    show(
        "absent_modalities",
        synthetic=True,
        sizes={**vars(arguments), "modality_dropout": DROPOUT},
        seconds=round(perf_counter() - begin),
        micro_f1={
            "bayes_optimal": summary(best),
            **{title: summary([one[title] for one in nothing]) for title in nothing[0]},
            **{name: {t: summary(one) for t, one in by.items()} for name, by in runs.items()},
        },
        difference_from_mask={name: against_mask(by) for name, by in runs.items()},
    )


if __name__ == "__main__":
    main()
