"""Answers that were made already, kept while the database stays as it was."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from cachetools import LRUCache

A = TypeVar("A")
_KEPT = 4096


class Answers(Generic[A]):
    """Gives an answer again as long as `revision` is what it was before the answer was made; None: nothing is kept.

    Used from the event loop alone, so it needs no lock; a question asked twice at once is answered twice.

    >>> import asyncio
    >>> made, revisions = [], iter([1, 1, 2])
    >>> async def make():
    ...     made.append(len(made))
    ...     return made[-1]
    >>> answers = Answers(lambda: next(revisions))
    >>> [asyncio.run(answers.of("q", make)) for _ in range(3)]
    [0, 0, 1]
    """

    def __init__(self, revision: Callable[[], int | None]) -> None:
        self._revision = revision
        self._kept: LRUCache[Hashable, tuple[int, A]] = LRUCache(_KEPT)

    async def of(self, question: Hashable, make: Callable[[], Awaitable[A]]) -> A:
        """The answer to a question that names everything that it hangs on beside the database."""
        revision = self._revision()
        kept = self._kept.get(question)
        if kept is not None and kept[0] == revision:
            return kept[1]
        answer = await make()
        if revision is not None:
            self._kept[question] = (revision, answer)
        return answer
