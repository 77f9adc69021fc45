"""Who did something, as the store keeps it: a kind and an id, never a name."""

from dataclasses import dataclass
from typing import Protocol


class By(Protocol):
    """Whoever acts: a principal, or an `Author`; only kind and id are kept."""

    @property
    def kind(self) -> str:
        """Such as "key", "user" or "job"."""

    @property
    def id(self) -> str:
        """The id under which access knows it; a random one, so that a person can be erased there alone."""


@dataclass(frozen=True)
class Author:
    """Who did something: `kind` ("key", "user", "job") and `id`."""

    kind: str
    id: str
