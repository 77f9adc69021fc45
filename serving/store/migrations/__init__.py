"""Alembic migrations of the store, shipped with the package: `migrate` brings a database to the newest revision."""

from collections.abc import Iterable
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect

from serving.store.database import Database
from serving.store.errors import StoreError
from serving.store.tables import Base

#: Not Alembic's default: MLflow keeps its revision there, and may live in the same database.
VERSION_TABLE = "kunto_schema_version"


def migrate(database: Database) -> None:
    """Bring the database to the newest revision: all of it or nothing, once, however many processes open it at once.

    Raises StoreError where the database is newer than this version of Kunto, or holds foreign tables of the same names.
    """
    script = ScriptDirectory(Path(__file__).parent)
    with database.reading() as connection:
        if _revision(connection, script, database.where) == script.get_current_head():
            return  # nothing to write: opening waits for no writer
    with database.writing() as connection:
        if _revision(connection, script, database.where) is None:
            _refuse_foreign_tables(connection, database.where)
        with EnvironmentContext(Config(), script) as environment:
            environment.configure(
                connection=connection,
                target_metadata=Base.metadata,
                version_table=VERSION_TABLE,
                fn=lambda revision, _: _steps(script, revision),
            )
            environment.run_migrations()


def _steps(script: ScriptDirectory, revision: str) -> Iterable[MigrationStep]:
    ahead = reversed(list(script.iterate_revisions("head", revision)))
    return [MigrationStep.upgrade_from_script(script.revision_map, step) for step in ahead]


def _revision(connection: Connection, script: ScriptDirectory, where: str) -> str | None:
    revision = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    if revision is not None:
        try:
            script.get_revision(revision)
        except CommandError as error:
            raise StoreError(
                f"the database was written by a newer Kunto: its schema is {revision!r}, this version knows up to "
                f"{script.get_current_head()!r}",
                where,
                "Install that version, or name another database.",
            ) from error
    return revision


def _refuse_foreign_tables(connection: Connection, where: str) -> None:
    if foreign := sorted(Base.metadata.tables.keys() & set(inspect(connection).get_table_names())):
        raise StoreError(
            f"the database holds a table {', '.join(foreign)} that Kunto did not make",
            where,
            "Give Kunto a database (on PostgreSQL, a database or a schema) of its own.",
        )
