"""What can be set of the pooled network."""

from __future__ import annotations

from pydantic import Field

from mmer.schema import Settings
from mmer.training.settings import OptimiserSettings, TrainingSettings


class PooledNetworkSettings(Settings):
    """Sizes of the pooled network.

    Attributes:
        step_width: Width of a step after its linear layer, in each modality.
        hidden: Width of the hidden layer over all that was pooled.
        dropout: Probability, on what was pooled and on the hidden layer.
    """

    step_width: int = Field(default=48, ge=1)
    hidden: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)


class PooledSettings(Settings):
    """Settings of the pooled network; the defaults suit small corpora."""

    network: PooledNetworkSettings = PooledNetworkSettings()
    training: TrainingSettings = TrainingSettings(
        epochs=20,
        batch_size=32,
        optimiser=OptimiserSettings(learning_rate=3e-3, weight_decay=0.1),
    )
