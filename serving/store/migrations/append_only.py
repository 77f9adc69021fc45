"""Rows that are written once: triggers of a table for either database, used by the revisions after the first.

Released revisions rest on it: it is never changed.
"""

from alembic import op


def append_only(table: str) -> None:
    """Refuse every change and deletion of the rows of `table`; PostgreSQL's function came with revision 0001."""
    sqlite = op.get_context().dialect.name == "sqlite"
    for verb in ("UPDATE", "DELETE") if sqlite else ("UPDATE", "DELETE", "TRUNCATE"):
        body = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END" if sqlite else "EXECUTE FUNCTION kunto_append_only()"
        op.execute(f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} {body}")
