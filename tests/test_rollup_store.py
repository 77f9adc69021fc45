"""Rollups that are kept night by night give the features of a build from scratch on all rows, however the rows come."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_rollups import COLUMNS, PRODUCT_FEATURES, company, event, files_of, from_scratch, kept, same, stray, write

from features import rollup_parts
from features.builder import Builder, build
from features.catalogue.usage import REACH_OF
from features.rollup_store import RollupStore
from features.sources import SourceError, literal

# Few instants, so that they meet: month's and day's ends, one before a year's reach, one after every T.
INSTANTS = (
    "2024-02-01", "2024-12-31 23:59:59.999999", "2025-01-01", "2025-01-31 12:00", "2025-02-02", "2025-02-03", "2025-03-31 23:00",
    "2025-05-10 08:00", "2025-08-01",
)  # fmt: skip
OPTIONAL = ("event_id", "user_id", "quantity", "users", "value", "recorded_at")

rows = st.builds(
    event,
    st.sampled_from([None, *(f"e{n}" for n in range(6))]),
    st.sampled_from(INSTANTS),
    st.sampled_from([None, *INSTANTS]),
    account_id=st.sampled_from("aabc"),
    feature=st.sampled_from(["open", "save", "Cancel_Page"]),
    user_id=st.sampled_from([None, "u", "v"]),
    quantity=st.sampled_from([None, 0, 1, 5]),
    users=st.sampled_from([None, 2, 7]),
    value=st.sampled_from([None, 0.1, -2.25]),
)
contents = st.tuples(st.lists(rows, max_size=10), st.sets(st.sampled_from(OPTIONAL), max_size=2))
changes = st.tuples(
    st.sampled_from(["add", "add", "again", "grow", "correct", "overlap", "copy", "rename", "swap"]),
    st.integers(0, 5), st.integers(0, 5), contents,
)  # fmt: skip
nights = st.lists(st.lists(changes, min_size=1, max_size=2), min_size=1, max_size=3)


class Source:
    """A folder of files as nights change it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.held, self.number = folder, {}, 0
        self.put([], set())  # so that every example has all columns

    def put(self, rows, without, name=None):
        self.number += name is None
        name = name or f"u{self.number}.parquet"
        self.held[name] = (list(rows), set(without))
        write(self.folder / name, rows, [column for column in COLUMNS if column not in without])

    def change(self, kind, first, second, content):
        names = sorted(self.held)
        one, other = names[first % len(names)], names[second % len(names)]
        (rows, without), (other_rows, other_without) = self.held[one], self.held[other]
        first_one = one == "u1.parquet"
        if kind == "add" or (first_one and kind in ("grow", "correct", "swap")) or (kind == "swap" and other == "u1.parquet"):
            self.put(*content)
        elif kind == "again":  # rows of one file in another one, some of them twice
            self.put([*rows, *rows[:2]], content[1])
        elif kind == "overlap":
            self.put([*content[0], *rows[len(rows) // 2 :]], without)
        elif kind == "grow":
            self.put([*rows, *content[0]], without, one)
        elif kind == "correct":
            self.put([*rows[1:], *content[0][:1]], content[1], one)
        elif kind == "copy":
            self.number += 1
            shutil.copy(self.folder / one, self.folder / f"c{self.number}.parquet")
            self.held[f"c{self.number}.parquet"] = self.held[one]
        elif kind == "rename":
            self.number += 1
            (self.folder / one).rename(self.folder / f"r{self.number}.parquet")
            self.held[f"r{self.number}.parquet"] = self.held.pop(one)
            if first_one:
                self.put([], set(), one)
        else:
            self.put(rows, without, other)
            self.put(other_rows, other_without, one)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


@pytest.fixture
def store(tmp_path):
    return RollupStore(tmp_path / "kept")


def held_equal(store, source):
    """Assert that a store gives what a build from scratch, and a fresh store, give."""
    files = files_of(source)
    found = kept(store)
    same(found, from_scratch(files))
    with TemporaryDirectory() as folder:
        fresh = RollupStore(Path(folder))
        fresh.update(files)
        same(kept(fresh), found)
        assert fingerprint(fresh) == fingerprint(store)
    assert not stray(store.folder, store)


def fingerprint(store):
    return store.rolled(ibis.duckdb.connect()).state.fingerprint


@settings(max_examples=3, deadline=None, derandomize=True, database=None)
@given(nights)
def test_any_nights_give_the_features_of_a_build_from_scratch(nights):
    nights_held_equal(nights)


@pytest.mark.trust
@settings(max_examples=60, deadline=None, database=None)
@given(nights)
def test_any_of_many_nights_give_the_features_of_a_build_from_scratch(nights):
    nights_held_equal(nights)


def nights_held_equal(nights):
    with TemporaryDirectory() as folder:
        source = Source(Path(folder) / "source")
        store = RollupStore(Path(folder) / "kept")
        for night in nights:
            for change in night:
                source.change(*change)
            store.update(files_of(source.folder))
        assert store.update(files_of(source.folder)).months == ()
        held_equal(store, source.folder)


def test_an_update_tells_what_it_did(store, source):
    first = [event("x", "2025-01-05"), event("y", "2025-02-05"), event(None, "2025-02-06")]
    write(source / "1.parquet", first)
    done = store.update(files_of(source))
    assert (done.rows, done.absorbed, done.delivered_twice, done.months) == (3, 0, (), ("2025-01", "2025-02"))
    write(source / "2.parquet", [first[0], event("z", "2025-03-01"), event("y", "2025-02-05", "2025-03-02", quantity=9)])
    shutil.copy(source / "1.parquet", source / "3.parquet")
    told = []
    done = store.update(files_of(source), progress=lambda done, total: told.append((done, total)))
    # The version of y takes it out of its month; x is there already.
    assert (done.rows, done.absorbed, done.delivered_twice, done.months) == (2, 1, ("3.parquet",), ("2025-02", "2025-03"))
    assert told == [(1, 1)]
    done = store.update(files_of(source))
    assert (done.rows, done.absorbed, done.delivered_twice, done.months) == (0, 0, (), ())
    held_equal(store, source)


def test_rows_that_lack_a_required_value_are_left_out_and_counted(store, source):
    bad = [event("p", "2025-01-05", account_id=None), event("q", "2025-01-06", feature=None)]
    good = [event("x", "2025-01-05"), event("y", "2025-01-06", account_id="b")]
    lacking = [*bad, event("r", "2025-01-07") | {"occurred_at": None}]
    write(source / "1.parquet", [*good, *lacking])
    done = store.update(files_of(source))
    assert (done.rows, done.refused) == (2, 3)
    # A version whose first one was left out rolls its month up anew.
    write(source / "2.parquet", [event("p", "2025-01-05", "2025-01-20"), event("x", "2025-01-05", "2025-01-21", quantity=4)])
    store.update(files_of(source))
    found = kept(store)
    write(source / "1.parquet", good)
    same(found, from_scratch(files_of(source)))


def test_the_record_that_was_dropped_holds_again_when_the_other_file_is_corrected(store, source):
    """Of one id and record one row holds; what another file says of it must not be forgotten."""
    write(source / "1.parquet", [event("x", "2025-01-05", quantity=2), event("y", "2025-01-07")])
    write(source / "2.parquet", [event("x", "2025-03-05", quantity=5), event("z", "2025-03-06")])
    write(source / "3.parquet", [event("x", "2025-03-20", "2025-04-20", quantity=7)])
    store.update(files_of(source))
    held_equal(store, source)
    write(source / "1.parquet", [event("y", "2025-01-07")])
    store.update(files_of(source))
    held_equal(store, source)


def test_a_row_that_came_again_is_not_lost(store, source):
    """The content that holds comes once more, after another one of its id was dropped."""
    x = event("x", "2025-01-05", quantity=2)
    write(source / "1.parquet", [x])
    write(source / "2.parquet", [x | {"quantity": 5}])
    store.update(files_of(source))
    write(source / "3.parquet", [x, event("y", "2025-03-05")])
    assert store.update(files_of(source)).absorbed == 1
    held_equal(store, source)


def test_records_without_a_time_are_one_record(store, source):
    """Two rows of an id that do not say when they were recorded are no versions: the earlier one holds."""
    write(source / "1.parquet", [event("x", "2025-03-05", quantity=2), event("y", "2025-03-01", "2025-03-01", quantity=3)])
    write(source / "2.parquet", [event("x", "2025-01-05", quantity=5), event("y", "2025-03-01", quantity=4)])
    store.update(files_of(source))
    held_equal(store, source)


@pytest.mark.parametrize("reverse", [False, True])
def test_files_without_some_columns(store, source, reverse):
    """A column appears, or is gone, in mid-history: it is null where it is not."""
    without = [("recorded_at", "event_id", "users", "value", "quantity", "user_id"), ("recorded_at", "users"), ()]
    names = ["1.parquet", "2.parquet", "3.parquet"]
    for name, gone in zip(reversed(names) if reverse else names, without, strict=True):
        there = [column for column in COLUMNS if column not in gone]
        write(source / name, [event("x", "2025-01-05", "2025-01-09", users=3), event(name, "2025-02-02", value=0.5)], there)
        store.update(files_of(source))
        if name == "1.parquet" and not reverse:
            same(kept(store), from_scratch(files_of(source)))
    held_equal(store, source)


def test_a_column_of_another_type_in_mid_history(store, source):
    """The contract's types hold, whatever a file writes a number as; a column may be empty."""
    write(source / "1.parquet", [event("1", "2025-01-05", quantity=3, value=1.5)])
    table = pq.read_table(source / "1.parquet")
    columns = {"event_id": pa.array([2]), "quantity": pa.array(["4"]), "value": pa.array(["2.5"]), "user_id": pa.nulls(1)}
    for name, column in columns.items():
        table = table.set_column(COLUMNS.index(name), name, column)
    pq.write_table(table, source / "2.parquet")
    store.update(files_of(source))
    found = kept(store)
    write(source / "2.parquet", [event("2", "2025-01-05", quantity=4, value=2.5, user_id=None)])
    same(found, from_scratch(files_of(source)))


def test_a_file_under_another_name_is_no_new_file(store, source):
    write(source / "1.parquet", [event("x", "2025-01-05"), event("x", "2025-01-06", "2025-02-01")])
    store.update(files_of(source))
    before, counted = fingerprint(store), kept(store)
    (source / "1.parquet").rename(source / "2.parquet")
    done = store.update(files_of(source))
    assert (done.rows, done.delivered_twice, done.months, fingerprint(store)) == (0, (), (), before)
    same(kept(store), counted)
    write(source / "2.parquet", [event("y", "2025-01-05", quantity=8)])
    store.update(files_of(source))
    held_equal(store, source)


def test_of_a_file_under_two_names_either_may_go_or_change(store, source):
    write(source / "1.parquet", [event("x", "2025-01-05"), event(None, "2025-01-06")])
    shutil.copy(source / "1.parquet", source / "2.parquet")
    store.update(files_of(source))
    before = kept(store)
    (source / "1.parquet").unlink()
    assert store.update(files_of(source)).rows == 0
    same(kept(store), before)
    shutil.copy(source / "2.parquet", source / "3.parquet")
    store.update(files_of(source))
    write(source / "2.parquet", [event("z", "2025-02-01")])
    store.update(files_of(source))
    held_equal(store, source)


def test_files_that_change_places(store, source):
    write(source / "1.parquet", [event("x", "2025-01-05"), event(None, "2025-01-06")])
    write(source / "2.parquet", [event("z", "2025-02-01", quantity=3)])
    store.update(files_of(source))
    before, counted = fingerprint(store), kept(store)
    (source / "1.parquet").rename(source / "0")
    (source / "2.parquet").rename(source / "1.parquet")
    (source / "0").rename(source / "2.parquet")
    assert store.update(files_of(source)).rows == 0
    same(kept(store), counted)
    assert fingerprint(store) == before
    shutil.copy(source / "1.parquet", source / "2.parquet")  # what it was is gone for good
    store.update(files_of(source))
    held_equal(store, source)


def test_a_file_read_in_parts(tmp_path, source):
    """Rows of one part recur in the next: they are of one file, and count once."""

    def parts(connection, path):
        read = f"read_parquet({literal(str(path))}, file_row_number = true)"
        for first in range(0, 4, 2):
            yield f"(select * from {read} where file_row_number >= {first} and file_row_number < {first + 2})"

    x, y = event("x", "2025-01-05", quantity=2), event("y", "2025-01-06", quantity=3)
    write(source / "1.parquet", [x, event(None, "2025-01-07"), x, y])
    write(source / "2.parquet", [event("p", "2025-01-08"), event(None, "2025-01-09"), event("p", "2025-01-08", "2025-03-01"), y])
    store = RollupStore(tmp_path / "kept", parts)
    done = store.update(files_of(source))
    assert (done.rows, done.absorbed) == (6, 2)
    same(kept(store), from_scratch(files_of(source)))


def test_many_updates_of_a_month_are_written_as_one(store, source, monkeypatch):
    monkeypatch.setattr(rollup_parts, "_MOST_FILES", 4)
    for number in range(5):
        versions = [event(f"v{number}", "2025-01-02", recorded, quantity=number) for recorded in ("2025-01-03", "2025-04-01")]
        write(source / f"{number}.parquet", [event(f"e{number}", "2025-01-05", quantity=number, users=number), *versions])
        store.update(files_of(source))
        if number == 3:
            before = store.rolled(ibis.duckdb.connect()).state.parts["2025-01"]
    after = store.rolled(ibis.duckdb.connect()).state.parts["2025-01"]
    assert all(len(files) == 4 for files in before.values())
    assert all(len(files) == 1 for files in after.values())
    held_equal(store, source)


def test_the_fingerprint_is_of_the_content(tmp_path, source):
    parts = {f"{n}.parquet": [event(f"e{n}", "2025-01-05", quantity=n)] for n in range(3)}
    found = []
    for order in (sorted(parts), sorted(parts, reverse=True)):
        folder = tmp_path / "-".join(order)
        store = RollupStore(folder / "kept")
        for name in order:
            write(folder / "source" / name, parts[name])
            store.update(files_of(folder / "source"))
        found.append(fingerprint(store))
    write(folder / "source" / "1.parquet", [event("e1", "2025-01-05", quantity=8)])
    store.update(files_of(folder / "source"))
    assert found[0] == found[1] != fingerprint(store)


def test_another_mapping_rolls_all_up_anew(store, source):
    write(source / "1.parquet", [event("x", "2025-01-05", feature="save"), event("x", "2025-01-06", "2025-01-07")])
    store.update(files_of(source))
    before, counted = fingerprint(store), kept(store)
    changed = RollupStore(store.folder, mapping="quantity = 2")
    with pytest.raises(SourceError, match="holds no rollups of what is declared now: update them first"):
        changed.rolled(ibis.duckdb.connect())
    # What is kept stays until there is something else.
    write(source / "2.parquet", [], ["account_id"])
    with pytest.raises(SourceError, match=r"2\.parquet lacks the column 'feature'"):
        changed.update(files_of(source))
    same(kept(store), counted)
    (source / "2.parquet").unlink()
    assert changed.update(files_of(source)).rows == 2
    assert fingerprint(changed) != before
    same(kept(changed), from_scratch(files_of(source)))
    assert not stray(changed.folder, changed)


def test_other_features_of_the_product_touch_nothing_that_is_kept(store, source):
    """Sums are kept of every feature: a model that was trained on others finds them there."""
    names = ["open", "save", "Cancel_Page", "cancellation"]
    write(source / "1.parquet", [event(f"e{n}", "2025-01-05", feature=name, quantity=n) for n, name in enumerate(names, 1)])
    write(source / "2.parquet", [event(f"f{n}", "2025-01-06", feature=name, quantity=n) for n, name in enumerate(names, 1)])
    store.update(files_of(source))
    for declared in ((), ("open",), ("save", "Cancel_Page"), ("never used",)):
        found = kept(store, declared)
        same(found, from_scratch(files_of(source), declared))
        assert found["cancellation_page_visits_30d"].max() == 14
    assert store.update(files_of(source)).months == ()


@pytest.mark.parametrize(("relation", "as_of"), [("users", "2025-07-30"), ("by_feature", "2025-07-29"), ("days", "2025-08-31")])
def test_the_farthest_day_of_a_window_is_read(store, source, relation, as_of):
    """It is the last of its month, which the window has no other day of."""
    farthest = pd.Timestamp(as_of) - pd.Timedelta(days=REACH_OF[relation])
    assert (farthest + pd.Timedelta(days=1)).day == 1
    asked = pd.DataFrame({"account_id": ["a"], "as_of": [pd.Timestamp(as_of)]})
    event_there = event("e", str(farthest), feature="cancel_page")
    path = write(source / "u2.parquet", [event_there, event("f", "2025-07-01", user_id="v", feature="save")])
    store.update(files_of(source))
    with Builder({**company(), "usage": store.rolled(ibis.duckdb.connect())}) as builder:
        found = builder.features(asked)
    rows = pq.read_table(path).to_pandas()
    same(found, build({**company(), "usage": rows}, asked))
    assert not found.equals(build({**company(), "usage": rows[1:]}, asked))


def test_other_instants_than_midnights_are_refused(store, source):
    write(source / "1.parquet", [event("x", "2025-01-05")])
    store.update(files_of(source))
    asked = pd.DataFrame({"account_id": ["a"], "as_of": [pd.Timestamp("2025-02-03 10:00")]})
    told = r"as_of is 2025-02-03 10:00:00: kept rollups answer midnights \(UTC\) alone; give the table of events itself"
    backend = ibis.duckdb.connect()
    with (
        Builder({**company(), "usage": store.rolled(backend)}, PRODUCT_FEATURES) as builder,
        pytest.raises(ValueError, match=told),
    ):
        builder.snapshot(asked)


def test_a_year_that_cannot_be_is_kept_like_any_other(store, source):
    micros = 570_000_000_000_000_000  # in the year 20032
    write(source / "1.parquet", [event("x", "2025-01-05")])
    table = pq.read_table(source / "1.parquet")
    far = table.set_column(COLUMNS.index("occurred_at"), "occurred_at", pa.array([micros], pa.timestamp("us")))
    far = far.set_column(COLUMNS.index("event_id"), "event_id", pa.array(["y"]))
    store.update(files_of(source))
    before = kept(store)
    pq.write_table(far, source / "2.parquet")
    assert store.update(files_of(source)).months == ("20032-07",)
    same(kept(store), before)
