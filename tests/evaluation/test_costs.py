from __future__ import annotations

import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
import torch

from mmer.evaluation import costs
from mmer.evaluation.costs import ComparedCosts, Cost, Machine, Spent, metered, this_machine

CPU = torch.device("cpu")


@pytest.fixture
def powercap(tmp_path, monkeypatch) -> Path:
    """Two packages, one with a zone of its own, and what counts both."""
    for zone, name in {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
    }.items():
        folder = tmp_path / "powercap" / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text("10000000\n")
        (folder / "energy_uj").write_text("1000000\n")
    monkeypatch.setattr(costs, "POWERCAP", tmp_path / "powercap")
    return tmp_path / "powercap"


def count_to(powercap: Path, **joules: float) -> None:
    for package, value in joules.items():
        file = powercap / f"intel-rapl:{package[-1]}" / "energy_uj"
        new = file.with_suffix(".new")  # whoever reads meanwhile sees the old value or the new
        new.write_text(f"{round(value * 1e6)}\n")
        new.replace(file)


def test_energy_is_what_the_packages_counted(powercap):
    with metered(CPU) as meter:
        count_to(powercap, package_0=3.5, package_1=2.0)
        (powercap / "intel-rapl:0:0" / "energy_uj").write_text("9000000\n")
        count_to(powercap, psys_2=9)
    assert meter.spent.energy == pytest.approx(2.5 + 1.0)
    assert this_machine(CPU).energy == ("package-0", "package-1")


def test_a_counter_that_starts_again_has_counted_on(powercap):
    with metered(CPU) as meter:
        count_to(powercap, package_0=0.25)
    assert meter.spent.energy == pytest.approx(10 - 1 + 0.25)


def test_a_counter_that_starts_again_twice_is_read_while_it_runs(powercap, monkeypatch):
    monkeypatch.setattr(costs, "_SECONDS_BETWEEN_READINGS", 0.002)
    seen, read, wanted = threading.Event(), costs._number, 0.0

    def noting(file: Path) -> float | None:
        value = read(file)
        if value == wanted:
            seen.set()
        return value

    monkeypatch.setattr(costs, "_number", noting)
    with metered(CPU) as meter:
        for joules in (9.0, 0.5, 9.5, 0.75):
            seen.clear()
            wanted = joules * 1e6
            count_to(powercap, package_0=joules)
            assert seen.wait(20)
    assert meter.spent.energy == pytest.approx(2 * 10 - 1 + 0.75)


def test_energy_that_the_machine_does_not_tell_is_unknown(powercap, monkeypatch):
    with metered(CPU) as meter:
        (powercap / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.spent.energy is None
    monkeypatch.setattr(costs, "POWERCAP", powercap / "nowhere")
    with metered(CPU) as meter:
        pass
    assert meter.spent.energy is None
    assert this_machine(CPU).energy == ()


def test_no_thread_is_left_behind_even_by_what_fails(powercap):
    before = threading.active_count()
    with pytest.raises(ValueError, match="told"), metered(CPU):
        raise ValueError("told")
    assert threading.active_count() == before


@pytest.fixture
def gpu(monkeypatch) -> dict[str, int]:
    """A GPU as PyTorch and NVML tell of it."""
    told = {"millijoules": 5000, "held": 100, "peak": 700}

    class NVMLError(Exception):
        pass

    def energy(handle: str) -> int:
        if handle != "GPU-some-uuid":
            raise NVMLError
        return told["millijoules"]

    nvml = types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=str,
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    properties = types.SimpleNamespace(uuid="some-uuid")
    for name, value in {
        "get_device_properties": properties,
        "get_device_name": "A GPU",
        "synchronize": None,
        "reset_peak_memory_stats": None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: told["held"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: told["peak"])
    return told


def test_a_gpu_counts_beside_the_packages(powercap, gpu):
    with metered(torch.device("cuda")) as meter:
        gpu["millijoules"] += 4000
        count_to(powercap, package_1=1.5)
    assert meter.spent.energy == pytest.approx(4 + 0.5)
    assert meter.spent.memory == 600
    machine = this_machine(torch.device("cuda"))
    assert (machine.device, machine.energy) == ("A GPU", ("package-0", "package-1", "GPU"))


def test_the_packages_alone_do_not_stand_for_a_gpu(powercap, gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with metered(torch.device("cuda")) as meter:
        count_to(powercap, package_1=1.5)
    assert meter.spent.energy is None


PEAKS = """
import numpy as np, torch
from mmer.evaluation.costs import metered

held = np.ones(30_000_000)
with metered(torch.device("cpu")) as meter:
    peak = np.ones(10_000_000)
    del peak
print(meter.spent.memory)
with metered(torch.device("cpu")) as meter:
    pass
print(meter.spent.memory, len(held))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="not Linux")
def test_memory_is_the_peak_and_not_what_was_held_before():
    # In a process of its own: what other tests have left, and give back meanwhile, hides a peak.
    told = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    peak, nothing, _ = map(int, told.stdout.split())
    assert 0.9 * 80_000_000 <= peak < 2 * 80_000_000
    assert nothing < 40_000_000


def test_memory_that_the_system_does_not_tell_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "PROCESS", tmp_path)
    (tmp_path / "status").write_text("VmHWM:\t 300 kB\nVmRSS:\t 100 kB\n")
    with metered(CPU) as meter:
        (tmp_path / "status").write_text("VmHWM:\t 500 kB\nVmRSS:\t 100 kB\n")
    assert meter.spent.memory == 400 * 1024
    assert (tmp_path / "clear_refs").read_text() == "5"
    (tmp_path / "status").write_text("VmSize:\t 100 kB\n")
    with metered(CPU) as meter:
        pass
    assert meter.spent.memory is None
    (tmp_path / "clear_refs").unlink()
    (tmp_path / "clear_refs").mkdir()
    (tmp_path / "status").write_text("VmHWM:\t 300 kB\nVmRSS:\t 100 kB\n")
    with metered(CPU) as meter:
        pass
    assert meter.spent.memory is None


def test_the_machine_is_called_as_it_calls_itself(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some  Processor\nflags\t: x\n")
    monkeypatch.setattr(costs, "PROCESSORS", tmp_path / "cpuinfo")
    machine = this_machine(CPU)
    assert (machine.processor, machine.device) == ("Some  Processor", "cpu")
    assert machine.threads == torch.get_num_threads()
    monkeypatch.setattr(costs, "PROCESSORS", tmp_path / "nowhere")
    assert this_machine(CPU).processor


def test_costs_are_grouped_by_title_in_the_order_of_first_appearance():
    machine = Machine(processor="p", device="cpu", threads=2)
    spent = Spent(seconds=2.0, memory=None, energy=None)

    def cost(title: str, seed: int) -> Cost:
        return Cost(
            system="s",
            title=title,
            seed=seed,
            parameters=3,
            training=spent,
            scoring=spent,
            scored_samples=50,
            machine=machine,
        )

    compared = ComparedCosts.of([cost("b", 1), cost("a", 1), cost("b", 2)])
    assert [(one.title, [of.seed for of in one.costs]) for one in compared.systems] == [
        ("b", [1, 2]),
        ("a", [1]),
    ]
    assert compared.systems[0].costs[0].samples_per_second == 25
    assert ComparedCosts.from_json(compared.to_json(), "here") == compared
