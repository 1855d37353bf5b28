"""What training and scoring cost: time, memory, and energy if the machine tells.

Nothing is estimated. What the machine does not tell is None:

- Time is of the clock, so whatever else the machine does meanwhile lengthens it.
- Memory on a processor is the peak of what this process holds of the machine's memory (Linux: the
  resident set, proc(5)) beyond what it held before; on a GPU, that of PyTorch's tensors. All
  threads of the process count, also those that do other work meanwhile, and so does what is loaded
  the first time, such as a library; but memory that was freed before and not yet given back is used
  again unseen. A peak is forgotten where the next is asked for: of meters that run at once in one
  process, the memory is not to be trusted.
- Energy is of the machine's own counters: of the processor's packages (Linux: RAPL through
  powercap, of Intel and AMD; without main memory, disks, fans and what is lost in the power supply)
  and of the GPU (NVML). They count whatever runs on them, of this process or not. `Machine.energy`
  names them.
"""

from __future__ import annotations

import platform
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import torch

from mmer.schema import Record

POWERCAP = Path("/sys/class/powercap")
PROCESS = Path("/proc/self")
PROCESSORS = Path("/proc/cpuinfo")

# Counters that start again from 0 are read while they run: at 1 kW the smallest of Intel's, of
# 65 kJ, lasts for a minute.
_SECONDS_BETWEEN_READINGS = 20.0
_FORGET_THE_PEAK = "5"
_MICROJOULES, _MILLIJOULES, _BYTES = 1e6, 1e3, 1024


class Spent(Record):
    """What something has cost; see this module for what is in a figure.

    Attributes:
        seconds: By the clock.
        memory: Bytes, the peak beyond what was held before; None where the machine does not tell.
        energy: Joules, of the counters that `Machine.energy` names; None where there is none.
    """

    seconds: float
    memory: int | None
    energy: float | None


class Machine(Record):
    """What a cost was measured on.

    Attributes:
        processor: As the machine calls it.
        device: "cpu", or the name of the GPU.
        threads: That PyTorch computes with on the processor.
        energy: Names of the counters of energy; empty where the machine tells none.
    """

    processor: str
    device: str
    threads: int
    energy: tuple[str, ...] = ()


class Cost(Record):
    """What one cell cost: a system, or what is left of one, with one seed.

    Attributes:
        system, title: Key in SYSTEMS, and name for readers.
        seed: None of a system that draws no random numbers.
        without: The part that was taken away, if one was.
        parameters: How many numbers training chose.
        machine: On which it was trained.
        scored_on: On which it was scored.
        scoring: Of `scored_samples` samples.
    """

    system: str
    title: str
    seed: int | None
    without: str | None = None
    parameters: int
    training: Spent
    scoring: Spent
    scored_samples: int
    machine: Machine
    scored_on: Machine | None = None

    @property
    def samples_per_second(self) -> float:
        """How many samples are scored in a second."""
        return self.scored_samples / self.scoring.seconds


class SystemCost(Record):
    """What every seed of a system cost."""

    title: str
    costs: tuple[Cost, ...]


class ComparedCosts(Record):
    """What the systems of a comparison cost, in the order in which they first appear."""

    systems: tuple[SystemCost, ...]

    @classmethod
    def of(cls, costs: Iterable[Cost]) -> Self:
        """Costs of cells, those of one title together."""
        named: dict[str, list[Cost]] = {}
        for cost in costs:
            named.setdefault(cost.title, []).append(cost)
        return cls(systems=tuple(SystemCost(title=t, costs=tuple(c)) for t, c in named.items()))


class Meter:
    """What a block under `metered` has spent, once it has ended."""

    spent: Spent


@contextmanager
def metered(device: torch.device) -> Iterator[Meter]:
    """Measure what the block costs that computes on `device`; see this module for what is in it."""
    meter = Meter()
    _synchronise(device)
    with _Joules(_counters(device)) as energy:
        memory = _memory_beyond_now(device)
        start = time.perf_counter()
        yield meter
        _synchronise(device)
        seconds = time.perf_counter() - start
        joules = energy.total()
    meter.spent = Spent(seconds=seconds, memory=memory(), energy=joules)


def this_machine(device: torch.device) -> Machine:
    """What this process runs on."""
    cuda = device.type == "cuda"
    return Machine(
        processor=_processor(),
        device=torch.cuda.get_device_name(device) if cuda else device.type,
        threads=torch.get_num_threads(),
        energy=tuple(counter.name for counter in _counters(device)),
    )


class _Counter(NamedTuple):
    """A counter of energy.

    Attributes:
        read: Joules since it last was 0; None where it cannot be read.
        range: Joules at which it starts again from 0.
    """

    name: str
    read: Callable[[], float | None]
    range: float


class _Joules:
    """What counters count between its start and `total`, however often they start again from 0."""

    def __init__(self, counters: list[_Counter]) -> None:
        self._counters, self._last = counters, [counter.read() for counter in counters]
        self._sum: float | None = 0.0 if counters else None
        self._ended, self._reading = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._read_on, daemon=True)

    def __enter__(self) -> _Joules:
        if self._counters:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._counters:
            self._thread.join()

    def total(self) -> float | None:
        """Joules so far; None if any counter could not be read, or there is none."""
        with self._reading:
            for i, counter in enumerate(self._counters):
                before, now = self._last[i], counter.read()
                if before is None or now is None:
                    self._sum = None
                elif self._sum is not None:
                    self._sum += now - before if now >= before else now - before + counter.range
                self._last[i] = now
            return self._sum

    def _read_on(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_READINGS):
            self.total()


def _counters(device: torch.device) -> list[_Counter]:
    """The counters of what computes; none if the device's own is missing, which would mislead."""
    packages = list(_packages())
    if device.type == "cpu":
        return packages
    gpu = _gpu_counter(device) if device.type == "cuda" else None
    return [*packages, gpu] if gpu else []


def _packages() -> Iterator[_Counter]:
    """One for each of the processor's packages whose counter may be read.

    Zones within a package are left out, and so is "psys", of which the packages are part.
    """
    for zone in sorted(POWERCAP.glob("intel-rapl:*")):
        name = _content(zone / "name")
        if not re.fullmatch(r"intel-rapl:\d+", zone.name) or not name.startswith("package"):
            continue
        most = _number(zone / "max_energy_range_uj")
        counter = _Counter(name, _reader(zone / "energy_uj"), (most or 0.0) / _MICROJOULES)
        if most is not None and counter.read() is not None:
            yield counter


def _reader(file: Path) -> Callable[[], float | None]:
    def read() -> float | None:
        microjoules = _number(file)
        return None if microjoules is None else microjoules / _MICROJOULES

    return read


def _gpu_counter(device: torch.device) -> _Counter | None:
    """That of NVML, if its Python package is installed and the GPU has one."""
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except ImportError:
        return None
    except nvml.NVMLError:
        return None

    def read() -> float | None:
        try:
            return nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / _MILLIJOULES
        except nvml.NVMLError:
            return None

    return _Counter("GPU", read, 2**64 / _MILLIJOULES)


def _memory_beyond_now(device: torch.device) -> Callable[[], int | None]:
    """What tells the peak of memory since this call, beyond what is held at it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        return lambda: torch.cuda.max_memory_allocated(device) - before
    held = _resident("VmRSS") if device.type == "cpu" and _peak_forgotten() else None

    def beyond() -> int | None:
        peak = _resident("VmHWM")
        return None if held is None or peak is None else max(0, peak - held)

    return beyond


def _peak_forgotten() -> bool:
    try:
        (PROCESS / "clear_refs").write_text(_FORGET_THE_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _resident(name: str) -> int | None:
    """Bytes of a line of the process's status, such as "VmRSS:   1234 kB"."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", _content(PROCESS / "status"), re.MULTILINE)
    return int(found[1]) * _BYTES if found else None


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _content(PROCESSORS), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _content(file: Path) -> str:
    """What a file of the system says; nothing where it may not be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> float | None:
    content = _content(file)
    return float(content) if content.isdecimal() else None


def _synchronise(device: torch.device) -> None:
    """Wait for what a GPU still computes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
