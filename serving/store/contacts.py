"""`Contacts`: whom to call about each account; personal data, so it is replaced and erased, never kept as history."""

import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypedDict

from sqlalchemy import Connection, Select, bindparam, delete, insert, select

from serving.store.database import Database
from serving.store.tables.history import AccountRow
from serving.store.tables.work import ContactRow
from serving.store.transactions import account_key, account_keys


class Contact(TypedDict):
    """A person to call, as a scored account names one: the id in the source, and the role there."""

    contact_id: str
    role: str


class Contacts:
    """Whom to call about each account, first things first."""

    def __init__(self, database: Database):
        self._database = database

    def replace(self, people: Mapping[str, Sequence[Contact]]) -> int:
        """Put these in the place of all that each of the accounts named had, and return how many there are now.

        Accounts that are not named keep theirs. Raises StoreError for an unknown account, ValueError for a contact given twice.
        """
        for account_id, listed in people.items():
            ids = [contact["contact_id"] for contact in listed]
            if len(set(ids)) < len(ids):
                raise ValueError(f"account {account_id!r} has a contact twice among {', '.join(ids)}; give each once")
        with self._database.writing() as connection:
            keys = account_keys(connection, set(people), self._database.where)
            rows = [
                {
                    "account_key": keys[account_id],
                    "position": position,
                    "contact_id": contact["contact_id"],
                    "role": contact["role"],
                }
                for account_id, listed in people.items()
                for position, contact in enumerate(listed)
            ]
            if people:
                connection.execute(
                    delete(ContactRow).where(ContactRow.account_key == bindparam("key")),
                    [{"key": keys[account_id]} for account_id in people],
                )
            if rows:
                connection.execute(insert(ContactRow), rows)
        return len(rows)

    def of(self, account_id: str) -> list[Contact]:
        """Return whom to call about one account. Raises UnknownAccountError."""
        with self._database.reading() as connection:
            key = account_key(connection, account_id, self._database.where)
            asked = select(ContactRow.contact_id, ContactRow.role).where(ContactRow.account_key == key)
            rows = connection.execute(asked.order_by(ContactRow.position))
            return [Contact(contact_id=row.contact_id, role=row.role) for row in rows]

    def of_all(self, account_ids: Sequence[str] | None = None) -> dict[str, list[Contact]]:
        """Return account id → whom to call, of these accounts (None: of all); those without anybody are not in it."""
        given = {} if account_ids is None else {"account_ids": list(account_ids)}
        found: dict[str, list[Contact]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(_contacts(some=account_ids is not None), given):
                found.setdefault(str(row.account_id), []).append(Contact(contact_id=row.contact_id, role=row.role))
        return found

    def forget_contact(self, contact_id: str) -> int:
        """Erase the person wherever they are a contact, and return from how many accounts (0: nowhere).

        Their rows in the company's own tables stay: a contact who is still there is back after the next run.
        """
        with self._database.writing() as connection:
            return connection.execute(delete(ContactRow).where(ContactRow.contact_id == contact_id)).rowcount


@cache
def _contacts(*, some: bool) -> Select:
    """Built once: it is asked with every score that is read."""
    query = (
        select(AccountRow.account_id, ContactRow.contact_id, ContactRow.role)
        .join(ContactRow, ContactRow.account_key == AccountRow.account_key)
        .where(AccountRow.account_id.is_not(None))
        .order_by(AccountRow.account_id, ContactRow.position)
    )
    return query.where(AccountRow.account_id.in_(bindparam("account_ids", expanding=True))) if some else query


def erase_contacts(connection: Connection, key: uuid.UUID) -> int:
    """Erase the contacts of the account of `key`, and return how many there were."""
    return connection.execute(delete(ContactRow).where(ContactRow.account_key == key)).rowcount
