"""What a look at a company's tables finds: the records behind `kunto check`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

Severity = Literal["fatal", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One problem: `rows` is how many rows have it, `example` names one of them and its value.

    Severity "fatal" stops the job, "warning" is counted, "note" is worth knowing and needs nothing.
    """

    severity: Severity
    table: str
    column: str | None
    rule: str
    rows: int
    example: str | None
    what_to_do: str

    @property
    def place(self) -> str:
        """The table, or the table and the column, that it is about."""
        return ".".join(part for part in (self.table, self.column) if part)

    def record(self) -> dict[str, str | int | None]:
        """Return the finding as the JSON record of `kunto check --json`."""
        record = asdict(self)
        del record["severity"]
        return record


@dataclass
class Report:
    """All findings of one load, in the order in which the tables were read.

    >>> report = Report()
    >>> report.add("warning", "usage", "feature", "missing_value", 3, "row 7", "fill it in")
    >>> report.ok, [finding.rows for finding in report.warnings]
    (True, [3])
    """

    findings: list[Finding] = field(default_factory=list)

    def add(
        self,
        severity: Severity,
        table: str,
        column: str | None,
        rule: str,
        rows: int,
        example: str | None,
        what_to_do: str,
    ) -> None:
        """Append one finding."""
        self.findings.append(Finding(severity, table, column, rule, rows, example, what_to_do))

    def of(self, rule: str, table: str | None = None, column: str | None = None) -> Iterator[Finding]:
        """Yield the findings of a rule, of one table and column where they are given."""
        for finding in self.findings:
            if finding.rule == rule and table in (None, finding.table) and column in (None, finding.column):
                yield finding

    @property
    def fatal(self) -> list[Finding]:
        """Findings that stop the job."""
        return [finding for finding in self.findings if finding.severity == "fatal"]

    @property
    def warnings(self) -> list[Finding]:
        """Findings that are counted; the job goes on without the rows or values that they name."""
        return [finding for finding in self.findings if finding.severity == "warning"]

    @property
    def notes(self) -> list[Finding]:
        """Facts worth knowing that need no action."""
        return [finding for finding in self.findings if finding.severity == "note"]

    @property
    def ok(self) -> bool:
        """True where nothing is fatal."""
        return not self.fatal

    def as_json(self) -> dict[str, list[dict[str, str | int | None]]]:
        """Return `{fatal, warnings, notes}`, lists of `{table, column, rule, rows, example, what_to_do}`."""
        return {
            "fatal": [finding.record() for finding in self.fatal],
            "warnings": [finding.record() for finding in self.warnings],
            "notes": [finding.record() for finding in self.notes],
        }
