"""What the leak audit finds, and the refusal to train on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["too_good", "knows_the_date", "changed_after", "past_the_data"]
Evidence = dict[str, str | int | float]


@dataclass(frozen=True)
class Leak:
    """One suspicion that training would read the future.

    `name` is what it is allowed by: a feature, a source column (`table.column`), a table, or a model's name. `evidence` holds the
    figures, `what_to_do` a sentence.

    >>> print(Leak("too_good", "status", {"model": "kunto-churn-90d", "auc": 0.97123}, "Look at its source."))
    status (too_good): model kunto-churn-90d, auc 0.971. Look at its source.
    """

    kind: Kind
    name: str
    evidence: Evidence
    what_to_do: str

    def record(self) -> dict[str, Any]:
        """Return the leak as JSON: kind, name, evidence, what_to_do.

        Without the account that serves as an example: a record stays for ever, where `kunto forget` could not find it.
        """
        evidence = {key: value for key, value in self.evidence.items() if key != "account"}
        return {"kind": self.kind, "name": self.name, "evidence": evidence, "what_to_do": self.what_to_do}

    def __str__(self) -> str:
        """Name, kind, figures and advice in one line."""
        figures = (f"{key.replace('_', ' ')} {_shown(value)}" for key, value in self.evidence.items())
        return f"{self.name} ({self.kind}): {', '.join(figures)}. {self.what_to_do}"


class LeakError(ValueError):
    """The data seems to know the future; `leaks` are those that nobody allowed."""

    def __init__(self, leaks: Sequence[Leak], message: str) -> None:
        super().__init__(message)
        self.leaks = tuple(leaks)


def refuse(leaks: Sequence[Leak], allowed: Sequence[str]) -> list[Leak]:
    """Return the leaks if every one is allowed by its name, for the record and the model card; else LeakError naming the rest.

    >>> refuse([Leak("past_the_data", "usage", {"days_without_rows": 40}, "Move data_until.")], ["usage"])[0].name
    'usage'
    """
    refused = [leak for leak in leaks if leak.name not in allowed]
    if not refused:
        return list(leaks)
    names = list(dict.fromkeys(leak.name for leak in refused))
    lines = [f"training stopped: {len(refused)} sign(s) that the training data knows the future", *map(str, refused)]
    idle = [name for name in allowed if name not in {leak.name for leak in leaks}]
    if idle:
        lines.append(f"Allowed, but found nowhere: {', '.join(idle)}.")
    in_file = ", ".join(f'"{name}"' for name in (*allowed, *names))
    options = " ".join(f"--allow-leak {name}" for name in names)
    lines.append(
        "What is no leak is allowed by its name, and the model card will say so: "
        f"`allow_leaks = [{in_file}]` under [training] in kunto.toml, or `kunto train {options}`."
    )
    raise LeakError(refused, "\n  ".join(lines))


def _shown(value: str | float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
