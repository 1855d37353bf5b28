"""What all systems that are one network have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmer.errors import InputError
from mmer.samples.batches import Present, Samples
from mmer.samples.table import Persons, TableInfo
from mmer.systems.contract import Attention, Fit, FittedSystem, System, SystemInfo, often_absent
from mmer.training.absent import filled
from mmer.training.checkpoints import Checkpoints
from mmer.training.loop import train as train_network
from mmer.training.network import Network
from mmer.training.scoring import score_samples


class NetworkSystem(System):
    """A network trained by `mmer.training`; its settings have fields `network` and `training`.

    Attributes:
        network: Makes a new network of its settings, the modalities' widths D and the number of
            labels; refuses settings that do not fit these with an InputError.
    """

    network: Callable[[Any, Mapping[str, int], int], Network]
    seeded = True

    def with_seed(self, settings: Any, seed: int) -> Any:
        training = settings.training.model_copy(update={"seed": seed})
        return settings.model_copy(update={"training": training})

    def build(self, settings: Any, info: TableInfo | SystemInfo) -> Network:
        """A new network for what `info` tells of samples."""
        return self.network(settings.network, info.widths, len(info.labels))

    def fit(
        self, train: Samples, valid: Samples, settings: Any, checkpoints: Checkpoints | None = None
    ) -> Fit:
        def build() -> Network:
            return self.build(settings, train.info)

        trained = train_network(build, train, valid, settings.training, checkpoints)
        dropped = settings.training.modality_dropout > 0
        may_lack = train.modalities if dropped else often_absent(train)
        history = trained.history
        chosen = {"kept_epoch": history.kept, "epoch_groups": history.epoch_groups}
        seed = settings.training.seed
        info = self.info(train, settings, **chosen, seed=seed, may_lack=may_lack)
        state = trained.network.state_dict()
        arrays = {name: x.to("cpu", copy=True).contiguous() for name, x in state.items()}
        return Fit(FittedSystem(info, arrays), history)

    def count_parameters(self, fitted: FittedSystem) -> int:
        """Queues, prototypes and statistics of the input do not count."""
        return sum(x.numel() for x in self._empty(fitted.info).parameters())

    def scorer(self, fitted: FittedSystem, device: torch.device) -> NetworkScorer:
        """The network with what it has learned; draws no random numbers.

        Raises:
            InputError: The arrays are not those of such a network.
        """
        where, network = f"fitted {fitted.info.title}", self._empty(fitted.info)
        own = network.state_dict()
        check_names(where, fitted.arrays, own)
        for name, tensor in fitted.arrays.items():
            if _kind(tensor) != _kind(own[name]):
                raise InputError(where, name, _kind(own[name]), _kind(tensor))
        state = {name: x.to(device, copy=True) for name, x in fitted.arrays.items()}
        network.load_state_dict(state, assign=True)
        return NetworkScorer(network.eval(), fitted.info.persons)

    def _empty(self, info: SystemInfo) -> Network:
        """The network and what fills in for absent modalities, their parameters nowhere yet."""
        settings: Any = self.settings.model_validate(info.settings)
        with torch.device("meta"):
            network = self.build(settings, info)
            return filled(network, settings.training.absent, info.widths, len(info.labels))


class NetworkScorer:
    """A network in evaluation mode, ready to score.

    Attributes:
        persons: Those that the network knows, if it knows any. Samples that tell of persons must
            tell of these.
    """

    def __init__(self, network: Network, persons: Persons | None = None) -> None:
        self.network, self.persons = network, persons

    def scores(self, samples: Samples, present: Present | None = None) -> np.ndarray:
        """See `Scorer`."""
        self._check_persons(samples)
        return score_samples(self.network, samples, present)

    def attention(self, samples: Samples, index: np.ndarray) -> list[Attention]:
        """See `Scorer`."""
        self._check_persons(samples)
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            looks = self.network.label_attention(samples.gather(index).to(device))
        lengths = {m: samples.host_lengths[m][index] for m in looks}
        rows = range(len(index)) if looks else ()
        return [
            {m: x[row, : lengths[m][row]].float().cpu().numpy() for m, x in looks.items()}
            for row in rows
        ]

    def _check_persons(self, samples: Samples) -> None:
        told, known = samples.info.persons, self.persons
        if known and told and samples.target is not None:
            check_persons(f"{samples.info.corpus} samples", told, known)


def check_persons(where: object, found: Persons, known: Persons) -> None:
    """Refuse other persons than those that are known, or other traits of them.

    Raises:
        InputError: They are others; naming the first whose traits are.
    """
    if found.names != known.names:
        expected = f"those of training, {', '.join(known.names)}"
        raise InputError(where, "persons", expected, ", ".join(found.names))
    for name, traits, own in zip(known.names, found.traits, known.traits, strict=True):
        if traits != own:
            raise InputError(where, f"traits of {name}", f"{own}, as in training", traits)


def check_names(where: object, found: Iterable[str], expected: Iterable[str]) -> None:
    """Refuse names of tensors that are not those expected, with an InputError."""
    found, expected = set(found), set(expected)
    remedy = "If another version of the program made it, train it anew with this one."
    for problem, names in (("lacks", expected - found), ("has besides", found - expected)):
        if names:
            told = f"one that {problem} {', '.join(sorted(names))}"
            raise InputError(where, "", "the tensors of the network", told, remedy)


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
