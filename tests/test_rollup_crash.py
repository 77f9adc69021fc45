"""Kept rollups are never half written: whatever stops an update, the last good state stays, and the next update completes."""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import ibis
import pyarrow.parquet as pq
import pytest
from kept_rollups import event, files_of, kept, same, stray, write

from features import rollup_state, rollup_store
from features.rollup_parts import PartWriter
from features.rollup_store import RollupStore, parquet_rows
from features.sources import SourceError

FIRST = {
    "1": [event("x", "2025-01-05", quantity=2), event("y", "2025-01-06"), event(None, "2025-01-07", value=1.5)],
    "2": [event("z", "2025-02-01", users=3), event("y", "2025-01-06", "2025-02-01", quantity=9)],
}
# One night: a late row, a version that takes a row out of its month, a file that is corrected, and a month that is written anew.
NIGHT = {
    "2": [event("z", "2025-02-01", users=4), event("y", "2025-01-06", "2025-02-01", quantity=8)],
    "3": [event("x", "2025-03-05", "2025-03-06", account_id="b"), event("late", "2025-01-09", "2025-03-06")],
}


class Killed(BaseException):
    """As the process would end: nothing catches it."""


def opened(folder):
    return RollupStore(folder)


def put(source, files):
    for name, rows in files.items():
        write(source / f"{name}.parquet", rows)
    return files_of(source)


def content(folder):
    """Every file of a store by its name, but what says nothing about rollups."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Stores before a night and after it, what features they give, and how often the night writes a file."""
    base = tmp_path_factory.mktemp("nights")
    before, source = base / "before", base / "source"
    opened(before).update(put(source, FIRST))
    after = base / "after"
    shutil.copytree(before, after)
    files, written = put(source, NIGHT), []
    with pytest.MonkeyPatch.context() as patch:
        copy = PartWriter.copy
        patch.setattr(PartWriter, "copy", lambda self, query, stem: written.append(stem) or copy(self, query, stem))
        patch.setattr("features.rollup_parts._MOST_FILES", 1)
        opened(after).update(files)
    assert len(written) > 10
    found = kept(opened(before)), kept(opened(after))
    assert not found[0].equals(found[1])
    return before, files, found, len(written)


@pytest.fixture
def folder(nights, tmp_path, monkeypatch):
    """A store as it is before the night."""
    monkeypatch.setattr("features.rollup_parts._MOST_FILES", 1)
    return Path(shutil.copytree(nights[0], tmp_path / "kept"))


def recovered(folder, nights):
    """Assert that the next update does what was left undone, and leaves nothing behind."""
    store = opened(folder)
    store.update(nights[1])
    same(kept(store), nights[2][1])
    assert not stray(folder, store)


def test_killed_at_any_file(nights, folder, monkeypatch):
    """When half of a file of a partition is written; every fourth of them, and the last."""
    copy, last = PartWriter.copy, nights[3]
    good = opened(folder).rolled(ibis.duckdb.connect()).state
    for k in {*range(1, last + 1, 4), last}:
        left = k

        def dying(self, query, stem):
            nonlocal left
            left -= 1
            if left:
                return copy(self, query, stem)
            os.truncate(self.folder / copy(self, query, stem), 20)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(PartWriter, "copy", dying)
            with pytest.raises(Killed):
                opened(folder).update(nights[1])
        assert left == 0
        assert opened(folder).rolled(ibis.duckdb.connect()).state == good
    same(kept(opened(folder)), nights[2][0])
    recovered(folder, nights)


def test_killed_when_the_state_is_half_written(nights, folder, monkeypatch):
    with monkeypatch.context() as patch:

        def dying(self):
            (folder / "state.json.new").write_text('{"declared": "')
            raise Killed

        patch.setattr(rollup_state.State, "as_json", dying)
        with pytest.raises(Killed):
            opened(folder).update(nights[1])
    same(kept(opened(folder)), nights[2][0])
    recovered(folder, nights)


@pytest.mark.parametrize("done", [False, True])
def test_killed_when_the_state_takes_its_place(nights, folder, monkeypatch, done):
    """Just before, and just after: then the update is done, only nothing is swept away yet."""
    replace = Path.replace

    def dying(self, target):
        if done:
            replace(self, target)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(Killed):
            opened(folder).update(nights[1])
    same(kept(opened(folder)), nights[2][done])
    recovered(folder, nights)


def test_a_process_that_dies(nights, folder):
    """No clean-up of Python runs, and the lock is free again."""
    script = f"""
import os
from pathlib import Path
from features.rollup_parts import PartWriter
from features.rollup_store import RollupStore
copy, left = PartWriter.copy, [4]
def dying(self, query, stem):
    left[0] -= 1
    return copy(self, query, stem) if left[0] else os._exit(9)
PartWriter.copy = dying
files = {{path.name: path for path in Path({str(next(iter(nights[1].values())).parent)!r}).glob("*.parquet")}}
RollupStore(Path({str(folder)!r})).update(files)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert stray(folder, opened(folder))
    same(kept(opened(folder)), nights[2][0])
    recovered(folder, nights)


def test_a_declaration_that_changes_and_dies(nights, folder, monkeypatch):
    """What another declaration made is swept away only once there is something else; no file of it is written over."""
    before, other = content(folder), RollupStore(folder, mapping="another")
    with monkeypatch.context() as patch:
        patch.setattr(rollup_store, "write_state", lambda folder, state: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            other.update(nights[1])
    assert before.items() <= content(folder).items()
    other.update(nights[1])
    same(kept(other), nights[2][1])
    assert not stray(folder, other)


def test_two_updates_at_once(nights, folder, monkeypatch):
    """The second one waits, and finds all counted."""
    reading, waiting, done = threading.Event(), threading.Event(), {}
    flock = fcntl.flock

    def slow(connection, path):
        reading.set()
        assert waiting.wait(60)
        yield from parquet_rows(connection, path)

    def asked(lock, kind):
        if reading.is_set():
            waiting.set()
        flock(lock, kind)

    monkeypatch.setattr(fcntl, "flock", asked)
    stores = {"first": RollupStore(folder, slow), "second": opened(folder)}
    threads = {
        name: threading.Thread(target=lambda name=name: done.update({name: stores[name].update(nights[1])}), daemon=True)
        for name in stores
    }
    threads["first"].start()
    assert reading.wait(60)
    threads["second"].start()
    for thread in threads.values():
        thread.join(60)
    assert done["first"].rows == 4
    assert done["second"].rows == 0
    assert done["second"].months == ()
    same(kept(opened(folder)), nights[2][1])


def _truncated(path):
    os.truncate(path, path.stat().st_size // 2)


def _text(path):
    path.write_text("account_id,feature\n" * 4)


def _without_feature(path):
    pq.write_table(pq.read_table(path).drop_columns(["feature"]), path)


def _with_time_zone(path):
    table = pq.read_table(path)
    pd_rows = table.to_pandas()
    pd_rows["occurred_at"] = pd_rows["occurred_at"].dt.tz_localize("Europe/Helsinki")
    pd_rows.to_parquet(path)


def _no_number(path):
    rows = pq.read_table(path).to_pandas()
    rows["quantity"] = "many"
    rows.to_parquet(path)


@pytest.mark.parametrize(
    ("fault", "rule", "told"),
    [
        (_truncated, "unreadable_file", "9.parquet cannot be read: .*; export it again"),
        (_text, "unreadable_file", "9.parquet cannot be read: .*; export it again"),
        (
            _with_time_zone,
            "unreadable_file",
            "9.parquet cannot be read: usage.occurred_at has the time zone .*: give naive times, in UTC",
        ),
        (_no_number, "unreadable_file", "9.parquet cannot be read: .*many.*; export it again"),
        (_without_feature, "missing_column", "9.parquet lacks the column 'feature'; it has .*: export it with feature, or map"),
        (Path.unlink, "unreadable_file", "9.parquet cannot be read: .*No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_nothing_is_kept(nights, folder, tmp_path, fault, rule, told):
    bad = write(tmp_path / "9.parquet", [event("n", "2025-01-05")])
    fault(bad)
    good = opened(folder).rolled(ibis.duckdb.connect()).state
    with pytest.raises(SourceError, match=told) as caught:
        opened(folder).update({**nights[1], bad.name: bad})
    assert caught.value.rule == rule
    assert opened(folder).rolled(ibis.duckdb.connect()).state == good
    opened(folder).update(nights[1])
    assert not stray(folder, opened(folder))


def test_a_counted_file_that_is_gone_is_refused_by_name(nights, folder):
    good = opened(folder).rolled(ibis.duckdb.connect()).state
    files = {name: path for name, path in nights[1].items() if name != "1.parquet"}
    with pytest.raises(SourceError, match=rf"1\.parquet is counted and is gone: put it back, or delete {folder}"):
        opened(folder).update(files)
    assert opened(folder).rolled(ibis.duckdb.connect()).state == good


@pytest.mark.parametrize(
    ("which", "damage"),
    [
        ("2025-01/days-*", Path.unlink),
        ("2025-01/users-*", _truncated),
        ("2025-01/by_feature-*", lambda path: path.write_bytes(b"")),
        ("recurring-*", Path.unlink),
        ("recurring-*", _text),
    ],
)
def test_a_partition_that_is_gone_or_damaged_is_named(nights, folder, damage, which):
    path = next(folder.glob(which))
    damage(path)
    told = rf"{path.name} is (gone|damaged); delete {folder}, and all is rolled up anew"
    with pytest.raises(SourceError, match=told):
        kept(opened(folder))
    with pytest.raises(SourceError, match=told):
        opened(folder).update(nights[1])


@pytest.mark.parametrize("which", ["2025-01/days-*", "recurring-*"])
def test_a_partition_that_is_damaged_inside_is_named(nights, folder, which):
    """Its first and last bytes are as they were."""
    path = next(folder.glob(which))
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    path.write_bytes(whole[:4] + bytes(len(whole) - footer - 4) + whole[-footer:])
    with pytest.raises(SourceError, match=rf"{path.name} is damaged; delete {folder}, and all is rolled up anew"):
        opened(folder).update(nights[1]) if which.startswith("recurring") else kept(opened(folder))


def test_rollups_that_were_updated_since_they_were_read(nights, folder):
    backend = ibis.duckdb.connect()
    rolled = opened(folder).rolled(backend)
    opened(folder).update(nights[1])
    with pytest.raises(SourceError, match=r"was updated after it was read: start again, or take RollupStore\.rolled\(…\) again"):
        rolled.rows("days", 20_000, 20_200)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": 1}', b"\xff", b'{"format": 1, "files": 3}'])
def test_a_damaged_state_is_named(nights, folder, text):
    path = folder / "state.json"
    path.write_bytes(text)
    before = content(folder)
    told = rf"{path} cannot be read: .*; delete {folder}, and all is rolled up anew"
    with pytest.raises(SourceError, match=told):
        opened(folder).rolled(ibis.duckdb.connect())
    with pytest.raises(SourceError, match=told):
        opened(folder).update(nights[1])
    assert content(folder) == before


def test_other_files_in_the_folder_stay(nights, folder):
    own = write(folder / "notes" / "own.parquet", [event("n", "2025-01-05")])
    opened(folder).update(nights[1])
    assert own.exists()
