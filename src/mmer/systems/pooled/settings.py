"""What can be set of the pooled network. The defaults suit small corpora and a laptop."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from mmer.schema import Settings
from mmer.training.settings import OptimiserSettings, TrainingSettings


class PooledNetworkSettings(Settings):
    """Sizes of the pooled network.

    Attributes:
        step_width: Width of a step after its linear layer, in each modality.
        dropout: Probability, on what was pooled.
    """

    step_width: PositiveInt = 96
    dropout: float = Field(default=0.5, ge=0, lt=1)


class PooledOptimiser(OptimiserSettings):
    """The optimiser with other defaults: a small network that learns fast and decays fast."""

    learning_rate: PositiveFloat = 3e-3
    weight_decay: NonNegativeFloat = 2.0


class PooledTraining(TrainingSettings):
    """Training with other defaults."""

    epochs: PositiveInt = 12
    batch_size: PositiveInt = 32
    optimiser: PooledOptimiser = PooledOptimiser()


class PooledSettings(Settings):
    """All that is set of the pooled network."""

    network: PooledNetworkSettings = PooledNetworkSettings()
    training: PooledTraining = PooledTraining()
