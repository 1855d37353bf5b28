"""What stands in the place of a modality that a sample lacks, for any network.

A network sees nothing of an absent modality: its steps are masked, its features zero. A fill gives
it a sequence of one step instead, before the network sees the batch, so that no network has to know
of it, and the network takes the modality for one that is there. Whatever a sample has is left as it
is, to the bit.

Two fills:

- `TokenFill`: a learned vector per modality (the learned token), in units of the modality's
  features: z stands for mean + deviation * z, both over the training steps.
- `PrototypeFill`: the token, moved to where the sample's labels would put it. The present
  modalities say how likely each label is, the prototypes what it would have added. That is a
  decision: "the prototype mixture" is known by name only. A mixture alone has next to no length
  where nothing is certain, and the LayerNorm with which networks begin would blow it up to the
  length of the surest; on top of a token its length says how sure it is.

All that prototypes know comes from the training samples, before the first step. It is saved and
served with the network's parameters.

What was fitted to a sample knows its labels, be the rest noise, and a step that gives them away
teaches to trust it more than it will deserve. So of a training sample, in training, the
modalities tell what a fit on other groups makes of them (cross-fitting, `ToldBatch`): each
sample's part is fixed before the first step, follows from the training samples alone, and is
neither saved nor served.

Shapes: B samples, T steps, D features, L labels, N training samples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mmer.calibration.folds import group_folds
from mmer.metrics.counts import number_groups
from mmer.samples.batches import Batch, Samples, StepPersons
from mmer.training.network import Losses, Network
from mmer.training.settings import AbsentSettings

# Of a label's evidence that is left unexplained at least, so that none is sure beyond reason.
_LEAST_UNEXPLAINED = 0.05
_RIDGE = 1e-6
_FOLDS = 5


@dataclass(frozen=True)
class ToldBatch(Batch):
    """Training samples with what their modalities tell of their labels, by a fit on other groups.

    Attributes:
        told: Modality -> (B, L) log-ratios, see `Prototypes`; empty if nothing wants to know.
    """

    told: dict[str, Tensor] = field(default_factory=dict)

    def first(self, count: int) -> Batch:
        return with_told(super().first(count), {m: x[:count] for m, x in self.told.items()})


def with_told(batch: Batch, told: dict[str, Tensor]) -> ToldBatch:
    """The batch with what its modalities tell, see `ToldBatch`."""
    own = {one.name: getattr(batch, one.name) for one in fields(Batch)}
    return ToldBatch(**own, told=told)


class Fill(nn.Module):
    """Puts one step in the place of each modality that a sample lacks."""

    @abstractmethod
    def steps(self, batch: Batch) -> dict[str, Tensor]:
        """Modality -> (B, D) or (D,), the step that stands for it where it is absent."""

    @abstractmethod
    def learn_from(
        self, samples: Samples, mean: Mapping[str, Tensor], scale: Mapping[str, Tensor]
    ) -> None:
        """Take what is known of the training samples: of no others.

        Args:
            mean, scale: Modality -> (D,), see `mmer.training.loop.input_statistics`.
        """

    def of_training(self, batch: Batch, rows: np.ndarray) -> Batch:
        """The batch of the training samples `rows` (B,), as the fill is to see it in training."""
        return batch

    def forward(self, batch: Batch) -> Batch:
        """The batch, every sample of which has every modality."""
        features, masks = dict(batch.features), dict(batch.masks)
        places = {}
        for modality, step in self.steps(batch).items():
            x_BTD, mask_BT = features[modality], masks[modality]
            first_T = torch.arange(mask_BT.shape[1], device=mask_BT.device) == 0
            places[modality] = place_BT = ~mask_BT.any(dim=1, keepdim=True) & first_T
            step = step.to(x_BTD.dtype).view(-1, 1, x_BTD.shape[2])
            features[modality] = torch.where(place_BT[..., None], step, x_BTD)
            masks[modality] = mask_BT | place_BT
        persons = batch.persons and _of_target(batch.persons, places)
        return replace(batch, features=features, masks=masks, persons=persons)


def _of_target(told: StepPersons, places: Mapping[str, Tensor]) -> StepPersons:
    """What stands at these places (B, T) is the target's own, in the first segment."""
    return StepPersons(
        told.target,
        {m: torch.where(at, told.target[:, None], told.persons[m]) for m, at in places.items()},
        {m: told.segments[m].masked_fill(at, 0) for m, at in places.items()},
    )


class Token(nn.Module):
    """A learned step of one modality, and the units of its features."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.randn(width))  # as long as a step of the samples
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, moved: Tensor | float = 0.0) -> Tensor:
        """(.., D) in the features' units; `moved` (.., D) is in deviations."""
        return self.mean + self.scale * (self.vector + moved)


class TokenFill(Fill):
    """A learned vector per modality."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.tokens = nn.ModuleDict({m: Token(width) for m, width in widths.items()})

    def learn_from(
        self, samples: Samples, mean: Mapping[str, Tensor], scale: Mapping[str, Tensor]
    ) -> None:
        for modality, token in self.tokens.items():
            assert isinstance(token, Token)
            token.mean.copy_(mean[modality])
            token.scale.copy_(scale[modality])

    def steps(self, batch: Batch) -> dict[str, Tensor]:
        return {modality: token() for modality, token in self.tokens.items()}


class Prototypes(nn.Module):
    """What one modality tells of the labels, and the labels of it; features are standardised.

    Attributes:
        added: (L, D) what a label adds to the mean step: of the prototypes of its presence and of
            its absence the difference, by least squares over all labels, so that labels which go
            together are not counted twice.
        weights, biases: (L, D) and (L,) of the log-ratio of the likelihoods of the mean step, with
            the label and without it: two normal distributions of one covariance (linear
            discriminant analysis; Ledoit-Wolf's estimate), times how far what it says of samples
            outside the fit can be trusted, in [0, 1]. With more features than samples that is
            little: what is noise says nothing.
    """

    added: Tensor
    weights: Tensor
    biases: Tensor

    def __init__(self, width: int, num_labels: int) -> None:
        super().__init__()
        self.register_buffer("added", torch.zeros(num_labels, width))
        self.register_buffer("weights", torch.zeros(num_labels, width))
        self.register_buffer("biases", torch.zeros(num_labels))

    def learn_from(
        self, steps_ND: np.ndarray, labels_NL: np.ndarray, fold_N: np.ndarray
    ) -> np.ndarray:
        """From the mean steps of the samples that have the modality; nothing from fewer than 2.

        Returns:
            (N, L) the log-ratio of each sample, by a fit on those of the other folds.
        """
        held_out_NL = held_out_log_ratios(steps_ND, labels_NL, fold_N)
        trust_L = _trust(held_out_NL, labels_NL)
        if len(steps_ND) >= 2:
            found = _told(steps_ND, labels_NL)
            self.added.copy_(torch.from_numpy(found.added))
            self.weights.copy_(torch.from_numpy(found.weights * trust_L[:, None]))
            self.biases.copy_(torch.from_numpy(found.biases * trust_L))
        return held_out_NL * trust_L

    def log_ratio(self, steps_BD: Tensor) -> Tensor:
        """(B, L)"""
        return steps_BD @ self.weights.T + self.biases


def held_out_log_ratios(
    steps_ND: np.ndarray, labels_NL: np.ndarray, fold_N: np.ndarray
) -> np.ndarray:
    """(N, L) `Prototypes.log_ratio` of samples, each by a fit on those of the other folds.

    0 where there are fewer than 2 others: they tell nothing.
    """
    found_NL = np.zeros_like(labels_NL)
    for fold in np.unique(fold_N):
        own = fold_N == fold
        if np.count_nonzero(~own) >= 2:
            told = _told(steps_ND[~own], labels_NL[~own])
            found_NL[own] = steps_ND[own] @ told.weights.T + told.biases
    return found_NL


def _trust(held_out_NL: np.ndarray, labels_NL: np.ndarray) -> np.ndarray:
    """(L,) in [0, 1]: times which log-ratios of samples outside the fit are most likely.

    0 where nothing was held out. The least sum of log(1 + exp(-logit)), convex in the factor.
    """
    from scipy.optimize import minimize_scalar  # no part of what is served

    rates_L = (labels_NL.sum(axis=0) + 1) / (len(labels_NL) + 2)
    trust_L = np.zeros(len(rates_L))
    for n, told_N in enumerate(held_out_NL.T):
        if told_N.any():
            sign_N, prior = 2 * labels_NL[:, n] - 1, np.log(rates_L[n] / (1 - rates_L[n]))

            def surprise(factor: float, s=sign_N, p=prior, t=told_N) -> float:
                return float(np.logaddexp(0, -s * (p + factor * t)).sum())

            trust_L[n] = minimize_scalar(surprise, bounds=(0, 1), method="bounded").x
    return trust_L


class PrototypeFill(TokenFill):
    """The token, moved by what the labels would have added: sum over the labels of
    (P(label | the modalities that are there) - P(label)) times what it adds.

    The probabilities take the modalities for independent given the labels. So where one has said
    all that there is to know, two that say the same are too sure.
    """

    rates: Tensor

    def __init__(self, widths: Mapping[str, int], num_labels: int) -> None:
        super().__init__(widths)
        self.register_buffer("rates", torch.full((num_labels,), 0.5))
        self.prototypes = nn.ModuleDict(
            {m: Prototypes(width, num_labels) for m, width in widths.items()}
        )
        # Modality -> (N, L) of the training samples, on the host. No buffer: it is not served.
        self._held_out: dict[str, Tensor] = {}

    def learn_from(
        self, samples: Samples, mean: Mapping[str, Tensor], scale: Mapping[str, Tensor]
    ) -> None:
        super().learn_from(samples, mean, scale)
        labels = samples.labels.cpu().double()
        # As if one more had it and one more had not: no label is certain before it is looked at.
        self.rates.copy_((labels.sum(dim=0) + 1) / (len(labels) + 2))
        fold = _folds(samples)
        for modality, prototypes in self._each():
            has = samples.host_lengths[modality] > 0
            steps = (mean_steps(samples, modality) - mean[modality]) / scale[modality]
            known = steps.numpy()[has], labels.numpy()[has]
            held_out = torch.from_numpy(prototypes.learn_from(*known, fold[has])).float()
            self._held_out[modality] = torch.zeros(labels.shape)
            self._held_out[modality][torch.from_numpy(has)] = held_out

    def of_training(self, batch: Batch, rows: np.ndarray) -> Batch:
        device, index = batch.labels.device, torch.from_numpy(rows)
        told = {m: x[index].to(device, non_blocking=True) for m, x in self._held_out.items()}
        return with_told(batch, told)

    def steps(self, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(batch.labels.device.type, enabled=False):
            surprise_BL = self.probabilities(batch) - self.rates
            moved = {m: surprise_BL @ p.added for m, p in self._each()}
            return {m: token(moved[m]) for m, token in self.tokens.items()}

    def probabilities(self, batch: Batch) -> Tensor:
        """(B, L) P(label | the modalities that the sample has)."""
        held_out = batch.told if isinstance(batch, ToldBatch) else {}
        logit_BL = self.rates.logit().expand(len(batch.labels), -1)
        for modality, prototypes in self._each():
            mask_BT = batch.masks[modality]
            if modality in held_out:
                told_BL = held_out[modality]
            else:
                told_BL = prototypes.log_ratio(self._mean_step(batch, modality))
            logit_BL = logit_BL + told_BL * mask_BT.any(dim=1, keepdim=True)
        return logit_BL.sigmoid()

    def _mean_step(self, batch: Batch, modality: str) -> Tensor:
        """(B, D) over the steps of each sample, standardised."""
        token, mask_BT = self.tokens[modality], batch.masks[modality]
        assert isinstance(token, Token)
        x_BTD = batch.features[modality].to(token.mean.dtype)
        total_BD = x_BTD.masked_fill(~mask_BT[..., None], 0).sum(dim=1)
        mean_BD = total_BD / mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
        return (mean_BD - token.mean) / token.scale

    def _each(self) -> list[tuple[str, Prototypes]]:
        return [(m, p) for m, p in self.prototypes.items() if isinstance(p, Prototypes)]


class _Told(NamedTuple):
    added: np.ndarray
    weights: np.ndarray
    biases: np.ndarray


def _told(steps_ND: np.ndarray, labels_NL: np.ndarray) -> _Told:
    """See `Prototypes`; zeros for labels that all or none of the samples have."""
    from sklearn.covariance import ledoit_wolf  # no part of what is served

    rates_L = labels_NL.mean(axis=0)
    centre_D = steps_ND.mean(axis=0)
    added_LD = np.linalg.lstsq(labels_NL - rates_L, steps_ND - centre_D, rcond=None)[0]
    count_L = labels_NL.sum(axis=0)[:, None]
    known_L1 = (count_L > 0) & (count_L < len(labels_NL))
    with_LD = labels_NL.T @ steps_ND / np.maximum(count_L, 1)
    without_LD = (1 - labels_NL).T @ steps_ND / np.maximum(len(labels_NL) - count_L, 1)
    apart_LD = np.where(known_L1, with_LD - without_LD, 0)
    covariance_DD = ledoit_wolf(steps_ND)[0]
    ridge = _RIDGE * max(float(np.trace(covariance_DD)) / len(covariance_DD), _RIDGE)
    covariance_DD = covariance_DD + ridge * np.eye(len(covariance_DD))
    weights_LD = np.linalg.solve(covariance_DD, apart_LD.T).T
    # This is over all samples; within the two classes there is less (Sherman-Morrison).
    explained_L = rates_L * (1 - rates_L) * (weights_LD * apart_LD).sum(axis=1)
    weights_LD /= np.maximum(1 - explained_L, _LEAST_UNEXPLAINED)[:, None]
    biases_L = -(weights_LD * (with_LD + without_LD) / 2).sum(axis=1)
    return _Told(np.where(known_L1, added_LD, 0), weights_LD, biases_L)


def _folds(samples: Samples) -> np.ndarray:
    """(N,) which fold of whole groups each sample is in; all in one if there is one group."""
    groups = number_groups(samples.group_ids)
    count = len(np.unique(groups))
    return group_folds(groups, min(_FOLDS, count)) if count > 1 else np.zeros_like(groups)


def own_steps(samples: Samples, modality: str) -> Tensor:
    """(R, D) the steps of these samples alone, one sample after another: those that `take` has left
    out are still among the values."""
    values, lengths = samples.values[modality], samples.lengths[modality]
    if len(values) == 0:
        return values
    before = samples.starts[modality] - (lengths.cumsum(0) - lengths)
    within = torch.arange(int(lengths.sum()), device=values.device)
    rows = within + before.repeat_interleave(lengths)
    whole = len(rows) == len(values) and bool((rows == within).all())
    return values if whole else values[rows]


def mean_steps(samples: Samples, modality: str) -> Tensor:
    """(N, D) double, on the host: the mean over each sample's steps, 0 where it has none."""
    steps, lengths = own_steps(samples, modality).cpu(), samples.lengths[modality].cpu()
    sums = torch.zeros(len(lengths), steps.shape[1], dtype=torch.float64)
    sample_R = torch.arange(len(lengths)).repeat_interleave(lengths)
    sums.index_add_(0, sample_R, steps.double())
    return sums / lengths.clamp(min=1)[:, None]


class FilledNetwork(Network):
    """A network that is shown a step in the place of every modality that a sample lacks."""

    def __init__(self, network: Network, fill: Fill) -> None:
        super().__init__()
        self.network, self.fill = network, fill

    @property
    def longest(self) -> Mapping[str, int | None]:
        """Modality -> the most steps that the network takes; those without take any number."""
        return getattr(self.network, "longest", {})

    def losses(self, batch: Batch) -> Losses:
        return self.network.losses(self.fill(batch))

    def after_step(self, carry: Any) -> None:
        self.network.after_step(carry)

    def scores(self, batch: Batch) -> Tensor:
        return self.network.scores(self.fill(batch))

    def set_input_statistics(self, mean: Mapping[str, Tensor], scale: Mapping[str, Tensor]) -> None:
        self.network.set_input_statistics(mean, scale)

    def label_attention(self, batch: Batch) -> dict[str, Tensor]:
        """Of an absent modality, what each label pays to the step in its place."""
        return self.network.label_attention(self.fill(batch))


def filled(
    network: Network, settings: AbsentSettings, widths: Mapping[str, int], num_labels: int
) -> Network:
    """The network with the fill that the settings ask for; itself if they ask for none."""
    if settings.fill == "mask":
        return network
    fill = PrototypeFill(widths, num_labels) if settings.fill == "prototypes" else TokenFill(widths)
    return FilledNetwork(network, fill)
