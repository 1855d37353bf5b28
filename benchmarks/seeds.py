"""Are systems with several seeds told apart as often as they should be?

Run with `python benchmarks/seeds.py`; prints one JSON object. Two systems are drawn again and again
on test splits of 40 groups: each seed has a skill of its own, and the systems' mean skill is equal
or differs by twice the seeds' deviation. Says how often `compare_seeds` calls them different in
micro-F1, with 2, 3 and 5 seeds of each.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from measure import show

from mmer.metrics.resampled import Judged
from mmer.metrics.scores import Scores, ScoresInfo
from mmer.metrics.seeds import compare_seeds

GROUPS, GROUP_SIZE, LABELS = 40, 5, ("a", "b", "c")
SKILL, DEVIATION = 0.35, 0.03
NAMES = tuple(f"sample {n}" for n in range(GROUPS * GROUP_SIZE))
GROUP_IDS = tuple(f"group {n // GROUP_SIZE}" for n in range(GROUPS * GROUP_SIZE))


def fit(
    title: str, seed: int, truth: np.ndarray, mean: float, generator: np.random.Generator
) -> Judged:
    """The scores of one seed."""
    skill = mean + DEVIATION * generator.standard_normal()
    values = np.clip(skill * truth + (1 - skill) * generator.random(truth.shape), 0, 1)
    info = ScoresInfo(
        corpus="drawn",
        split="test",
        labels=LABELS,
        fingerprint="drawn",
        synthetic=True,
        system=title,
        title=title,
        model=f"{title} {seed}",
        seed=seed,
    )
    return Judged(Scores(info, values, truth, NAMES, GROUP_IDS), np.full(len(LABELS), 0.5))


def told_apart(seeds: int, better: float, draws: int) -> float:
    """Share of draws in which the systems are called different."""
    generator, found = np.random.default_rng(1), 0
    for _ in range(draws):
        truth = (generator.random((len(NAMES), len(LABELS))) < 0.4).astype(np.uint8)
        systems = {
            title: [fit(title, seed, truth, mean, generator) for seed in range(seeds)]
            for title, mean in (("one", SKILL), ("other", SKILL + better))
        }
        (pair,) = compare_seeds(systems, resamples=400).pairs
        found += bool(pair.metrics["micro_f1"].significant)
    return found / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=300)
    draws = parser.parse_args().draws
    shares = {
        f"{seeds} seeds": {
            "equal": told_apart(seeds, 0.0, draws),
            "better by two deviations": told_apart(seeds, 2 * DEVIATION, draws),
        }
        for seeds in (2, 3, 5)
    }
    show("seeds", draws=draws, called_different=shares)


if __name__ == "__main__":
    main()
