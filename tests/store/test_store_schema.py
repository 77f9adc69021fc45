"""The migrated schema is the one that the models declare."""

import ast
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from serving.store import migrations
from serving.store.tables import Base


def _differences(store):
    options = {"version_table": migrations.VERSION_TABLE, "compare_type": True, "compare_server_default": True}
    with store._database.reading() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)
    # changes of one column come as a list
    return [change for difference in found for change in (difference if isinstance(difference, list) else [difference])]


def test_models_and_migrations_agree(store):
    assert _differences(store) == []


def test_the_comparison_sees_a_difference(store):
    with store._database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE accounts ADD COLUMN phone VARCHAR")
        connection.exec_driver_sql("DROP INDEX ix_scores_account_key_as_of")
    assert {difference[0] for difference in _differences(store)} == {"remove_column", "add_index"}


def test_revisions_form_one_line_and_stand_on_their_own():
    script = ScriptDirectory(Path(migrations.__file__).parent)
    assert len(script.get_heads()) == 1
    for revision in script.walk_revisions():
        imported = [node for node in ast.walk(ast.parse(Path(revision.path).read_text())) if isinstance(node, ast.ImportFrom)]
        assert {node.module for node in imported} <= {"alembic", "serving.store.migrations.append_only"}
