"""Nodes of one stage, and node functions of one corpus or system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kedro.pipeline import Node


def bound(
    function: Callable, types: Mapping[str, type] | None = None, **arguments: Any
) -> Callable:
    """A module's `function` with its last `arguments` given.

    `types` says of arguments what Kedro validates their parameters as, before anything runs.
    """
    node_function = partial(function, **arguments)
    node_function.__name__ = function.__name__  # type: ignore[attr-defined]
    node_function.__doc__ = function.__doc__
    node_function.__annotations__ = dict(types or {})
    return node_function


def in_namespace(namespace: str) -> Callable[..., Node]:
    """Makes nodes of this namespace, named after their functions unless told otherwise."""

    def node(function: Callable, inputs: Any, outputs: Any, name: str = "", tags: str = "") -> Node:
        name = name or function.__name__
        return Node(function, inputs, outputs, name=name, namespace=namespace, tags=tags or None)

    return node
