"""Free text that people write about an account: kept apart, so that it can be erased while what refers to it stays."""

import uuid
from datetime import datetime

from sqlalchemy import Connection, insert, update

from serving.store.instants import now
from serving.store.tables.work import TextRow


def keep_text(connection: Connection, key: uuid.UUID, text: str | None, written_at: datetime) -> uuid.UUID | None:
    """Keep what somebody wrote about the account of `key` and return its id; None where there is nothing but blanks.

    ValueError for a NUL character, which PostgreSQL cannot hold.
    """
    if text is None or not text.strip():
        return None
    if "\0" in text:
        raise ValueError(f"the text holds a NUL character at {text.index(chr(0))}; leave it out")
    text_id = uuid.uuid4()
    row = {"text_id": text_id, "account_key": key, "text": text.strip(), "written_at": written_at}
    connection.execute(insert(TextRow), [row])
    return text_id


def erase_texts(connection: Connection, key: uuid.UUID) -> int:
    """Empty every text about the account of `key`, and return how many there were."""
    erased = connection.execute(
        update(TextRow).where(TextRow.account_key == key, TextRow.text.is_not(None)).values(text=None, erased_at=now())
    )
    return erased.rowcount
