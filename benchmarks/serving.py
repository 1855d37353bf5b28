"""Throughput and latency of a registered model over HTTP, by MLflow's server and by mmer's.

    python benchmarks/serving.py FOLDER [--seconds 10]

FOLDER is that of a version (`mlflow artifacts download -u models:/NAME/VERSION`, or a path in
`mlartifacts`). Requests are of samples drawn at random, 1 and 64 in each, from 1 and from 4 clients
that each wait for their answer. Prints JSON: milliseconds at the 50th and 99th percentile, samples
per second, and the machine with its load over the last minute, own processes included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import torch

from mmer.registry.predictor import Predictor
from mmer.registry.requests import requested_samples

STEPS = 10
SAMPLES, CLIENTS = (1, 64), (1, 4)
_WARM_UP = 5


def main() -> None:
    """Measure both servers, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    predictor = Predictor.read(folder / "artifacts")
    bodies = {count: _body(predictor, count) for count in SAMPLES}
    serve = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    servers = {
        "mlflow models serve": [*serve, "-m", str(folder), "--port"],
        "mmer.serve": [sys.executable, "-m", "mmer.serve", str(folder), "--port"],
    }
    found = {name: _measured(command, bodies, asked.seconds) for name, command in servers.items()}
    told = {
        "model": {"system": predictor.info.system, "widths": predictor.widths, "steps": STEPS},
        "request_bytes": {str(count): len(body) for count, body in bodies.items()},
        "in_process_ms": {str(count): _in_process(predictor, count) for count in SAMPLES},
        "servers": found,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load_average": os.getloadavg()[0],
            "torch": torch.__version__,
        },
    }
    print(json.dumps(told, indent=2))


def _samples(predictor: Predictor, count: int) -> list[dict[str, list]]:
    rng, widths = np.random.default_rng(0), predictor.widths
    return [
        {m: rng.normal(size=(STEPS, width)).round(6).tolist() for m, width in widths.items()}
        for _ in range(count)
    ]


def _body(predictor: Predictor, count: int) -> bytes:
    return json.dumps({"inputs": _samples(predictor, count)}).encode()


def _in_process(predictor: Predictor, count: int) -> float:
    """Milliseconds of scoring alone, without JSON and without a network; the median of 20."""
    samples, times = requested_samples(predictor, _samples(predictor, count)), []
    for _ in range(20):
        begin = time.perf_counter()
        predictor.predict(samples)
        times.append(time.perf_counter() - begin)
    return 1000 * float(np.median(times))


def _measured(command: list[str], bodies: dict[int, bytes], seconds: float) -> list[dict]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    server = subprocess.Popen(
        [*command, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PATH": paths},
        start_new_session=True,
    )
    try:
        _wait(port, server)
        return [
            {"samples": count, "clients": clients, **_load(port, body, clients, count, seconds)}
            for count, body in bodies.items()
            for clients in CLIENTS
        ]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _wait(port: int, server: subprocess.Popen) -> None:
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            sys.exit("The server ended before it answered.")
        time.sleep(0.1)


def _load(port: int, body: bytes, clients: int, count: int, seconds: float) -> dict[str, float]:
    """What clients that ask one request after the other see."""
    _client(port, body, _WARM_UP, 0.0)
    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        asked = [pool.submit(_client, port, body, 1, seconds) for _ in range(clients)]
        times = np.concatenate([one.result() for one in asked])
    took = time.perf_counter() - begin
    return {
        "requests": len(times),
        "p50_ms": 1000 * float(np.percentile(times, 50)),
        "p99_ms": 1000 * float(np.percentile(times, 99)),
        "samples_per_second": count * len(times) / took,
    }


def _client(port: int, body: bytes, least: int, seconds: float) -> list[float]:
    """Seconds of each request, of `least` and as many more as begin within `seconds`."""
    times: list[float] = []
    connection = HTTPConnection("127.0.0.1", port)
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        begin = time.perf_counter()
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            sys.exit(f"{answer.status}: {content[:500]!r}")
        times.append(time.perf_counter() - begin)
    return times


if __name__ == "__main__":
    main()
