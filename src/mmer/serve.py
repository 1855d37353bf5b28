"""A server of one registered version: `python -m mmer.serve NAME --port 5001`.

It answers as `mlflow models serve` does, from the same code, and better where MLflow's server
cannot be helped: requests in all of MLflow's forms are taken, unknown parameters and names that
stand twice are refused, a body that is too large is not read to its end, and whatever is sent, no
answer carries the request or a stack.

What a request costs is bounded before it is parsed, for parsed it can be thirty times as large.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mmer.errors import InputError
from mmer.predict import registered
from mmer.registry import requests
from mmer.registry.own_files import check_files
from mmer.registry.predictor import Choice, Predictor, shortened
from mmer.registry.requests import check_names, requested_samples
from mmer.registry.table import answer_table, choice_of
from mmer.registry.versions import CHAMPION

MOST_BYTES = 32 * 2**20
"""Of one body; a quarter of it where not all is ASCII, because text with one emoji in it takes four
bytes for each character."""

MOST_HELD = 4 * MOST_BYTES
"""Of all bodies that are being read or answered."""

_SECONDS = 120.0  # for all of a body, so that who sends none does not take the room of others
_AT_ONCE = 2  # requests that are parsed and scored
_BESIDE = 10  # names, lists and values in a request that are no sample's
_FORMS = ("inputs", "dataframe_records", "dataframe_split", "instances")
_PARAMS = "params"
_SPLIT = ("columns", "index", "data")

logger = logging.getLogger(__name__)


class _TooLarge(InputError):
    """A body of more bytes than are taken."""


class _Busy(InputError):
    """A body beside more others than can be held."""


class _Slow(InputError):
    """A body that does not come."""


_STATUS = {_TooLarge: 413, _Busy: 503, _Slow: 408}


class _Bodies:
    """Bodies of requests, which count from when they are read until they are answered."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """The body of a request.

        Raises:
            InputError: It is too large, or would be beside the others; or it does not come.
        """
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(_SECONDS):
                    async for chunk in request.stream():
                        body += chunk
                        self._held += len(chunk)
                        self._check(body)
            except TimeoutError:
                expected = f"all of it within {_SECONDS:g} s"
                raise _Slow("request", "", expected, f"{len(body):,} bytes") from None
            yield body
        finally:
            self._held -= len(body)
            body.clear()  # whatever frame of an error still holds it

    def _check(self, body: bytearray) -> None:
        if len(body) > MOST_BYTES:
            expected, remedy = f"at most {MOST_BYTES:,} bytes", "Send several requests."
            raise _TooLarge("request", "size", expected, "more", remedy)
        if self._held > MOST_HELD:
            expected = f"at most {MOST_HELD:,} bytes in all requests at once"
            raise _Busy("server", "requests", expected, "more", "Try again.")


def application(predictor: Predictor, version: str) -> Starlette:
    """Routes as MLflow's server has them; `version` is what `/version` tells."""
    bodies, turns = _Bodies(), asyncio.Semaphore(_AT_ONCE)

    async def invocations(request: Request) -> Response:
        try:
            kind = request.headers.get("content-type", "application/json").partition(";")[0]
            if kind.strip().lower() != "application/json":
                found = shortened(kind)
                return _refusal(415, f"content-type: expected application/json, found {found}.")
            async with bodies.read(request) as body, turns:
                return await run_in_threadpool(_answer, predictor, body)
        except ClientDisconnect:
            return Response(status_code=400)
        except InputError as error:
            return _refusal(_STATUS.get(type(error), 400), str(error))
        except Exception:
            logger.exception("A prediction failed")
            return _refusal(500, "The prediction failed; what happened stands in the log.")

    def ping(_: Request) -> Response:
        return Response("\n", media_type="application/json")

    def told(_: Request) -> Response:
        return JSONResponse(version)

    return Starlette(
        routes=[
            Route("/invocations", invocations, methods=["POST"]),
            Route("/ping", ping),
            Route("/health", ping),
            Route("/version", told),
        ]
    )


def request_of(body: bytearray) -> tuple[object, Choice]:
    """The samples and the choice of a request's body, as JSON.

    Raises:
        InputError: It is no JSON, has a name twice, or not exactly one of MLflow's forms.
    """
    fault = ""
    try:
        told = json.loads(body, object_pairs_hook=_each_once)
    except RecursionError:
        fault = "brackets nested too deep"
    except ValueError as error:
        fault = str(error)  # and no more of it: it holds all of the text
    if fault:
        raise InputError("request", "", "JSON", fault)
    if not isinstance(told, Mapping):
        raise InputError("request", "", f"an object with {_FORMS[0]}", f"a {type(told).__name__}")
    check_names(told, (*_FORMS, _PARAMS))
    forms = [name for name in _FORMS if name in told]
    if len(forms) != 1:
        expected = f"exactly one of {', '.join(_FORMS)}"
        raise InputError("request", "", expected, ", ".join(forms) or "none")
    params = {} if told.get(_PARAMS) is None else told[_PARAMS]
    if not isinstance(params, Mapping):
        raise InputError("request", _PARAMS, "an object", f"a {type(params).__name__}")
    content = told[forms[0]]
    samples = _split(content) if forms[0] == "dataframe_split" else content
    return samples, choice_of(params)


def _split(content: object) -> pd.DataFrame:
    """A data frame of its columns and rows."""
    told = content if isinstance(content, Mapping) else {}
    check_names(told, _SPLIT, "dataframe_split")
    names, rows = told.get("columns"), told.get("data")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        expected = "columns (a list of names) and data"
        raise InputError("request", "dataframe_split", expected, "other columns, or none")
    fits = isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == len(names) for row in rows
    )
    if not fits:
        expected = f"columns and data, a list of rows of {len(names)} cells each"
        raise InputError("request", "dataframe_split", expected, "other data, or none")
    return pd.DataFrame(rows, columns=names, dtype=object)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python would take the last of several values, and another reader the first."""
    told = dict(pairs)
    if len(told) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise InputError("request", shortened(twice), "each name once", "several of it")
    return told


def _check_marks(body: bytearray, widths: Mapping[str, int], names: int) -> None:
    """Refuse JSON that has more in it than any request that is taken, by its marks.

    Args:
        names: How many a sample may have.

    Raises:
        InputError: It has.
    """
    rows, numbers = requests.MOST_ROWS, requests.MOST_NUMBERS
    cells = rows * (names + 1) + _BESIDE  # one more, that a name too many is told by name
    for mark, most, expected in (
        (b"{", rows + 2, f"{rows:,} samples"),
        (b":", cells, f"{cells:,} names"),
        (b"[", cells + numbers // min(widths.values()), f"{numbers:,} numbers"),
        (b",", cells + numbers, f"{numbers:,} numbers"),
    ):
        if (found := body.count(mark)) > most:
            remedy = "Send several requests, or score the file with the pipeline."
            what = f"more ({found:,} times {mark.decode()!r})"
            raise InputError("request", "size", f"at most {expected} in one request", what, remedy)
    if len(body) > MOST_BYTES // 4 and not body.isascii():
        expected = f"at most {MOST_BYTES // 4:,} bytes, or ASCII alone"
        remedy = r"Write other characters as \u and their number."
        raise _TooLarge("request", "size", expected, f"{len(body):,} bytes", remedy)


def _answer(predictor: Predictor, body: bytearray) -> Response:
    try:
        _check_marks(body, predictor.widths, len(requests.columns_of(predictor.table_info)))
        content, choice = request_of(body)
        samples = requested_samples(predictor, content)
        answer = answer_table(predictor, predictor.predict(samples, choice))
    except InputError as error:  # no further: with it goes what was parsed
        return _refusal(_STATUS.get(type(error), 400), str(error))
    return JSONResponse({"predictions": answer.to_dict("records")})


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)


def opened(model: str, version: str) -> tuple[Predictor, str]:
    """A registered model, or that of a version's folder, and what `/version` tells of it.

    A folder is what has a path separator in it, which no registered name has: whatever lies where
    the server is started does not take the place of a model.

    Raises:
        InputError: There is none.
    """
    folder = Path(model)
    if folder.name != model:
        check_files(folder)
        predictor = Predictor.read(folder / "artifacts")
        return predictor, predictor.digest  # where it lies is of no concern to clients
    found = registered(model, version)
    return found.predictor, f"{found.name}/{found.number}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m mmer.serve", description=__doc__)
    parser.add_argument(
        "model", help="name of a registered model, or the folder of a version (./FOLDER)"
    )
    parser.add_argument("--version", default=CHAMPION, help="an alias or a number")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001)
    asked = parser.parse_args(arguments)
    try:
        predictor, version = opened(asked.model, asked.version)
    except InputError as error:
        sys.exit(f"{parser.prog}: {error}")
    uvicorn.run(application(predictor, version), host=asked.host, port=asked.port)


if __name__ == "__main__":
    main()
