"""How a network is trained."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from mmer.errors import InputError
from mmer.schema import Settings
from mmer.training.history import Selection

# Up to here beta^count vanishes at the step count that stands for "endless" (`BertAdam`).
Beta = Annotated[float, Field(ge=0, le=0.99999)]

Rendezvous = Literal[
    "nnodes",
    "node_rank",
    "rdzv_backend",
    "rdzv_endpoint",
    "rdzv_id",
    "rdzv_conf",
    "master_addr",
    "master_port",
    "local_addr",
]


class OptimiserSettings(Settings):
    """Constants of the optimisation; the defaults are the ones that this line of work publishes.

    Attributes:
        learning_rate: Peak, reached at the end of the warm-up.
        warmup: Share of all steps over which the rate rises linearly; it then falls to 0 linearly.
        weight_decay: Decoupled, per step times the learning rate.
        betas: Decay of the running means of the gradient and of its square.
        eps: Added to the root of the latter.
        gradient_norm: The gradient of all parameters together is clipped to this norm.
        parameter_gradient_norm: Then that of each parameter to this.
    """

    learning_rate: PositiveFloat = 5e-5
    warmup: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 0.01
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: PositiveFloat = 1e-6
    gradient_norm: PositiveFloat = 1.0
    parameter_gradient_norm: PositiveFloat = 1.0


class AbsentSettings(Settings):
    """How a network learns to do without modalities, beside `TrainingSettings.modality_dropout`.

    Attributes:
        fill: What stands in the place of a modality that a sample lacks, in training and in use.
            "mask": nothing, its steps are masked; "token": a learned step; "prototypes": that step,
            moved to where the present modalities say that it would be (`mmer.training.absent`).
        distillation: Weight of the divergence between what the network says of a sample and what of
            the sample with modalities hidden by modality dropout (`mmer.training.distillation`).

    The default is "mask", although a paper that is followed here has a learned token. On a probe
    that is SYNTHETIC (`benchmarks/results/absent_modalities.json`: three networks, two seeds) the
    token lost 0.03 to 0.15 of micro-F1 with all shown and 0.08 to 0.11 with two hidden; prototypes
    gained 0.05 to 0.12 with two hidden and lost 0.05 to 0.08 with all shown; distillation made next
    to no difference.
    """

    fill: Literal["mask", "token", "prototypes"] = "mask"
    distillation: NonNegativeFloat = 0.0


class TrainingSettings(Settings):
    """How a network is trained; the defaults are the published sizes.

    Attributes:
        epochs: Passes over the training samples.
        batch_size: Samples in a step.
        optimiser: Learning rate, its schedule, and the optimiser's constants.
        seed: Of parameters, shuffles and dropout.
        device: "auto" takes CUDA where there is one.
        precision: "auto" is float32, and on CUDA its matrix products round their factors (TF32).
            "bfloat16" is autocast; whether its scores are equal has not been compared.
        compile: Run the losses through `torch.compile`.
        standardise: Tell the network each feature's mean and deviation over the training steps.
        modality_dropout: Probability that a training step hides a modality of a sample; every
            sample keeps one that it has. A network that is to be used where modalities are absent
            must have been trained without them.
        absent: What stands in the place of absent modalities, and what else teaches to do without.
        selection: The epoch kept is the one with the best validation figure: the mean over the
            labels of average precision, which needs no threshold and so leaves thresholds to be
            chosen afterwards, or micro-F1.
        selection_threshold: Of micro-F1; the best shared threshold of each epoch if None.
        selection_share: Share of the validation groups on which epochs are judged. Below 1,
            calibration sees the other groups alone (`mmer.training.nesting`).
        batching: "length_aware" puts samples of like length together, so that little is padded;
            "shuffled" does not look at lengths, as the published programs do.
        drop_last_validation_batch: Validation skips what does not fill a batch, another part of the
            samples in each epoch, as the published programs do.
        processes: On this machine, each with its share of every batch and, where there is CUDA,
            with a device of its own (`mmer.training.distributed`).
        rendezvous: Options of torchrun by which the processes of several machines find each other,
            such as `nnodes` and `rdzv_endpoint`; its own defaults for what is not there.

    How many processes there are decides what dropout draws and how long it takes, and not what is
    trained. So `processes` and `rendezvous` are no part of what a fitted system says of its
    settings.
    """

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 64
    optimiser: OptimiserSettings = OptimiserSettings()
    seed: NonNegativeInt = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    standardise: bool = True
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    # Not told where it is the default: what was fitted before there was any keeps its digest.
    absent: AbsentSettings = Field(
        default=AbsentSettings(), exclude_if=lambda absent: absent == AbsentSettings()
    )
    selection: Selection = "mean_average_precision"
    selection_threshold: float | None = Field(default=None, ge=0, lt=1)
    selection_share: float = Field(default=1.0, gt=0, le=1)
    batching: Literal["length_aware", "shuffled"] = "length_aware"
    drop_last_validation_batch: bool = False
    processes: PositiveInt = Field(default=1, exclude=True)
    rendezvous: dict[Rendezvous, str | int] = Field(default_factory=dict, exclude=True)

    @model_validator(mode="after")
    def _threshold_is_of_micro_f1(self) -> Self:
        if self.selection_threshold is not None and self.selection != "micro_f1":
            raise ValueError("selection_threshold is for selection: micro_f1")
        return self

    @model_validator(mode="after")
    def _distillation_is_of_hidden_modalities(self) -> Self:
        if self.absent.distillation and not self.modality_dropout:
            raise ValueError("absent.distillation needs modality_dropout: else nothing is hidden")
        return self

    @property
    def together(self) -> bool:
        """Whether processes of their own are to train together."""
        return self.processes > 1 or bool(self.rendezvous)

    @property
    def torch_device(self) -> torch.device:
        """The device that the settings come to here; InputError if there is none such."""
        available = torch.cuda.is_available()
        if self.device == "cuda" and not available:
            raise InputError("training settings", "device", "a CUDA device", "none on this machine")
        return torch.device("cuda" if available and self.device != "cpu" else "cpu")

    @property
    def bfloat16(self) -> bool:
        """Whether a step runs under bfloat16 autocast."""
        return self.precision == "bfloat16"

    @property
    def float32_products(self) -> Literal["high", "highest"]:
        """How exact matrix products of float32 are; "high" is TF32."""
        on_cuda = self.torch_device.type == "cuda"
        return "high" if self.precision == "auto" and on_cuda else "highest"
