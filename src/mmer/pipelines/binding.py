"""Node functions for one corpus or system, whose parameters Kedro checks by their types."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def bound(function: Callable, types: dict[str, type], **arguments: Any) -> Callable:
    """`function` with `arguments` given.

    Args:
        function: A module's function, so that other processes find it.
        types: Argument -> the type that Kedro validates its parameters as, before anything runs.
        arguments: The function's last ones.
    """
    node_function = partial(function, **arguments)
    node_function.__name__ = function.__name__  # type: ignore[attr-defined]
    node_function.__doc__ = function.__doc__
    node_function.__annotations__ = types
    return node_function
