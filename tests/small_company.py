"""A company of two accounts without a fault, as CSV lines, and its kunto.toml; and what a finding on it looks like."""

from collections.abc import Mapping

TABLES: Mapping[str, tuple[str, ...]] = {
    "accounts": ("account_id,name,created_at", "a,Aalto,2025-01-01", "b,Berg,2025-01-01"),
    "subscriptions": (
        "account_id,started_at,ended_at,seats,mrr,currency",
        "a,2025-01-01,,5,100,EUR",
        "b,2025-02-01,,2,50,EUR",
        "b,2025-01-01,2025-02-01,1,25,EUR",
    ),
    "usage": ("account_id,feature,occurred_at", "a,login,2026-01-02 10:00:00", "b,login,2026-01-03 10:00:00"),
}
CONFIG = '[data]\nsource = "tables"\ndata_until = 2026-02-01\nreporting_currency = "EUR"\n'
#: The keys of a finding (`kunto check --json`).
FINDING = {"table", "column", "rule", "rows", "example", "what_to_do"}
