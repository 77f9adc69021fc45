"""Bad input through the real command line: refused or counted, named, with a next step, and never a traceback."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_company import CONFIG, FINDING, TABLES

# What is wrong with the data


def _with(table: str, *rows: str) -> dict[str, tuple[str, ...]]:
    return {table: (*TABLES[table], *rows)}


def _parquet() -> bytes:
    return pd.DataFrame({"account_id": ["a"]}).to_parquet()


@dataclass(frozen=True)
class Bad:
    """One kind of bad input, and the finding that must name it."""

    tables: Mapping[str, Any]
    table: str
    column: str | None
    rule: str
    fatal: bool = False
    rows: int = 1
    #: What the example must hold: the row, and the value as it stands in the source.
    example: tuple[str, ...] = ()
    next_step: tuple[str, ...] = field(default=())


BAD = {
    "missing required column": Bad(
        {"subscriptions": ("account_id,ended_at,mrr", "a,,100")},
        *("subscriptions", "started_at", "missing_column"),
        fatal=True, rows=0, example=("started_at", "subscriptions.csv"), next_step=("tables.subscriptions",),
    ),
    "missing table": Bad(
        {"subscriptions": b""}, "subscriptions", None, "empty_file",
        fatal=True, rows=0, example=("subscriptions.csv",), next_step=("export",),
    ),
    "wrong type in a required column": Bad(
        _with("subscriptions", "a,soon,,5,100,EUR"), "subscriptions", "started_at", "unreadable_value",
        example=("row 4", "'soon'"), next_step=("correct", "rows left out"),
    ),
    "wrong type in every row": Bad(
        {"subscriptions": ("account_id,started_at", "a,soon", "b,later")},
        *("subscriptions", "started_at", "unreadable_value"),
        fatal=True, rows=2, example=("row 1", "'soon'"), next_step=("correct",),
    ),
    "wrong type in an optional column": Bad(
        _with("subscriptions", "a,2025-03-01,,many,1,EUR"), "subscriptions", "seats", "unreadable_value",
        example=("row 4", "'many'"), next_step=("taken as missing",),
    ),
    "unknown account": Bad(
        _with("usage", "zz,login,2026-01-05"), "usage", "account_id", "unknown_account",
        example=("row 3", "'zz'"), next_step=("accounts",),
    ),
    "duplicate key": Bad(
        _with("accounts", "a,Other,2025-01-01"), "accounts", "account_id", "duplicate_key",
        example=("rows 1 and 3", "account_id = a"), next_step=("unique", "recorded_at"),
    ),
    "end before start": Bad(
        _with("subscriptions", "a,2025-05-01,2025-04-01,1,1,EUR"), "subscriptions", "ended_at", "ends_before_start",
        example=("row 4", "'2025-04-01'"), next_step=("correct", "row left out"),
    ),
    "negative price": Bad(
        _with("subscriptions", "a,2025-05-01,,1,-9.5,EUR"), "subscriptions", "mrr", "negative_value",
        example=("row 4", "'-9.5'"), next_step=("correct", "rows left out"),
    ),
    "two currencies without rates": Bad(
        _with("subscriptions", "a,2025-05-01,,1,10,SEK"), "subscriptions", "currency", "currencies_without_rates",
        fatal=True, example=("account_id=a", "SEK"), next_step=("fx", "reporting_currency"),
    ),
    "date past data_until": Bad(
        _with("usage", "a,login,2026-02-01"), "usage", "occurred_at", "past_data_until",
        example=("row 3", "'2026-02-01'"), next_step=("data_until is 2026-02-01",),
    ),
    "empty required table": Bad(
        {"subscriptions": TABLES["subscriptions"][:1]}, "subscriptions", None, "empty_table",
        fatal=True, rows=0, example=("subscriptions.csv",), next_step=("export it again",),
    ),
    "empty optional table": Bad(
        {"usage": TABLES["usage"][:1]}, "usage", None, "empty_table",
        rows=0, example=("usage.csv",), next_step=("leave it out",),
    ),
    "a Parquet file named CSV": Bad(
        {"usage": _parquet()}, "usage", None, "not_what_its_name_says",
        fatal=True, rows=0, example=("usage.csv",), next_step=("a Parquet file", "right ending"),
    ),
    "a web page named CSV": Bad(
        {"accounts": b"<!doctype html><html>Sign in</html>"}, "accounts", None, "not_what_its_name_says",
        fatal=True, rows=0, example=("accounts.csv",), next_step=("a web page", "export"),
    ),
    "byte-order mark": Bad(
        {"accounts": b"\xef\xbb\xbf" + "\n".join(TABLES["accounts"]).encode()}, "accounts", None, "byte_order_mark",
        example=("accounts.csv", "EF BB BF"), next_step=("skipped",),
    ),
    "usage outside any subscription": Bad(
        _with("usage", "b,login,2024-06-01"), "usage", "occurred_at", "outside_subscription",
        example=("account_id=b", "2024-06-01"), next_step=("check the key and the dates",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_data_is_refused_or_counted(kind: str, csv: Any, kunto: Any) -> None:
    bad = BAD[kind]
    path = csv(**bad.tables)
    machine = kunto("check", "-w", path, "--json")
    assert machine.code == int(bad.fatal)
    side = machine.json["fatal" if bad.fatal else "warnings"]
    found = [f for f in side if (f["table"], f["column"], f["rule"]) == (bad.table, bad.column, bad.rule)]
    assert len(found) == 1, machine.json
    assert found[0].keys() == FINDING
    assert found[0]["rows"] == bad.rows
    assert all(part in found[0]["example"] for part in bad.example), found[0]
    assert all(part in found[0]["what_to_do"] for part in bad.next_step), found[0]
    assert bool(machine.json["fatal"]) == bad.fatal, "nothing else may stop the job"

    person = kunto("check", "-w", path)
    assert person.code == int(bad.fatal)
    assert bad.table in person.told
    assert "Traceback" not in person.told + machine.told


@pytest.mark.parametrize("kind", [kind for kind, bad in BAD.items() if bad.fatal])
@pytest.mark.parametrize("command", ["score", "features", "train", "run"])
def test_fatal_data_stops_every_command(kind: str, command: str, csv: Any, kunto: Any) -> None:
    bad, path = BAD[kind], csv(**BAD[kind].tables)
    stopped = kunto(command, "-w", path)
    assert stopped.code == 1
    assert f"{bad.table}{f'.{bad.column}' if bad.column else ''}: {bad.rule}: " in stopped.err
    assert all(part in stopped.err for part in (*bad.example, *bad.next_step)), stopped.err
    assert "`kunto check`" in stopped.err
    assert "Traceback" not in stopped.told
    assert not (path / "kunto.db").exists(), "nothing is kept of what was not computed"


def test_a_rate_that_is_missing_at_t_is_told(csv: Any, kunto: Any) -> None:
    """The rates begin after the prices: the check has rates for both currencies, an early T has none."""
    path = csv(**_with("subscriptions", "a,2025-05-01,,1,10,SEK"), fx=("currency,date,rate", "SEK,2025-12-01,0.09"))
    assert kunto("check", "-w", path).code == 0
    for arguments in (("score", "--as-of", "2025-08-01"), ("features", "--as-of", "2025-08-01"), ("train", "--outcome", "churn")):
        stopped = kunto(*arguments, "-w", path)
        assert stopped.code == 1, stopped.told
        assert "SEK" in stopped.err or "account a" in stopped.err
        assert "give fx" in stopped.err.lower()
        assert "rate" in stopped.err
        assert "Traceback" not in stopped.told


def test_too_little_data_to_train_is_told(csv: Any, kunto: Any) -> None:
    trained = kunto("train", "-w", csv(), "--outcome", "churn", "--json")
    assert trained.code in (0, 1)
    assert "Traceback" not in trained.told
    if trained.code == 0:
        assert [record["gate"]["state"] for record in trained.json] == ["too_few"]


def test_without_prices_the_worklist_counts_accounts(csv: Any, kunto: Any) -> None:
    path = csv(subscriptions=("account_id,started_at", "a,2025-01-01", "b,2025-02-01"))
    scored = kunto("score", "-w", path, "--json")
    assert scored.code == 0, scored.told
    assert [(record["arr"], record["tier"]) for record in scored.json] == [(None, None)] * 2
    assert "2 active accounts, ARR –" in kunto("score", "-w", path).told


# Wrong usage


def _refused(ran: Any, code: int, *parts: str) -> None:
    assert ran.code == code, ran.told
    assert "Traceback" not in ran.told
    for part in parts:
        assert part in ran.told, ran.told


@pytest.mark.parametrize("command", ["check", "features", "train", "models", "score", "run"])
def test_a_missing_workspace_is_told(command: str, kunto: Any, tmp_path: Path) -> None:
    _refused(kunto(command, "-w", tmp_path / "nowhere"), 2, "nowhere/kunto.toml", "kunto init DIR --from TABLES")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "config, parts",
    [
        ("[data\n", ("kunto.toml is not TOML", "line 1")),
        (CONFIG + "[training]\nhorizn = 90\n", ("training.horizn", "90")),
        (CONFIG + "[training]\nhorizon = 900\n", ("training.horizon", "900", "360")),
        (CONFIG + '[service]\nlanguage = "sv"\n', ("service.language", "'sv'", "'en' or 'fi'")),
        (CONFIG + "[trainig]\nhorizon = 90\n", ("trainig",)),
        (CONFIG + '[tables.orders]\nfrom = "x"\n', ("'orders'", "subscriptions")),
        (CONFIG + '[tables.usage.columns]\nfeatur = "x"\n', ("usage.columns.featur", "feature")),
        ("[data]\nsource = 'gone'\ndata_until = 2026-02-01\n", ("gone is not a folder", "data.source")),
        ("[data]\nsource = 'tables'\n", ("data_until", "[data]", "2026-01-04")),
    ],
)
def test_a_wrong_configuration_is_told(config: str, parts: tuple[str, ...], csv: Any, kunto: Any) -> None:
    code = 1 if "source = '" in config else 2
    _refused(kunto("score", "-w", csv(config)), code, *parts)


def test_a_configuration_in_another_encoding_is_told(csv: Any, kunto: Any) -> None:
    path = csv()
    (path / "kunto.toml").write_bytes("# käyttö\n".encode("latin-1") + CONFIG.encode())
    _refused(kunto("check", "-w", path), 2, "kunto.toml is not UTF-8", "save it as UTF-8")


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("train", "--event", "payment"), ("--event 'payment'", "'notice' or 'revenue'")),
        (("train", "--every", "fortnight"), ("--every 'fortnight'", "'month'", "integer")),
        (("train", "--every", "0"), ("--every 0", "'month'", "greater than or equal to 1")),
        (("train", "--every", "²"), ("--every '²'", "'month'")),
        (("run", "--outcome", "growth"), ("--outcome 'growth'", "'churn', 'contraction' or 'expansion'")),
        (("train", "--outcome", "churn", "--outcome", "x"), ("--outcome 'x'",)),
        (("train", "--horizon", "0"), ("--horizon 0", "greater than or equal to 1")),
        (("train", "--horizon", "361"), ("--horizon 361", "less than or equal to 360")),
        (("train", "--grace", "-1"), ("--grace -1", "greater than or equal to 0")),
        (("train", "--seed", "-1"), ("--seed -1", "greater than or equal to 0")),
        (("train", "--test-from", "1.2.2026"), ("--test-from", "1.2.2026", "%Y-%m-%d")),
        (("train", "--test-from", "2026-01-01", "--test-to", "2025-12-01"), ("test_to is 2025-12-01", "later instant")),
        (("score", "--as-of", "yesterday"), ("--as-of", "yesterday", "%Y-%m-%d")),
        (("score", "--as-of", "2026-02-02"), ("2026-02-02", "up to 2026-02-01", "data_until")),
        (("features", "--as-of", "2026-02-02"), ("2026-02-02", "up to 2026-02-01", "data_until")),
        (("features", "--monthly", "2026-01-01", "2026-03-01"), ("2026-03-01", "up to 2026-02-01")),
        (("features", "--monthly", "2026-01-01", "2025-01-01"), ("2026-01-01 2025-01-01", "later TO")),
        (("features", "--monthly", "now", "2025-01-01"), ("now", "two dates")),
        (("features", "--monthly", "2025-01-01", "2026-01-01", "--as-of", "2026-01-01"), ("not both",)),
        (("score", "--out", "scores.xlsx"), ("scores.xlsx", ".parquet, .csv, .json")),
        (("score", "--unknown"), ("--unknown",)),
    ],
)  # fmt: skip
def test_wrong_options_are_told(arguments: tuple[str, ...], parts: tuple[str, ...], csv: Any, kunto: Any) -> None:
    _refused(kunto(*arguments, "-w", csv()), 2, *parts)


@pytest.mark.parametrize("option", ["accounts", "months", "seed"])
def test_wrong_sizes_of_a_simulation_are_told(option: str, kunto: Any, tmp_path: Path) -> None:
    _refused(kunto("simulate", tmp_path / "company", f"--{option}", -1), 2, f"{option} is -1", "give a larger number")


def test_an_unknown_command_is_told(kunto: Any) -> None:
    _refused(kunto("scrore"), 2, "scrore")


def test_init_never_overwrites_unasked(csv: Any, kunto: Any) -> None:
    path = csv()
    before = (path / "kunto.toml").read_text(encoding="utf-8")
    _refused(kunto("init", path, "--from", path / "tables"), 2, "kunto.toml is there already", "--force")
    assert (path / "kunto.toml").read_text(encoding="utf-8") == before
    assert kunto("init", path, "--from", path / "tables", "--force", "--json").json["workspace"] == str(path)
    assert (path / "kunto.toml").read_text(encoding="utf-8") != before
    assert kunto("check", "-w", path).code == 0, "what init writes can be used as it is"


def test_init_from_nothing_is_told(kunto: Any, tmp_path: Path) -> None:
    _refused(kunto("init", tmp_path / "w", "--from", tmp_path / "gone"), 2, "--from", "gone is not a folder")
    (tmp_path / "empty").mkdir()
    _refused(kunto("init", tmp_path / "w", "--from", tmp_path / "empty"), 1, "empty holds no table")
    assert not (tmp_path / "w").exists()


def test_a_file_in_the_place_of_a_folder_is_told(csv: Any, kunto: Any, tmp_path: Path) -> None:
    path, file = csv(), tmp_path / "file"
    file.write_text("", encoding="utf-8")
    for arguments in (
        ("init", file / "w", "--from", path / "tables"),
        ("score", "-w", path, "--out", file / "scores.csv"),
        ("simulate", file / "company", "--accounts", 5, "--months", 3),
    ):
        _refused(kunto(*arguments), 2, str(file), "give a file or folder that you may read and write")
    assert not (path / "kunto.db").exists(), "--out is refused before anything is computed"


@contextlib.contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may write everywhere, so step down for a moment."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="users and modes of POSIX")
@pytest.mark.parametrize("command", ["score", "train", "models", "features"])
def test_an_unwritable_workspace_is_told(command: str, csv: Any, kunto: Any) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to others
        path = Path(shutil.copytree(csv(), Path(folder) / "workspace"))
        for place, mode in ((path.parent, 0o755), (path, 0o555)):
            place.chmod(mode)
        kunto("check", "-w", path)
        with _as_nobody():
            _refused(kunto(command, "-w", path), 2, f"{path}: Permission denied; give a file or folder that you may read")
        path.chmod(0o755)
