"""Who asks: a key of another system, or a person; and what each role may do (interface.md "Auth")."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.sentences import Language

Scope = Literal["scores:read", "feedback:write", "plays:write", "events:write", "admin"]
Role = Literal["viewer", "csm", "admin"]
SCOPES: tuple[Scope, ...] = ("scores:read", "feedback:write", "plays:write", "events:write", "admin")
ROLE_SCOPES: Mapping[Role, frozenset[Scope]] = {
    "viewer": frozenset({"scores:read"}),
    "csm": frozenset({"scores:read", "feedback:write", "plays:write"}),
    "admin": frozenset(SCOPES),
}


@dataclass(frozen=True)
class Principal:
    """A key or a person, with what they may do; `csm` is not None for a person limited to the accounts of that name."""

    kind: Literal["key", "user"]
    id: str
    name: str
    scopes: frozenset[Scope]
    role: Role | None = None
    csm: str | None = None
    language: Language | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope is theirs.

        >>> Principal("key", "k1", "billing", frozenset({"events:write"})).may("scores:read")
        False
        """
        return scope in self.scopes
