"""Which validation groups the epoch is chosen on, where calibration is to see others.

What is chosen on some samples looks better there than elsewhere. Thresholds, calibrators and
conformal thresholds that are fitted on groups that chose the epoch take that for granted; on groups
that did not, they judge what was chosen as new recordings will.

Groups are drawn by a digest of their names and nothing else: every system and every seed sets the
same ones aside, so that systems stay comparable, and a larger share takes some more.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from mmer.errors import InputError
from mmer.provenance import digest
from mmer.samples.batches import Samples

# Calibration holds out one group at least and fits on another.
_FEWEST_FOR_CALIBRATION = 2


def groups_for_epochs(valid: Samples, share: float) -> tuple[str, ...]:
    """Names of the groups on which alone epochs are to be judged; none for a share of 1, all.

    Raises:
        InputError: Too few groups on one of the sides, or no label there to judge by.
    """
    if share == 1:
        return ()
    where = f"{valid.info.corpus} {valid.info.split} samples"
    groups = sorted(set(valid.group_ids), key=lambda name: digest(["epoch", name]))
    count = round(share * len(groups))
    if not 1 <= count <= len(groups) - _FEWEST_FOR_CALIBRATION:
        expected = "a share that leaves one group to choose the epoch on and two to calibrate on"
        found = f"{share:g} of {len(groups)} groups, {count} and {len(groups) - count}"
        raise InputError(where, "selection_share", expected, found, _remedy(len(groups)))
    chosen = tuple(sorted(groups[:count]))
    for side in (only_groups(valid, chosen), without_groups(valid, chosen)):
        if not side.truth.any():
            expected = "some sample with a label on either side"
            found = f"none in {len(set(side.group_ids))} of {len(groups)} groups"
            raise InputError(where, "selection_share", expected, found, _remedy(len(groups)))
    return chosen


def only_groups(samples: Samples, names: Collection[str]) -> Samples:
    """The samples of these groups, in their order."""
    return samples.take(np.flatnonzero(np.isin(samples.group_ids, list(names))))


def without_groups(samples: Samples, names: Collection[str]) -> Samples:
    """The samples of all other groups, in their order."""
    return samples.take(np.flatnonzero(~np.isin(samples.group_ids, list(names))))


def _remedy(groups: int) -> str:
    if groups <= _FEWEST_FOR_CALIBRATION:
        return "Set it to 1: there are too few groups to share out."
    most = (groups - _FEWEST_FOR_CALIBRATION) / groups
    return f"Set it between {1 / groups:.3g} and {most:.3g}, or to 1 to choose all on all groups."
