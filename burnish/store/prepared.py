"""A connection to PostgreSQL that has each statement read once. Knows pg8000; no table and no rule.

pg8000 by itself looks for a statement's places letter by letter and has it parsed and planned anew each time, in two
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
"""Statements that a connection keeps. The pages have fewer; what comes after them is read anew each time."""


class Cursor(legacy.Cursor):
    """As pg8000's, for statements with values."""

    def execute(self, operation: str, args: Sequence[Any] = (), stream: Any = None) -> Any:
        if not args or stream is not None:
            return super().execute(operation, args, stream)
        connection = cast(Connection, self._c)
        try:
            if not connection.in_transaction:
                connection.execute_simple("begin transaction")
            self._context = connection.ask(_numbered(operation), args, self._input_oids)
        except legacy.DatabaseError as error:
            raise _sorted(error) from error
        self._row_iter, self._input_oids = iter(self._context.rows or ()), ()
        return self


class Connection(legacy.Connection):
    """As pg8000's, with prepared statements."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self._prepared: dict[tuple[str, tuple[int, ...]], tuple[Any, ...]] = {}
        super().__init__(*given, **named)

    @property
    def in_transaction(self) -> bool:
        return self._in_transaction or self.autocommit

    def cursor(self) -> Cursor:
        return Cursor(self)

    def commit(self) -> None:
        self.execute_simple("commit")

    def ask(self, statement: str, values: Sequence[Any], types: Sequence[int]) -> Any:
        """What comes of a statement with these values for its places $1, $2..."""
        asked = (statement, tuple(types))
        if asked not in self._prepared:
            if len(self._prepared) >= MOST:
                return self.execute_unnamed(statement, vals=values, oids=types)
            self._prepared[asked] = self.prepare_statement(statement, types)
        name, columns, reading = self._prepared[asked]
        return self.execute_named(name, make_params(self.py_types, values), columns, reading, statement)


@lru_cache(maxsize=1000)
def _numbered(operation: str) -> str:
    """A statement with $1, $2... for its places, which SQLAlchemy writes as %s."""
    return convert_paramstyle("format", operation, ())[0]


def _sorted(error: legacy.DatabaseError) -> legacy.DatabaseError:
    """A refusal as the kind that pg8000's own cursor makes of it."""
    said: Any = error.args[0]
    code = said.get("C") if isinstance(said, dict) else None
    kinds: dict[Any, Any] = {"28000": legacy.InterfaceError, "23505": legacy.IntegrityError}
    return kinds.get(code, legacy.ProgrammingError)(said)
