"""Prints the strings in a dataset of an HDF5 file: `csd.py` runs this as a process of its own.

On a damaged heap of strings libhdf5 may crash, ask for gigabytes or never return. Here it may.

    python csd_strings.py FILE GROUP ... DATASET

prints a JSON list of them, whatever their storage and shape.
"""

import json
import resource
import sys
import time

import h5py
import numpy as np

_MOST_SECONDS = 2
_MOST_MEMORY = 4 << 30
_LONGEST_TEXT = 1 << 20


def main(path: str, *names: str) -> None:
    end = int(time.process_time()) + _MOST_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (end, end + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    with h5py.File(path, locking="best-effort") as file:
        place = file
        for name in names:
            place = place[name]
        strings = [] if place.shape is None else np.ravel(place.asstr("utf-8")[()]).tolist()
    text = json.dumps(strings)
    if len(text) > _LONGEST_TEXT:
        sys.exit(f"more than {_LONGEST_TEXT} characters of text")
    print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
