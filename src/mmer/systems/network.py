"""What all systems that are one network have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmer.errors import InputError
from mmer.samples.batches import Present, Samples
from mmer.systems.contract import Attention, Fit, FittedSystem, System
from mmer.training.loop import train as train_network
from mmer.training.network import Network
from mmer.training.scoring import score_samples


class NetworkSystem(System):
    """A network trained by `mmer.training`; its settings have a field `training`."""

    @abstractmethod
    def network(self, settings: Any, widths: Mapping[str, int], num_labels: int) -> Network:
        """A new network.

        Args:
            settings: The system's.
            widths: Modality -> D.
            num_labels: L.

        Raises:
            InputError: The settings do not fit these modalities.
        """

    def fit(self, train: Samples, valid: Samples, settings: Any) -> Fit:
        def build() -> Network:
            return self.network(settings, train.info.widths, len(train.info.labels))

        trained = train_network(build, train, valid, settings.training)
        info = self.info(train, settings, kept_epoch=trained.history.kept)
        state = trained.network.state_dict()
        arrays = {name: x.to("cpu", copy=True).contiguous() for name, x in state.items()}
        return Fit(FittedSystem(info, arrays), trained.history)

    def scorer(self, fitted: FittedSystem, device: torch.device) -> NetworkScorer:
        """The network with what it has learned; draws no random numbers.

        Raises:
            InputError: The arrays are not those of such a network.
        """
        info = fitted.info
        with torch.device("meta"):
            settings = self.settings.model_validate(info.settings)
            network = self.network(settings, info.widths, len(info.labels))
        check_arrays(f"fitted {info.title}", fitted.arrays, network.state_dict())
        state = {name: x.to(device, copy=True) for name, x in fitted.arrays.items()}
        network.load_state_dict(state, assign=True)
        return NetworkScorer(network.eval())


class NetworkScorer:
    """A network, ready to score.

    Args:
        network: In evaluation mode.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def scores(self, samples: Samples, present: Present | None = None) -> np.ndarray:
        """See `Scorer`."""
        return score_samples(self.network, samples, present)

    def attention(self, samples: Samples, index: np.ndarray) -> list[Attention]:
        """See `Scorer`."""
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            looks = self.network.label_attention(samples.gather(index).to(device))
        lengths = {m: samples.host_lengths[m][index] for m in looks}
        rows = range(len(index)) if looks else ()
        return [
            {m: x[row, : lengths[m][row]].float().cpu().numpy() for m, x in looks.items()}
            for row in rows
        ]


def check_arrays(
    where: object, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Refuse arrays that are not those that a system consists of.

    Raises:
        InputError: A name is missing or unknown, or a type or shape is another.
    """
    for problem, names in (
        ("missing", expected.keys() - found.keys()),
        ("unknown", found.keys() - expected.keys()),
    ):
        if names:
            raise InputError(where, "", f"no {problem} arrays", ", ".join(sorted(names)))
    for name, tensor in found.items():
        if _kind(tensor) != _kind(expected[name]):
            raise InputError(where, name, _kind(expected[name]), _kind(tensor))


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
