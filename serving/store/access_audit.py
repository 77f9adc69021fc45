"""The audit log: who did what, and how it ended; append-only."""

import re
from datetime import datetime
from typing import Literal

from sqlalchemy import insert, select

from serving.store.access_records import AuditEntry
from serving.store.authors import By
from serving.store.database import Database
from serving.store.instants import now
from serving.store.tables.access import AuditRow

#: Who acts without a principal: whoever may run commands in the workspace, or somebody not signed in.
Actor = Literal["operator", "anonymous"]
_LONGEST = {"action": 64, "object": 200, "outcome": 32, "request_id": 64}
#: Words and ids: neither a sentence nor an e-mail address gets through.
_PLAIN = re.compile(r"[\w.:/-]+", re.ASCII)


class AuditLog:
    """The log of what principals did."""

    def __init__(self, database: Database):
        self._database = database

    def audit(
        self,
        principal: By | Actor,
        action: str,
        object_: str | None = None,
        *,
        outcome: str = "done",
        request_id: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Append an entry, at `at` (None: now).

        `action` and `outcome` are words as `key.revoke`, `done`; `object_` is `kind:id` with an id of Kunto's own: an
        account by its account_key, a person by user_id, because an entry outlives who they are. Raises ValueError for
        anything else, free text above all.
        """
        given = {"action": action, "object": object_, "outcome": outcome, "request_id": request_id}
        for name, value in given.items():
            if value is not None and not (_PLAIN.fullmatch(value) and len(value) <= _LONGEST[name]):
                raise ValueError(
                    f"{name} {value!r} is no word or id; allowed: up to {_LONGEST[name]} letters without accents, digits and "
                    "._:/- and no spaces; free text does not belong into the audit log"
                )
        kind, identifier = (principal, None) if isinstance(principal, str) else (principal.kind, principal.id)
        who = {"principal_kind": kind, "principal_id": identifier}
        with self._database.writing() as connection:
            connection.execute(insert(AuditRow), [given | who | {"at": at or now()}])

    def audits(self, before: int | None = None, limit: int = 50) -> list[AuditEntry]:
        """Return the newest entries first, at most `limit`; `before`: only those of a smaller audit_id (the next page)."""
        query = select(*AuditRow.__table__.columns).order_by(AuditRow.audit_id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditRow.audit_id < before)
        with self._database.reading() as connection:
            return [AuditEntry(**row._mapping) for row in connection.execute(query)]
