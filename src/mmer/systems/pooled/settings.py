"""What can be set of the pooled network. The defaults suit small corpora and a laptop."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from mmer.schema import Settings
from mmer.training.settings import OptimiserSettings, TrainingSettings


class PooledNetworkSettings(Settings):
    """Sizes of the pooled network.

    Attributes:
        step_width: Width of a step after its linear layer, in each modality.
        hidden: Width of the hidden layer over all that was pooled.
        dropout: Probability, on what was pooled and on the hidden layer.
    """

    step_width: PositiveInt = 48
    hidden: PositiveInt = 64
    dropout: float = Field(default=0.3, ge=0, lt=1)


class PooledOptimiser(OptimiserSettings):
    """The optimiser with other defaults: a small network learns fast, and forgets by decay."""

    learning_rate: PositiveFloat = 3e-3
    weight_decay: NonNegativeFloat = 1.0


class PooledTraining(TrainingSettings):
    """Training with other defaults."""

    epochs: PositiveInt = 12
    batch_size: PositiveInt = 32
    optimiser: PooledOptimiser = PooledOptimiser()


class PooledSettings(Settings):
    """All that is set of the pooled network.

    Attributes:
        network: Its sizes.
        training: How it is trained.
    """

    network: PooledNetworkSettings = PooledNetworkSettings()
    training: PooledTraining = PooledTraining()
