"""A running Dask scheduler and its workers, for those who give them work."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmer.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

_START = "Start both: `dask scheduler`, and `dask worker ADDRESS --nthreads 1` on every machine."


@contextmanager
def connected(where: str, address: str, seconds: float) -> Iterator[Client]:
    """A connection to a scheduler that has workers.

    Args:
        where: What the user set, as they know it.
        address: What it was set to.
        seconds: How long to wait for the scheduler, and then for a first worker.

    Raises:
        InputError: Dask is not installed, nobody answers there, or there are no workers.
    """
    client_of = _installed(where)
    client, found = None, ""
    try:
        client = client_of(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError) as error:
        found = str(error)
    if client is None:
        # What is left of it ends now: if it did so while another starts, both would wait for ever.
        gc.collect()
        raise InputError(where, address, "the address of a running Dask scheduler", found, _START)
    with client:
        try:
            client.wait_for_workers(1, timeout=seconds)
        except TimeoutError as error:
            raise InputError(where, address, "workers", "none", _START) from error
        yield client


def configured_address() -> str:
    """The scheduler that Dask's own configuration names ("scheduler-address").

    Raises:
        InputError: It names none, or Dask is not installed.
    """
    variable = "DASK_SCHEDULER_ADDRESS"
    _installed(variable)
    import dask

    if address := dask.config.get("scheduler-address", None):
        return str(address)
    expected = "the address of a running Dask scheduler"
    raise InputError(variable, "", expected, "none set", f"{_START} Then set {variable}.")


def _installed(where: str) -> type[Client]:
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        remedy = "Install it: pip install 'mmer[dask]'."
        raise InputError(where, "", "Dask", "none installed", remedy) from error
    return Client


def lost(where: str, address: str, found: object, remedy: str = "") -> InputError:
    """What to raise if the workers, or the scheduler, did not stay."""
    return InputError(where, address, "workers that stay until the work is done", found, remedy)


class Patience:
    """Ends after some seconds without a worker: the scheduler would wait for new ones for ever."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._alone_since = seconds, 0.0

    def is_over(self, there: bool) -> bool:
        """Told whether there is a worker now, whether there has been none for too long."""
        now = time.monotonic()
        self._alone_since = 0.0 if there else self._alone_since or now
        return bool(self._alone_since) and now - self._alone_since > self._seconds
