"""Features against a second, slow reading of domain.md (`reference`), on histories drawn where mistakes are."""

from collections import Counter

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from reference.account import expected
from reference.batches import FACTS, OWN, PRODUCT_FEATURES, VERSUS, Compared, compare, together
from reference.engines import ENGINES
from reference.histories import ACCOUNTS, COLUMNS, History, histories
from reference.reduced import reduced, shown
from reference.shapes import EVERYTHING, SHAPES, Shape, shapes
from sparks import UNCLOSED

from features.catalogue import catalog


@pytest.fixture(params=sorted(set(ENGINES) - {"spark"}))
def engine(request) -> str:
    """The engine that builds; Spark, which takes half a minute for each set of tables, has a test of its own."""
    return request.param


def drawn(strategy, count: int, number: int) -> list:
    """Return `count` examples, no two alike; the number decides which."""
    found = {}

    @seed(number)
    @settings(
        max_examples=2 * count + 20,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example) -> None:
        if len(found) < count:
            found.setdefault(repr(example), example)

    collect()
    assert len(found) == count
    return list(found.values())


def agree(found: list[History], shape: Shape, engine: str) -> Compared:
    """Compare the histories; fail with the first one that disagrees, made small."""
    compared = compare(found, shape, engine)
    numbers = sorted({number for number, *_ in compared.wrong if number is not None})
    columns = Counter(name for wrong in compared.wrong.values() for name in wrong)
    if numbers and not compared.peers_compared:
        small = reduced(found[numbers[0]], lambda some: {number for number, *_ in compare(some, shape, engine).wrong})
        told = compare([small], shape, engine).wrong
        pytest.fail(f"{len(numbers)} histories disagree: {dict(columns)}\n(built, expected): {told}\n{shown(small, shape)}")
    assert compared.wrong == {}, f"(built, expected) disagree: {dict(columns)}"
    return compared


def test_the_reference_has_every_feature():
    accounts = [f"0.{account}" for account in ACCOUNTS]
    nothing = together([dict.fromkeys(COLUMNS, ())], EVERYTHING)
    for found in expected(nothing, accounts, EVERYTHING.instants[0], PRODUCT_FEATURES).values():
        assert set(found.features) == set(OWN)
        assert set(found.facts) == {*FACTS, "product", "plan"}
    assert {*OWN, *VERSUS} == set(catalog(PRODUCT_FEATURES))


def test_features_are_what_the_domain_says(engine):
    """Each shape of tables that is named, and some that are drawn; over all of them nothing is compared in vain."""
    rows, levels, count = [], Counter(), 0
    for number, shape in enumerate([*SHAPES, *drawn(shapes, 2, 1)]):
        found = drawn(histories(shape), 200 if shape is EVERYTHING else 60, number)
        compared = agree(found, shape, engine)
        rows.append(compared.rows)
        levels += Counter(compared.peer_levels)
        count += len(found)
    assert count == 500, "histories compared"
    assert set(levels) == {0, 1, 2}, "segments, products and all accounts were peers"
    varied = pd.concat(rows).nunique()
    assert varied[varied < 2].empty, "these features never differed"


@pytest.mark.trust
def test_5000_histories(engine):
    count = 0
    for number, shape in enumerate(drawn(shapes, 40, 2)):
        found = drawn(histories(shape), 150, 1000 + number)
        agree(found, shape, engine)
        count += len(found)
    print(f"{count} histories of {len(ACCOUNTS)} accounts at 2 instants agree")  # noqa: T201
    assert count >= 5000


@pytest.mark.trust
@UNCLOSED
def test_histories_on_spark(spark):
    """With every table, then with tables and columns left out."""
    for number, shape in enumerate([EVERYTHING, *drawn(shapes, 2, 1)]):
        compared = compare(drawn(histories(shape), 100 if shape is EVERYTHING else 40, number), shape, "spark")
        assert compared.wrong == {}, "(built, expected) disagree"
        assert compared.peers_compared
