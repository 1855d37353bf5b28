"""The training loop, to be read from top to bottom: epochs of steps, the best epoch kept."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmer.errors import InputError
from mmer.samples.batches import Batch, Samples, length_aware_batches
from mmer.training import distributed
from mmer.training.absent import FilledNetwork, filled, own_steps
from mmer.training.checkpoints import Checkpoints
from mmer.training.distillation import with_complete
from mmer.training.history import Epoch, History, Selection
from mmer.training.interruption import Stopped, asked_to_stop
from mmer.training.nesting import groups_for_epochs, only_groups
from mmer.training.network import Losses, Network
from mmer.training.progress import EpochProgress
from mmer.training.scoring import best_micro_f1, mean_average_precision, score_samples
from mmer.training.settings import TrainingSettings
from mmer.training.state import TrainingState

_STEPS_UNTIL_LOOKED_AT = 50
_SAMPLES_SHOWN = 4

_alone = threading.RLock()

logger = logging.getLogger(__name__)


class Trained(NamedTuple):
    """A network with the parameters of its best epoch, in evaluation mode, and how it got them."""

    network: Network
    history: History


def train(
    build: Callable[[], Network],
    train_samples: Samples,
    valid_samples: Samples,
    settings: TrainingSettings,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train a network and keep the epoch that is best on the validation samples.

    On a CPU, the same settings, samples, machine and threads give the same parameters, bit for bit,
    however often the training was stopped and gone on with.

    Args:
        build: Makes the network; its random numbers come from the settings' seed. What the settings
            put in the place of absent modalities is made after it.
        train_samples, valid_samples: On the host.
        checkpoints: Where to go on from, and where the state is kept.

    Raises:
        InputError: The device is not there, a batch is too large for it, a loss is not finite, no
            batch of validation samples is whole although others do not count, or
            `selection_share` leaves too little.
        Stopped: By a signal; a checkpoint has been written.
    """
    epoch_groups = groups_for_epochs(valid_samples, settings.selection_share)
    if epoch_groups:
        valid_samples = only_groups(valid_samples, epoch_groups)
    if settings.drop_last_validation_batch and len(valid_samples) < settings.batch_size:
        where = f"{valid_samples.info.corpus} {valid_samples.info.split} samples"
        expected = f"at least {settings.batch_size}, one whole batch"
        raise InputError(where, "drop_last_validation_batch", expected, len(valid_samples))
    device = settings.torch_device
    with repeatable(device, settings.float32_products), asked_to_stop() as signal:
        state = start(build, train_samples, settings)
        if checkpoints and checkpoints.restore(state):
            logger.info("It goes on after %s: %s", state.place, checkpoints.last)
        if not state.finished:
            train_samples, valid_samples = (
                resident(s, device) for s in (train_samples, valid_samples)
            )
            _finish(state, train_samples, valid_samples, settings, checkpoints, signal)
    state.network.load_state_dict(state.best)
    return Trained(state.network.eval(), _history(state, settings, epoch_groups))


def _finish(
    state: TrainingState,
    train_samples: Samples,
    valid_samples: Samples,
    settings: TrainingSettings,
    checkpoints: Checkpoints | None,
    signal: Callable[[], int | None],
) -> None:
    """Do all epochs that are left; between two steps, keep the state and listen for signals."""

    def between_steps() -> None:
        number = distributed.agreed(signal())
        if checkpoints:
            checkpoints.save_if_due(state, at_once=number is not None or state.finished)
        if number:
            kept = checkpoints.to_go_on_from if checkpoints else None
            raise Stopped(number, state.place, kept)

    steps, done = state.total_steps, state.steps_done
    with EpochProgress(steps, settings.epochs, done, state.epochs) as progress:
        try:
            while not state.finished:
                finish_epoch(state, train_samples, valid_samples, settings, progress, between_steps)
                between_steps()
        except InputError:
            if checkpoints and checkpoints.last:
                logger.error("The last checkpoint before: %s", checkpoints.last)
            raise


def start(
    build: Callable[[], Network], train_samples: Samples, settings: TrainingSettings
) -> TrainingState:
    """A run before its first step."""
    info = train_samples.info
    torch.manual_seed(settings.seed)
    network = filled(build(), settings.absent, info.widths, len(info.labels))
    if settings.standardise:
        network.set_input_statistics(*input_statistics(train_samples))
    if isinstance(network, FilledNetwork):
        network.fill.learn_from(train_samples, *input_statistics(train_samples))
    return TrainingState(network.to(settings.torch_device), settings, len(train_samples))


def finish_epoch(
    state: TrainingState,
    train_samples: Samples,
    valid_samples: Samples,
    settings: TrainingSettings,
    progress: EpochProgress,
    between_steps: Callable[[], None] = lambda: None,
) -> None:
    """Do what is left of the epoch at hand, and look at the validation samples."""
    number, bfloat16 = len(state.epochs) + 1, settings.bfloat16
    rng = np.random.default_rng((settings.seed, number))
    batches = _batches(train_samples.longest, settings, rng)
    state.network.train()
    # The host's numbers can be looked at in every step; the device would have to be waited for.
    looked_at = 1 if state.device.type == "cpu" else _STEPS_UNTIL_LOOKED_AT
    for index in batches[state.step :]:
        # Of the step alone, so that a run that goes on from here draws the same.
        seed, share = (settings.seed, number, state.step), distributed.own_share(len(index))
        batch = train_samples.gather(index[share]).to(state.device)
        if isinstance(state.network, FilledNetwork):
            batch = state.network.fill.of_training(batch, index[share])
        if settings.modality_dropout:
            draws = np.random.default_rng(seed).random((len(batch.masks), len(index)))
            dropped = drop_modalities(batch, settings.modality_dropout, draws[:, share])
            batch = with_complete(dropped, batch) if settings.absent.distillation else dropped
        with distributed.sharing(len(index), seed, state.device):
            taken = fitting_step(state, batch, bfloat16)
        state.end_step(taken)
        if state.step % looked_at == 0 or state.step == len(batches):
            check_finite(state, batches, train_samples)
        progress.step()
        between_steps()
    losses = {name: float(value) / len(batches) for name, value in state.sums.items()}
    figures = _validate(state.network, valid_samples, settings, rng)
    epoch = Epoch(
        epoch=number,
        losses=losses,
        validation=figures,
        selection=figures[settings.selection],
        seconds=state.seconds,
    )
    state.end_epoch(epoch)
    progress.epoch(epoch)


def take_step(state: TrainingState, batch: Batch, bfloat16: bool) -> Losses:
    """Move the parameters by the gradient of the losses on a batch."""
    with torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=bfloat16):
        losses = state.losses(batch)
    losses.terms["total"].backward()
    state.optimiser.step()
    state.schedule.step()
    state.optimiser.zero_grad()
    with torch.no_grad():
        state.network.after_step(losses.carry)
    return losses


def fitting_step(state: TrainingState, batch: Batch, bfloat16: bool) -> Losses:
    """`take_step`, where a batch may be too large for the device.

    Raises:
        InputError: It is; the message names half of it, or the largest half of a half that is not.
    """
    try:
        return take_step(state, batch, bfloat16)
    except torch.OutOfMemoryError as error:
        count, processes = len(batch.labels), distributed.size()
        expected, found = f"a batch that fits in the memory of {state.device}", f"{count} do not"
        if processes > 1:  # the others wait for this one's share, so it cannot try others
            found, remedy = f"{found}, the share of one of {processes} processes", "Lower it."
        elif fits := _largest_that_fits(state, batch, bfloat16):
            remedy = f"{fits} fit here: training.batch_size={fits}."
        else:
            remedy = "Not even one does."
        raise InputError("training", "batch_size", expected, found, remedy) from error


def _largest_that_fits(state: TrainingState, batch: Batch, bfloat16: bool) -> int:
    """How many of these samples fit, halving until they do; the parameters stay as they are."""
    count = len(batch.labels)
    while count := count // 2:
        state.optimiser.zero_grad()
        torch.cuda.empty_cache()
        try:
            with torch.autocast(state.device.type, torch.bfloat16, enabled=bfloat16):
                state.losses(batch.first(count)).terms["total"].backward()
        except torch.OutOfMemoryError:
            continue
        return count
    return 0


def check_finite(state: TrainingState, batches: list[np.ndarray], samples: Samples) -> None:
    """Stop a training whose loss is no number any more.

    Raises:
        InputError: With the step, counted from 1, and the samples in it.
    """
    if (step := state.first_astray()) is None:
        return
    ids = [samples.sample_ids[n] for n in batches[step]]
    more = f" and {len(ids) - _SAMPLES_SHOWN} more" if len(ids) > _SAMPLES_SHOWN else ""
    logger.error("The loss of the batch of %s is not finite", ", ".join(ids))
    where, key = "training", f"epoch {len(state.epochs) + 1}, step {step + 1}"
    found = f"another, on the samples {', '.join(ids[:_SAMPLES_SHOWN])}{more}"
    remedy = "Look at these samples, or lower the learning rate."
    raise InputError(where, key, "a finite loss", found, remedy)


def drop_modalities(batch: Batch, rate: float, drawn: np.ndarray) -> Batch:
    """The batch with each modality of each sample hidden at `rate`, but never all that it has.

    Args:
        drawn: (M, B) uniform in [0, 1).
    """
    device = batch.labels.device
    there = torch.stack([mask.any(dim=1) for mask in batch.masks.values()])  # (M, B)
    draws = torch.from_numpy(drawn).to(device)
    kept = there & (draws >= rate)
    last = draws.masked_fill(~there, -1).argmax(dim=0)  # of what it has, that nearest to staying
    kept[last, torch.arange(there.shape[1], device=device)] = True
    return batch.hide(dict(zip(batch.masks, kept, strict=True)))


@contextmanager
def repeatable(device: torch.device, products: str = "highest") -> Iterator[None]:
    """Sums over several threads in a fixed order, and random numbers that others do not see.

    Without the former the same seed drifts apart. One thread at a time, for modes and generators
    are the process's. On CUDA, cuBLAS wants a workspace of fixed size for it, and an operation
    without a repeatable form warns: there, the same bits are not promised.

    Args:
        products: How exact matrix products of float32 are (`TrainingSettings.float32_products`).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with _alone, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        before = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        memory: Any = torch.utils.deterministic
        filled = memory.fill_uninitialized_memory
        exactness = torch.get_float32_matmul_precision()
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Nothing here reads what it has not written, and filling takes a tenth of a step.
        memory.fill_uninitialized_memory = False
        torch.set_float32_matmul_precision(products)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(exactness)
            memory.fill_uninitialized_memory = filled
            torch.use_deterministic_algorithms(before, warn_only=warn_only)


def resident(samples: Samples, device: torch.device) -> Samples:
    """The samples on `device` if they leave half of its free memory; else where they are."""
    if device.type == "cuda" and samples.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return samples
    return samples.to(device)


def input_statistics(samples: Samples) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Mean and deviation (D,) of each feature over all steps of the samples; the scale of a
    constant feature is 1."""
    mean, scale = {}, {}
    for modality, width in samples.info.widths.items():
        steps = own_steps(samples, modality)
        steps = steps if len(steps) else steps.new_zeros(1, width)
        deviation = steps.std(dim=0, correction=0)
        mean[modality] = steps.mean(dim=0)
        scale[modality] = deviation.where(deviation > 1e-6, 1)
    return mean, scale


def _batches(
    lengths: np.ndarray, settings: TrainingSettings, rng: np.random.Generator
) -> list[np.ndarray]:
    """An epoch's samples, batch by batch."""
    if settings.batching == "length_aware":
        return length_aware_batches(lengths, settings.batch_size, rng)
    order = rng.permutation(len(lengths))
    return np.split(order, range(settings.batch_size, len(order), settings.batch_size))


def _validate(
    network: Network, samples: Samples, settings: TrainingSettings, rng: np.random.Generator
) -> dict[Selection, float]:
    """The figures by which epochs can be kept."""
    own = score_samples(network, samples.take(distributed.every_nth(len(samples))))
    scores, truth = distributed.interleaved(own, len(samples)), samples.truth
    if not np.isfinite(scores).all():
        raise InputError(
            "training", "validation", "finite scores", "NaN", "Lower the learning rate."
        )
    if settings.drop_last_validation_batch:
        whole = len(truth) // settings.batch_size * settings.batch_size
        shown = rng.permutation(len(truth))[:whole]
        scores, truth = scores[shown], truth[shown]
    return {
        "mean_average_precision": mean_average_precision(scores, truth),
        "micro_f1": best_micro_f1(scores, truth, settings.selection_threshold),
    }


def _history(
    state: TrainingState, settings: TrainingSettings, epoch_groups: tuple[str, ...]
) -> History:
    return History(
        epochs=tuple(state.epochs),
        kept=max(state.epochs, key=lambda epoch: epoch.selection).epoch,  # the first of equals
        criterion=_criterion(settings, len(epoch_groups)),
        epoch_groups=epoch_groups,
        earlier_seconds=state.earlier_seconds,
    )


def _criterion(settings: TrainingSettings, groups: int) -> str:
    left_out = ", the last batch left out" if settings.drop_last_validation_batch else ""
    on = f" on {groups} groups set aside" if groups else ""
    if settings.selection == "mean_average_precision":
        return f"validation mean average precision{on}{left_out}"
    at = settings.selection_threshold
    threshold = "the best shared threshold" if at is None else f"threshold {at:g}"
    return f"validation micro-F1 at {threshold}{on}{left_out}"
