"""The open database: whole transactions, which are retried on a conflict. No single statement is ever retried.

A session can become unusable: it is on a read-only server after a fail-over, its rights were revoked and granted again,
or a pooler lost its settings. So after any error but a conflict or a refused statement the session is closed. If it had
worked before, the transaction is retried in a new session. The caller decides about any later retry.

The result of a transaction is always known to the caller: committed, not committed (DatabaseUnavailable), or unknown
(OutcomeUnknown: the connection broke during the commit). An unknown transaction may be committed much later, when the
standby that it waits for returns.
"""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from jobd.clock import MILLISECOND, SECOND, doubled
from jobd.errors import DatabaseUnavailable, JobdError, OutcomeUnknown
from jobd.job import Run
from jobd.settings import Settings
from jobd.store import schema
from jobd.store.connect import dialect_of
from jobd.store.dialect import (
    BAD_SESSION,
    CONFLICT,
    CONNECTION_LOST,
    STATEMENT_REFUSED,
    TABLES_ALTERED,
    Conflict,
    Dialect,
    Upsert,
)
from jobd.store.orm import open_database
from jobd.store.url import Target, parse_url

Result = TypeVar("Result")
RunsRecorded: TypeAlias = Callable[[Sequence[Run]], None]  # must not wait
TRIES = 6  # of a transaction that conflicts with others
PAUSE = 40 * MILLISECOND  # before the second try; each further pause is twice as long
MAX_PAUSE = SECOND
RETRY_TIMEOUT = 5.0  # seconds after which there is no further attempt


class Session:
    """The statements of one transaction. They have `?` for parameters and double quotes around names."""

    def __init__(self, connection: Any, dialect: Dialect, database: Any) -> None:
        self.dialect = dialect
        self.database = database  # for peewee queries
        self.cursor = connection.cursor()
        # Jobs without a state to lock, when this transaction read it; see states_for_update in schedule_table.
        self.without_state: set[int] = set()
        self.ended_runs: list[Run] = []  # recorded in this transaction

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Run one statement; the cursor."""
        self.cursor.execute(_spelled(sql, self.dialect.placeholder), parameters)
        return self.cursor

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement returns."""
        return list(self.execute(sql, parameters).fetchall())

    def rows_where_in(self, sql: str, column: str, ids: Sequence[int], lock: bool = False) -> list[tuple[Any, ...]]:
        """The rows of `sql`, which ends in WHERE, whose `column` is in `ids`; `lock`: until the transaction ends."""
        dialect = self.dialect
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(ids), MAX_IDS):
            some = ids[start : start + MAX_IDS]
            condition = dialect.where_in(column) + (f" ORDER BY {column}{dialect.for_update}" if lock else "")
            found += dialect.all_rows(self, sql + condition, dialect.where_in_values(some))
        return found

    def write_rows(
        self,
        table: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        key: Sequence[str] = (),
        cleared: Sequence[str] = (),
    ) -> None:
        """Write rows, many per statement. For `key` and `cleared`, see Upsert."""
        for sql, parameters in self.dialect.writes(Upsert(table, tuple(columns), tuple(key), tuple(cleared)), rows):
            self.cursor.execute(sql, parameters)


MAX_IDS = 5_000  # in one condition


@lru_cache(maxsize=256)
def _spelled(sql: str, placeholder: str) -> str:
    return sql if placeholder == "?" else sql.replace("?", placeholder)


class Store:
    """An open database, for one thread."""

    _proven = False  # a transaction has been committed in this session

    def __init__(self, target: Target) -> None:
        self.runs_recorded: list[RunsRecorded] = []  # called after each commit that has recorded runs
        self.target = target
        self.dialect = dialect_of(target)
        self._sleep: Callable[[float], None] = time.sleep  # noqa: TID251 - between tries
        self._monotonic: Callable[[], float] = time.monotonic
        self._seen: object = None
        self._database = open_database(target, self.dialect)
        self._with_retries(lambda: schema.upgrade(self._database.connection(), self.dialect, target))

    def transact(self, work: Callable[[Session], Result]) -> Result:
        """Run `work` in one transaction. It may run again after a conflict, so it must have no effect outside of it.

        Raises DatabaseUnavailable (nothing was changed) or OutcomeUnknown (the connection broke during the commit).
        """
        retry_until = self._monotonic() + RETRY_TIMEOUT
        for attempt in range(TRIES):
            if attempt:
                self._pause(attempt)
            proven = self._proven and not self._database.is_closed()
            try:
                result, ended = self._once(work)
            except JobdError:
                raise
            except Exception as error:
                kind = self._kind(error)
                if kind is None:
                    raise
                again = kind in (CONFLICT, CONNECTION_LOST) or (kind in (BAD_SESSION, TABLES_ALTERED) and proven)
                if not again or attempt == TRIES - 1 or self._monotonic() > retry_until:
                    raise self._unavailable(error) from None
            else:
                self._announce(ended)
                return result
        raise DatabaseUnavailable(f"{self.target.label}: the transaction could not be done in {TRIES} tries")

    def changed(self) -> bool:
        """Whether another connection may have written since the last call. Raises DatabaseUnavailable."""
        try:
            self.dialect.check_place(self.target)
            changed, self._seen = self.dialect.changed(self._connection(), self._seen)
        except JobdError:
            raise
        except Exception as error:  # noqa: BLE001 - drivers have no common base class; explained in one place
            self._discard()
            raise self._unavailable(error) from None
        return changed

    def take_password(self, settings: Settings) -> None:
        """Use the password of these settings for new connections."""
        password = parse_url(settings.database, settings.password).password
        self.target = self._database.target = self.target._replace(password=password)

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _announce(self, ended: Sequence[Run]) -> None:
        """Call the listeners. The transaction is committed, so an error of theirs must not look like one of it."""
        for listener in self.runs_recorded if ended else ():
            try:
                listener(ended)
            except Exception as error:  # noqa: BLE001 - a bug in a listener must not cost the keeper its cycle
                from jobd import logs  # here, because commands have no log

                logs.log("error", f"recorded runs could not be announced: {type(error).__name__}: {error}")

    def _once(self, work: Callable[[Session], Result]) -> tuple[Result, Sequence[Run]]:
        """The result of `work` after its commit, and the runs that it has recorded."""
        connection = self._connection()
        self.dialect.check_place(self.target)
        try:
            session = Session(connection, self.dialect, self._database)
        except Exception:
            self._discard()  # it is closed
            raise
        try:
            session.execute(self.dialect.begin)
            self.dialect.check_session(session.cursor)
            result = work(session)
        except BaseException as error:
            self._roll_back(session, error)
            raise
        try:
            session.execute("COMMIT")
        except KeyboardInterrupt:
            raise OutcomeUnknown("interrupted during the commit", "check whether it was done, then repeat it") from None
        except Exception as error:
            kind = self.dialect.classify(_cause(error))
            self._roll_back(session, error)
            if kind == CONNECTION_LOST:
                raise OutcomeUnknown(
                    f"the connection broke during the commit: {error}",
                    "check whether it was done, then repeat it",
                ) from None
            raise
        self._proven = True
        return result, session.ended_runs

    def _connection(self) -> Any:
        if self._database.is_closed():
            self._proven, self._seen = False, None
            self._database.connect()
        return self._database.connection()

    def _roll_back(self, session: Session, error: BaseException) -> None:
        """Roll the transaction back, or close a session that is unusable after `error`."""
        try:
            if not isinstance(error, Exception) or self._kind(error) in (
                None,
                CONFLICT,
                STATEMENT_REFUSED,
            ):
                session.execute("ROLLBACK")
                return
        except Exception:  # noqa: BLE001, S110 - after any error here the connection is unusable
            pass
        self._discard()

    def _discard(self) -> None:
        try:
            self._database.close()
        except Exception:  # noqa: BLE001 - a broken connection may refuse even to be closed
            self._database._state.reset()  # noqa: SLF001 - peewee has no public method for it

    def _pause(self, failures: int) -> None:
        self._sleep(doubled(PAUSE, failures - 1, MAX_PAUSE) / SECOND)

    def _with_retries(self, work: Callable[[], None]) -> None:
        retry_until = self._monotonic() + RETRY_TIMEOUT
        for attempt in range(TRIES):
            try:
                return work()
            except JobdError:
                self._discard()
                raise
            except Exception as error:  # noqa: BLE001 - drivers have no common base class; explained in one place
                again = self.dialect.classify(_cause(error)) == CONFLICT
                if not again or attempt == TRIES - 1 or self._monotonic() > retry_until:
                    self._discard()
                    raise self._unavailable(error) from None
                self._pause(attempt + 1)
        return None

    def _kind(self, error: Exception) -> str | None:
        return CONFLICT if isinstance(error, Conflict) else self.dialect.classify(_cause(error))

    def _unavailable(self, error: Exception) -> DatabaseUnavailable:
        return self.dialect.refusal(_cause(error), self.target)


def open_store(settings: Settings) -> Store:
    """The database that the settings name. It is created or upgraded if necessary. Raises JobdError."""
    return Store(parse_url(settings.database, settings.password))


def _cause(error: Exception) -> Exception:
    """The driver's error from which peewee made `error`; `error` itself if it is not peewee's."""
    behind = error.__cause__ or error.__context__
    return behind if type(error).__module__ == "peewee" and isinstance(behind, Exception) else error
