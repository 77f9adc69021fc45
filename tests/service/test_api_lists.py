"""Lists as a user walks them: every item once, in one order, whatever is written between two pages; and as they stood at any time."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import page_company
import pytest
from own_service import Own, own_service
from page_company import AS_OF, account, scored_health

from serving.store import UnknownAccountError  # noqa: F401

DAY = timedelta(days=1)


@pytest.fixture
def own(demo: Any, tmp_path: Path) -> Iterator[Own]:
    """The service over a dozen accounts made by hand."""
    with own_service(demo.path, tmp_path / "workspace", store=f"sqlite:///{tmp_path / 'own.db'}") as made:
        page_company.company(made.service.store)
        yield made


def get(own: Own, path: str, **asked: Any) -> Any:
    answer = own.client.get(f"/v1/{path}", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pages(own: Own, path: str, **asked: Any) -> Iterator[dict[str, Any]]:
    """Each page, once the one before has been looked at."""
    cursor: dict[str, str] = {}
    while True:
        page = get(own, path, limit=3, **asked, **cursor)
        yield page
        if page["next_cursor"] is None:
            return
        assert len(page["items"]) == 3
        cursor = {"cursor": page["next_cursor"]}
