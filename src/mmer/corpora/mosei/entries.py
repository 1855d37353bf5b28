"""Entries of a computational sequence by video, however the CMU-MultimodalSDK has cut them.

A video is one entry under its id. In files that the tool wrote after an alignment it is several,
`video[0]`, `video[1]`, ..: one for each word or each labelled segment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmer.formats.csd import ComputationalSequence, Entry

_NUMBERED = re.compile(r"[^\[]+\[(\d{1,9})\]")


@dataclass(frozen=True)
class VideoEntries:
    """The videos of a file open for reading."""

    file: ComputationalSequence

    @cached_property
    def of_video(self) -> dict[str, list[str]]:
        """Video -> the keys of its entries, in the order of their numbers."""
        videos: dict[str, list[str]] = {}
        for key in self.file.ids:
            videos.setdefault(key.split("[")[0], []).append(key)
        for keys in videos.values():
            keys.sort(key=_number)
        return videos

    @cached_property
    def numbered(self) -> bool:
        """Whether the tool has aligned the file, so that every key has a number."""
        return all(_number(key) >= 0 for key in self.file.ids)

    def read(self, video: str) -> Entry:
        """All of a video, its entries joined and in order of time, as the tool joins them.

        Raises:
            InputError: As `ComputationalSequence.read`; the video is missing.
        """
        if video in self.file or video not in self.of_video:
            return self.file.read(video)
        parts = [self.file.read(key) for key in self.of_video[video]]
        intervals = np.concatenate([part.intervals for part in parts])
        order = np.argsort(intervals[:, 0], kind="stable")
        return Entry(np.concatenate([part.features for part in parts])[order], intervals[order])

    def read_if_there(self, key: str) -> Entry:
        """One entry; without rows if the file has none of this key."""
        if key in self.file:
            return self.file.read(key)
        return Entry(np.zeros((0, self.file.width or 1), np.float32), np.zeros((0, 2)))


def _number(key: str) -> int:
    match = _NUMBERED.fullmatch(key)
    return int(match[1]) if match else -1
