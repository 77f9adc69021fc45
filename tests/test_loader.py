"""Loading: every option of the mapping, the contract's types, and the documentation's own examples."""

import re
import tomllib
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.check import check
from features.contract import IBIS_TYPES, TABLES
from features.loader import Source, load
from features.mapping import Mapping, MappingError, read_mapping

DOCS = Path(__file__).resolve().parents[1] / "docs" / "mapping.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
ACCOUNTS = "account_id\nA\nB\n"
SUBSCRIPTIONS = "account_id,subscription_id,started_at,mrr\nA,s1,2025-01-01,100\nB,s2,2025-01-05,50.5\n"


def folder(path: Path, **files: str | bytes | pd.DataFrame) -> Path:
    """Write `table_csv="text"` or `table_parquet=frame` files beside a company's two required tables."""
    for name, content in {"accounts_csv": ACCOUNTS, "subscriptions_csv": SUBSCRIPTIONS, **files}.items():
        target = path / name.replace("_csv", ".csv").replace("_parquet", ".parquet")
        if isinstance(content, pd.DataFrame):
            content.to_parquet(target, index=False)
        elif isinstance(content, bytes):
            target.write_bytes(content)
        else:
            target.write_text(content, encoding="utf-8")
    return path


def loaded(path: Path, **tables: Any) -> Source:
    return load(Mapping.from_dict({"data": {"data_until": datetime(2026, 1, 1)}, "tables": tables}), base=path)


def column(source: Source, table: str, name: str) -> list[Any]:
    return source.tables[table].order_by(TABLES[table].event, "account_id")[name].to_pyarrow().to_pylist()


@pytest.mark.parametrize("example", EXAMPLES, ids=[text.strip().splitlines()[0] for text in EXAMPLES])
def test_every_example_of_the_documentation_is_a_mapping(example: str) -> None:
    config = tomllib.loads(example)
    assert Mapping.from_dict(config).model_dump(exclude_unset=True, by_alias=True)


def test_every_option_of_the_mapping_is_documented() -> None:
    text = "\n".join(EXAMPLES)
    fields = [
        alias
        for schema in Mapping.model_json_schema()["$defs"].values()
        for alias in schema.get("properties", {})
        if alias != "columns"
    ]
    assert len(fields) > 20
    assert [name for name in fields if not re.search(rf"\b{name}(\s*=|\]\])", text)] == []


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"tables": {"clients": {}}}, "'clients' is not a table of the contract"),
        ({"tables": {"usage": {"columns": {"verb": "event"}}}}, "usage.columns.verb is not a column"),
        ({"tables": {"usage": {"colums": {}}}}, "unknown key"),
        ({"tables": {"usage": {"dates": "european"}}}, "'european' is not a date style"),
        ({"tables": {"tickets": {"grain": "day"}}}, "only usage has daily sums"),
        ({"tables": {"usage": {"columns": {"feature": {"from": "a", "constant": "b"}}}}}, "exactly one of"),
        ({"tables": {"usage": {"columns": {"account_id": {"from": "a", "key": "b"}}}}}, "belong to through"),
        ({"data": {"data_until": "soon"}}, "'soon'"),
    ],
)
def test_a_mapping_error_names_the_key_and_what_is_allowed(config: dict[str, Any], told: str) -> None:
    with pytest.raises(MappingError, match=re.escape(told)):
        Mapping.from_dict(config)


def test_read_mapping_leaves_other_sections_alone_and_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "kunto.toml"
    with pytest.raises(MappingError, match="kunto init"):
        read_mapping(path)
    path.write_text("[data]\ndata_until = 2025-01-01T00:00:00+02:00\n[model]\nx = 1\n", encoding="utf-8")
    assert read_mapping(path).data.data_until == datetime(2024, 12, 31, 22)
    path.write_text("[data\n", encoding="utf-8")
    with pytest.raises(MappingError, match="not TOML"):
        read_mapping(path)


def test_defaults_of_absent_columns(tmp_path: Path) -> None:
    folder(tmp_path, usage_csv="account_id,feature,occurred_at\nA,login,2025-02-01 10:00\n")
    source = loaded(tmp_path)
    assert column(source, "usage", "quantity") == [1]
    assert column(source, "accounts", "created_at") == [datetime(2025, 1, 1), datetime(2025, 1, 5)]
    assert "recorded_at" not in source.tables["usage"].columns
    assert "ended_at" not in source.tables["subscriptions"].columns


def test_types_are_the_contracts_whatever_the_source_has(tmp_path: Path) -> None:
    zone = timezone(timedelta(hours=2))
    usage = pd.DataFrame(
        {
            "account_id": [1.0, 2.0],
            "feature": pd.Categorical(["a", "b"]),
            "occurred_at": pd.to_datetime([datetime(2025, 2, 1, 1, tzinfo=zone)] * 2),
            "quantity": np.array([3, 4], dtype="uint8"),
            "value": [np.nan, 0.1],
            "recorded_at": pd.to_datetime([datetime(2025, 2, 2)] * 2).astype("datetime64[ns]"),
        }
    )
    folder(
        tmp_path,
        accounts_csv="account_id,strategic,employees\n1,yes,12\n2,0,13.0\n",
        subscriptions_csv="account_id,started_at\n1,2025-01-01\n2,2025-01-01T05:00:00Z\n",
        usage_parquet=usage,
    )
    source = loaded(tmp_path)
    assert source.report.warnings == []
    for name, table in source.tables.items():
        for given_name, given_type in table.schema().items():
            assert given_type == ibis.dtype(IBIS_TYPES[TABLES[name].column(given_name).kind]), given_name
        assert list(table.columns) == [known for known in TABLES[name].names if known in table.columns]
    assert column(source, "usage", "account_id") == ["1", "2"]
    assert column(source, "usage", "occurred_at") == [datetime(2025, 1, 31, 23)] * 2
    assert column(source, "usage", "value") == [None, Decimal("0.100000")]
    assert column(source, "accounts", "strategic") == [True, False]
    assert column(source, "accounts", "employees") == [12, 13]


def test_rename_constant_scale_values_sql_and_ignore(tmp_path: Path) -> None:
    folder(
        tmp_path,
        subscriptions_csv="account_id,from,to,cents,term,plan,n\nA,2025-01-01,2025-12-31,12345,Annual,x,2\nB,2025-01-02,,,weekly,y,3\n",
    )
    columns = {
        "started_at": "from",
        "ended_at": "to",
        "renewal_at": "to",
        "mrr": {"from": "cents", "scale": 0.01},
        "term_months": {"from": "term", "values": {"annual": 12}},
        "product": {"constant": "core"},
        "seats": {"sql": "n::int * 10"},
    }
    source = loaded(tmp_path, subscriptions={"columns": columns, "ignore": ["plan"]})
    assert column(source, "subscriptions", "mrr") == [Decimal("123.450000"), None]
    assert column(source, "subscriptions", "renewal_at") == column(source, "subscriptions", "ended_at")
    assert column(source, "subscriptions", "term_months") == [12, None]
    assert column(source, "subscriptions", "product") == ["core", "core"]
    assert column(source, "subscriptions", "seats") == [20, 30]
    assert "plan" not in source.tables["subscriptions"].columns
    unmapped = next(source.report.of("unmapped_value", "subscriptions"))
    assert (unmapped.rows, "'weekly'" in str(unmapped.example)) == (1, True)


def test_key_through_another_table(tmp_path: Path) -> None:
    usage = "sub,feature,occurred_at\ns1,a,2025-02-01\ns2,a,2024-02-01\ns9,a,2025-02-01\n,a,2025-02-01\n"
    folder(tmp_path, usage_csv=usage)
    through = {"from": "sub", "through": "subscriptions", "key": "subscription_id"}
    source = loaded(tmp_path, usage={"columns": {"account_id": through}})
    assert sorted(column(source, "usage", "account_id")) == ["A", "B"]
    assert next(source.report.of("unknown_key", "usage")).rows == 1
    assert next(source.report.of("missing_value", "usage", "account_id")).rows == 1
    assert next(source.report.of("before_its_subscription", "usage")).rows == 1


def test_a_key_that_leads_to_two_accounts_is_counted(tmp_path: Path) -> None:
    folder(tmp_path, people_csv="person,account_id\np,A\np,B\n", usage_csv="person,feature,occurred_at\np,a,2025-02-01\n")
    source = loaded(tmp_path, usage={"columns": {"account_id": {"from": "person", "through": "people.csv"}}})
    assert column(source, "usage", "account_id") == ["A"]
    assert next(source.report.of("ambiguous_key", "usage")).rows == 1


@pytest.mark.parametrize(
    ("dates", "text", "expected"),
    [
        ("day_first", "03/04/2025", datetime(2025, 4, 3)),
        ("day_first", "3.4.2025 14:05", datetime(2025, 4, 3, 14, 5)),
        ("day_first", "03-04-25", datetime(2025, 4, 3)),
        ("day_first", "2025-04-03", datetime(2025, 4, 3)),
        ("month_first", "04/03/2025", datetime(2025, 4, 3)),
        ("%Y%m%d", "20250403", datetime(2025, 4, 3)),
        ("iso", "2025-04-03T02:00:00+02:00", datetime(2025, 4, 3)),
    ],
)
def test_dates(tmp_path: Path, dates: str, text: str, expected: datetime) -> None:
    folder(tmp_path, usage_csv=f"account_id,feature,occurred_at\nA,a,{text}\n")
    assert column(loaded(tmp_path, usage={"dates": dates}), "usage", "occurred_at") == [expected]
    own = {"columns": {"occurred_at": {"from": "occurred_at", "dates": dates}}}
    assert column(loaded(tmp_path, usage=own), "usage", "occurred_at") == [expected]


def test_a_daily_sum_happens_just_before_the_midnight_that_ends_its_day(tmp_path: Path) -> None:
    folder(tmp_path, usage_csv="account_id,feature,occurred_at\nA,a,2025-02-01\n")
    source = loaded(tmp_path, usage={"grain": "day"})
    assert column(source, "usage", "occurred_at") == [datetime(2025, 2, 1, 23, 59, 59, 999_999)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encodings_and_delimiters(tmp_path: Path, encoding: str, delimiter: str) -> None:
    lines = [["account_id", "feature", "occurred_at"], ["A", "käyttö", "2025-02-01"], ["B", '"a, b; c"', "2025-02-02"]]
    text = "\r\n".join(delimiter.join(line) for line in lines) + "\r\n"
    folder(tmp_path, usage_csv=text.encode(encoding))
    assert column(loaded(tmp_path), "usage", "feature") == ["käyttö", "a, b; c"]


def test_decimal_commas(tmp_path: Path) -> None:
    folder(tmp_path, subscriptions_csv="account_id;started_at;mrr\nA;2025-01-01;1 250,50\nB;2025-01-02;3\n")
    source = loaded(tmp_path, subscriptions={"decimal_comma": True})
    assert column(source, "subscriptions", "mrr") == [Decimal("1250.5"), Decimal(3)]


def test_a_pattern_reads_many_files(tmp_path: Path) -> None:
    (tmp_path / "usage").mkdir()
    for month in (1, 2):
        rows = {"account_id": ["A"], "feature": ["a"], "occurred_at": [datetime(2025, month, 9)], "event_id": [month]}
        pd.DataFrame(rows).to_parquet(tmp_path / "usage" / f"{month}.parquet")
    folder(tmp_path)
    assert column(loaded(tmp_path, usage={"from": "usage/*.parquet"}), "usage", "event_id") == ["1", "2"]


@pytest.mark.parametrize("table", [{"where": "nonsense = 1"}, {"columns": {"value": {"sql": "nonsense + 1"}}}])
def test_sql_that_does_not_work_is_a_finding(tmp_path: Path, table: dict[str, Any]) -> None:
    folder(tmp_path, usage_csv="account_id,feature,occurred_at\nA,a,2025-02-01\n")
    finding = next(loaded(tmp_path, usage=table).report.of("bad_sql", "usage"))
    assert finding.severity == "fatal"
    assert "nonsense" in finding.what_to_do


def test_a_mapped_optional_column_that_is_gone_is_a_warning(tmp_path: Path) -> None:
    folder(tmp_path)
    source = loaded(tmp_path, subscriptions={"columns": {"seats": "licences"}})
    assert source.report.ok
    assert next(source.report.of("missing_column", "subscriptions", "seats")).severity == "warning"


def test_the_callers_connection_is_used(tmp_path: Path) -> None:
    connection = ibis.duckdb.connect()
    mapping = Mapping.from_dict({"data": {"data_until": datetime(2026, 1, 1, tzinfo=UTC)}})
    source = load(mapping, base=folder(tmp_path), connection=connection)
    assert source.connection is connection
    assert not [name for name in connection.list_tables() if name.startswith("_raw")]
    assert check(source).as_json() == check(source).as_json()


cells = st.one_of(
    st.decimals(-(10**9), 10**9, places=6).map(str), st.sampled_from(["", "n/a", "abc", "1e3", "12,5", "--1", "NaN", "∞"])
)


@settings(max_examples=25, deadline=None)
@given(st.lists(cells, min_size=1, max_size=20))
def test_every_cell_is_read_exactly_missing_or_counted(tmp_path_factory: pytest.TempPathFactory, given_cells: list[str]) -> None:
    path = tmp_path_factory.mktemp("law")
    rows = "".join(f'A,a,2025-02-01,e{number:02},"{cell}"\n' for number, cell in enumerate(given_cells))
    folder(path, usage_csv="account_id,feature,occurred_at,event_id,value\n" + rows)
    source = loaded(path)
    read = source.tables["usage"].order_by("event_id")["value"].to_pyarrow().to_pylist()
    failed = sum(finding.rows for finding in source.report.of("unreadable_value", "usage", "value"))
    missing = sum(cell.lower() in ("", "n/a", "nan") for cell in given_cells)
    assert sum(value is None for value in read) == failed + missing
    numbers = [cell for cell in given_cells if re.fullmatch(r"-?\d+(\.\d+)?|1e3|-?0E-6", cell)]
    assert [value for value in read if value is not None] == [Decimal(cell) for cell in numbers]


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(8)))
def test_the_order_of_rows_does_not_matter(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    path = tmp_path_factory.mktemp("order")
    rows = [f"A,a,2025-02-{1 + number % 3:02},e{number % 3},{number // 2}\n" for number in range(8)]
    folder(path, usage_csv="account_id,feature,occurred_at,event_id,quantity\n" + "".join(rows[number] for number in order))
    source = loaded(path)
    assert source.tables["usage"].order_by("event_id")["quantity"].to_pyarrow().to_pylist() == [0, 0, 1]
    assert next(source.report.of("duplicate_key", "usage")).rows == 5
