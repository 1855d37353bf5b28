"""A server of one registered version: `python -m mmer.serve NAME --port 5001`.

It answers as `mlflow models serve` does, from the same code, and better where MLflow's server
cannot be helped: requests in all of MLflow's forms are taken, unknown parameters are refused, a
body that is too large is not read to its end, and whatever is sent, no answer carries the request
or a stack.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mmer.errors import InputError
from mmer.registry.loading import load_version
from mmer.registry.predictor import Choice, Predictor, shortened
from mmer.registry.requests import check_names, requested_samples
from mmer.registry.table import answer_table, choice_of
from mmer.registry.versions import CHAMPION

MOST_BYTES = 32 * 2**20
_FORMS = ("inputs", "dataframe_records", "dataframe_split", "instances")
_PARAMS = "params"

logger = logging.getLogger(__name__)


class _TooLarge(InputError):
    """A body of more bytes than are taken."""


def application(predictor: Predictor, version: str) -> Starlette:
    """Routes as MLflow's server has them; `version` is what `/version` tells."""

    async def invocations(request: Request) -> Response:
        try:
            kind = request.headers.get("content-type", "application/json").partition(";")[0]
            if kind.strip() != "application/json":
                found = shortened(kind)
                return _refusal(415, f"content-type: expected application/json, found {found}.")
            body = await _body(request)
            return await run_in_threadpool(_answer, predictor, body)
        except ClientDisconnect:
            return Response(status_code=400)
        except InputError as error:
            return _refusal(413 if isinstance(error, _TooLarge) else 400, str(error))
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


def request_of(body: bytes) -> tuple[object, Choice]:
    """The samples and the choice of a request's body, as JSON.

    Raises:
        InputError: It is no JSON, or has not exactly one of MLflow's forms.
    """
    try:
        told = json.loads(body)
    except RecursionError as error:
        raise InputError("request", "", "JSON", "brackets nested too deep") from error
    except ValueError as error:
        raise InputError("request", "", "JSON", error) from error
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


async def _body(request: Request) -> bytes:
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > MOST_BYTES:
            expected, remedy = f"at most {MOST_BYTES:,} bytes", "Send several requests."
            raise _TooLarge("request", "size", expected, "more", remedy)
    return bytes(found)


def _answer(predictor: Predictor, body: bytes) -> Response:
    content, choice = request_of(body)
    samples = requested_samples(predictor, content)
    answer = answer_table(predictor, predictor.predict(samples, choice))
    return JSONResponse({"predictions": answer.to_dict("records")})


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)


def opened(model: str, version: str) -> tuple[Predictor, str]:
    """A registered model, or that of a version's folder, and what `/version` tells of it.

    Raises:
        InputError: There is none.
    """
    folder = Path(model)
    if folder.is_dir():  # which is of no concern to clients
        predictor = Predictor.read(folder / "artifacts")
        return predictor, predictor.digest
    found = load_version(model, version)
    return found.predictor, f"{found.name}/{found.number}"


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m mmer.serve", description=__doc__)
    parser.add_argument("model", help="name of a registered model, or the folder of a version")
    parser.add_argument("--version", default=CHAMPION, help="an alias or a number")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001)
    asked = parser.parse_args()
    predictor, version = opened(asked.model, asked.version)
    uvicorn.run(application(predictor, version), host=asked.host, port=asked.port)


if __name__ == "__main__":
    main()
