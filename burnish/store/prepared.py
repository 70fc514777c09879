"""A connection to PostgreSQL that has each statement read once. Knows pg8000; no table and no rule.

pg8000 by itself looks for a statement's places letter by letter and has it parsed and planned anew each time, in three
round trips. The labelling pages ask the same two dozen again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from pg8000 import legacy
from pg8000.converters import make_params
from pg8000.dbapi import convert_paramstyle

MOST = 200
"""Statements that a connection keeps, those that were asked last. A list of another length makes another statement."""
STALE = ("0A000", "26000", "42P05")
"""SQLSTATEs of a statement that is not what it was: a column has another type, or somebody else forgot it."""


class Cursor(legacy.Cursor):
    """As pg8000's, for statements with values."""

    def execute(self, operation: str, args: Sequence[Any] = (), stream: Any = None) -> Any:
        if not args or stream is not None:
            return super().execute(operation, args, stream)
        connection = cast(Connection, self._c)
        try:
            self._context = connection.ask(_numbered(operation), args, self._input_oids)
        except legacy.DatabaseError as error:
            raise _kind(error) from error
        self._row_iter, self._input_oids = iter(self._context.rows or ()), ()
        return self


class Connection(legacy.Connection):
    """As pg8000's, with prepared statements."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self._prepared: dict[tuple[str, tuple[int, ...]], tuple[Any, ...]] = {}
        super().__init__(*given, **named)

    def cursor(self) -> Cursor:
        return Cursor(self)

    def commit(self) -> None:
        self.execute_simple("commit")

    def rollback(self) -> None:
        if self._in_transaction:
            self.execute_simple("rollback")

    def ask(self, statement: str, values: Sequence[Any], types: Sequence[int]) -> Any:
        """What comes of a statement with these values for its places $1, $2..., in a transaction."""
        if not self._in_transaction and not self.autocommit:
            self.execute_simple("begin transaction")
        asked = (statement, tuple(types))
        try:
            kept = self._prepared.pop(asked, None) or self.prepare_statement(statement, types)
            self._prepared[asked] = kept
            name, columns, reading = kept
            found = self.execute_named(name, make_params(self.py_types, values), columns, reading, statement)
        except legacy.DatabaseError as error:
            if _code(error) in STALE:
                self._prepared.clear()
            raise
        if len(self._prepared) > MOST:
            self.close_prepared_statement(self._prepared.pop(next(iter(self._prepared)))[0])
        return found


@lru_cache(maxsize=1000)
def _numbered(operation: str) -> str:
    """A statement with $1, $2... for its places, which SQLAlchemy writes as %s."""
    return convert_paramstyle("format", operation, ())[0]


def _code(error: legacy.DatabaseError) -> str:
    said: Any = error.args[0]
    return str(said.get("C")) if isinstance(said, dict) else ""


def _kind(error: legacy.DatabaseError) -> legacy.DatabaseError:
    """A refusal as what pg8000's own cursor makes of it."""
    kinds: dict[str, Any] = {"28000": legacy.InterfaceError, "23505": legacy.IntegrityError}
    return kinds.get(_code(error), legacy.ProgrammingError)(error.args[0])
