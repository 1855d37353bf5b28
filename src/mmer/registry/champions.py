"""The table of champions in MLflow, and the alias `champion` that follows it.

MLflow can set an alias, but not "if it still points there": of two who set it at once, the last one
wins, unseen by the first. What it does do one at a time, on every database and through every
server, is to number the versions of a registered model. So the table is a registered model of its
own, "<name>-champions": each of its versions is an entry (`evaluation.champions`) and stands for
the model that became champion. Who writes an entry reads the table again: the entry counts, or it
was overtaken. Then the alias is set to what the table says until it is found there, so that
whoever sets it last has seen every entry that was written before. If a process dies between the
two, the next promotion or rollback sets the alias; so it does if somebody moves the alias by hand.
A rollback does no more than that then.
"""

from __future__ import annotations

import getpass
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from mmer.errors import InputError
from mmer.evaluation.champions import TAKEN_BACK, Champions, Entry, Move, Version
from mmer.evaluation.promotion import Contender, Contenders, Decision
from mmer.registry import tracking
from mmer.registry.versions import (
    ABSENT,
    CANDIDATE,
    CHAMPION,
    SYNTHETIC,
    VERDICT,
    at_alias,
    current_uri,
    evaluations,
    evidence_of,
    exists,
    find,
    insisted,
    make_registered_model,
    set_alias,
    set_tag,
    versions_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_TABLE = "-champions"
_ENTRY = "entry"
_LOGGED = "models:/"
_TRIES = 100
_LONGEST = 4000

logger = logging.getLogger(__name__)


def contenders(name: str, which: str = CANDIDATE) -> Contenders:
    """A candidate and the champion of a registered model, the real one or else the synthetic.

    Args:
        which: The version that would be champion: an alias, or a number.

    Raises:
        InputError: There is no candidate, or MLflow does not answer.
    """
    registered, number = find(name, which)
    with _answering(registered) as (client, uri):
        candidate = client.get_model_version(registered, number)
        table = _read(client, registered)
        now = table.champion or at_alias(client, registered, CHAMPION)
        return Contenders(
            candidate=_contender(client, uri, candidate),
            champion=_champion(client, uri, table, now) if now else None,
            champions=table,
            evaluations=evaluations(client, candidate),
        )


def champions(name: str, which: str = "") -> Champions:
    """The table of champions of a registered model, the real one or else the synthetic.

    Args:
        which: Of the model whose `contenders` these are; of the one that has had champions if
            nothing is said.

    Raises:
        InputError: There is no such version or no champion, or MLflow does not answer.
    """
    registered = "" if which else _with_champions(name)
    if not registered:
        which = which or (CANDIDATE if exists(name, CANDIDATE) else CHAMPION)
        registered = find(name, which)[0]
    with _answering(registered) as (client, _):
        table = _read(client, registered)
        at = at_alias(client, registered, CHAMPION)
        late = at != table.champion and _is_there(client, registered, table.champion)
        return table.model_copy(update={"unfinished": late})


def _with_champions(name: str) -> str:
    """The registered model that has had champions, the real one first; empty if none has."""
    with _answering(name) as (client, _):
        both = (name, name + SYNTHETIC)
        return next((one for one in both if _read(client, one).entries), "")


def decided(decision: Decision) -> Champions:
    """Do what was decided, and note it at the candidate; the table as it is then.

    Whether the decision was overtaken is seen there: the champion is another than the candidate.

    Raises:
        InputError: MLflow does not answer.
    """
    one = decision.candidate
    with _answering(one.name) as (client, _):
        if decision.move:
            _write(client, decision.move)
        table = _settle(client, one.name)
        told = decision.told
        if decision.move and table.champion != one.number:
            told = f"overtaken: version {table.champion} became champion meanwhile. {told}"
        elif decision.verdict == "unchanged":
            return table
        set_tag(client, one.name, one.number, "promotion", told[:_LONGEST])
        set_tag(client, one.name, one.number, VERDICT, decision.verdict)
        if run := tracking.current_run():
            set_tag(client, one.name, one.number, "promotion.run", run.run_id)
            run.set_tags({"promotion": told[:_LONGEST]})
        return table


def take_back(move: Move) -> Champions:
    """Let the champion before this one return; the table as it is then.

    If the version that is taken back is the candidate too, the one that returns takes this name as
    well, so that no promotion brings it back. One that is gone, or whose files are not what was
    registered, is skipped. A move that is in the table already is finished, not made again.

    Raises:
        InputError: None that was champion before can return; another was faster; MLflow does not
            answer.
    """
    with _answering(move.name) as (client, uri):
        table = _read(client, move.name)
        if table.entries and table.entries[-1].move == move:
            text = "%s: %s: this was decided before and is carried out now. To go further back, "
            logger.warning(text + "run it again", move.name, move.told)
        else:
            if table.last == move.after:
                move = _usable(client, uri, table, move)
            _write(client, move)
            table = _read(client, move.name)
        if table.champion != move.number:
            _settle(client, move.name)
            found = f"version {table.champion} meanwhile"
            raise InputError(move.name, "champion", f"version {move.before} to take back", found)
        if move.kind == TAKEN_BACK:
            _turn_down(client, move)
        # Last of all: as long as the alias is not there, the move is unfinished.
        table = _settle(client, move.name)
        if run := tracking.current_run():
            run.set_tags({"promotion": move.told})
        return table


def _usable(client: MlflowClient, uri: str, table: Champions, move: Move) -> Move:
    """The move back to the last champion whose files are all there, as they were registered."""
    unusable: list[str] = []
    while True:
        try:
            evidence_of(client, uri, _version(client, move.name, move.number))
            return move
        except InputError as error:
            logger.warning("Version %s cannot return and is skipped: %s", move.number, error)
        unusable.append(move.number)
        move = table.back(unusable)


def _turn_down(client: MlflowClient, move: Move) -> None:
    """Note at a version that it was taken back, and let it be no candidate."""
    if _is_there(client, move.name, move.before):
        set_tag(client, move.name, move.before, VERDICT, TAKEN_BACK)
    if at_alias(client, move.name, CANDIDATE) in (move.before, ""):
        set_alias(client, move.name, CANDIDATE, move.number)


def _write(client: MlflowClient, move: Move) -> int:
    """Append an entry; its place."""
    version = _version(client, move.name, move.number)
    source = str(version.source)
    run = tracking.current_run()
    entry = Entry(
        place=0,
        move=move.model_copy(update={"told": move.told[:_LONGEST]}),
        version=_told(version),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        by=getpass.getuser(),
        run=run.run_id if run else "",
    )
    table = f"{move.name}{_TABLE}"
    text = f"The champions of {move.name}, one version each time another became it. Written by the "
    make_registered_model(client, table, text + "pipelines promote_ and rollback_ alone.")
    write = partial(
        client.create_model_version,
        table,
        source,
        version.run_id,
        tags={_ENTRY: entry.to_json()},
        description=move.told[:_LONGEST],
        # A server does not tell a version's, and takes no such source without it.
        model_id=source.removeprefix(_LOGGED) if source.startswith(_LOGGED) else version.model_id,
    )
    made = insisted(write)  # if it is written twice, the second overtakes nobody
    return int(made.version)


def _read(client: MlflowClient, name: str) -> Champions:
    written = [
        Entry.from_json(one.tags[_ENTRY], f"{one.name}, version {one.version}").model_copy(
            update={"place": int(one.version)}
        )
        for one in versions_of(client, f"{name}{_TABLE}")
        if _ENTRY in one.tags
    ]
    return Champions.of(name, name.endswith(SYNTHETIC), written)


def _settle(client: MlflowClient, name: str) -> Champions:
    """Set the alias to what the table says, and see that it stays there.

    If that version was deleted, the alias is left as it is.
    """
    for _ in range(_TRIES):
        table = _read(client, name)
        at = at_alias(client, name, CHAMPION)
        if not table.champion or at == table.champion:
            return table
        if not _is_there(client, name, table.champion):
            text = "The champion of %s, version %s, was deleted, and none takes its place by itself"
            text += ": roll back, or promote another with promotion.as_first"
            logger.warning(text, name, table.champion)
            return table
        set_alias(client, name, CHAMPION, table.champion)
    expected, found = f"the alias to stay at version {table.champion}", f"version {at}"
    raise InputError(name, CHAMPION, expected, found, "Something else keeps moving it: stop that.")


def _champion(client: MlflowClient, uri: str, table: Champions, number: str) -> Contender:
    try:
        return _contender(client, uri, _version(client, table.name, number))
    except InputError as error:
        return Contender(table.entries[-1].version, None, str(error))


def _contender(client: MlflowClient, uri: str, version: ModelVersion) -> Contender:
    try:
        return Contender(_told(version), evidence_of(client, uri, version))
    except InputError as error:
        return Contender(_told(version), None, str(error))


def _version(client: MlflowClient, name: str, number: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code != ABSENT:
            raise
        expected, found = "a version that is in the registry", "that it was deleted"
        raise InputError(name, f"version {number}", expected, found) from error


def _is_there(client: MlflowClient, name: str, number: str) -> bool:
    try:
        return bool(number and _version(client, name, number))
    except InputError:
        return False


def _told(version: ModelVersion) -> Version:
    """What the tags of a version say."""
    tags, figure = version.tags, version.tags.get("test.micro_f1", "None")
    return Version(
        name=version.name,
        number=str(version.version),
        system=tags.get("system", ""),
        title=tags.get("title", tags.get("system", "")),
        model=tags.get("model", ""),
        fingerprint=tags.get("fingerprint", ""),
        synthetic=version.name.endswith(SYNTHETIC),
        micro_f1=None if figure == "None" else float(figure),
        may_lack=json.loads(tags["may_lack"]) if "may_lack" in tags else None,
    )


@contextmanager
def _answering(name: str) -> Iterator[tuple[MlflowClient, str]]:
    """A client, and where it looks; what MLflow refuses is one clear error."""
    from mlflow.exceptions import MlflowException

    uri = current_uri()
    try:
        yield tracking.connect(uri), uri
    except (MlflowException, OSError) as error:
        what, found = "a registry that answers", tracking.first_line(error)
        raise InputError(
            tracking.without_password(uri),
            name,
            what,
            found,
            "Run it again once the registry answers.",
        ) from error
