"""Models that a company brings for its boosters to start from: written by one company, read and checked by another."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from models.outcome import OutcomeModel
from training.settings import Task

_ORIGIN = "origin.json"
#: Digests of accounts that tell one company from another.
_SKETCH = 64


def sketch(subscriptions: Any) -> tuple[str, ...]:
    """Return the smallest digests of a company's accounts and their first days: two of the same company share some of them.

    No account can be read out of them (Broder 1997, bottom-k sketches).

    >>> import ibis
    >>> rows = pd.DataFrame({"account_id": ["a", "a"], "started_at": pd.to_datetime(["2026-01-01", "2026-02-01"])})
    >>> len(sketch(ibis.memtable(rows))), sketch(ibis.memtable(rows)) == sketch(ibis.memtable(rows[:1]))
    (1, True)
    """
    first = subscriptions.group_by("account_id").aggregate(first=subscriptions.started_at.min()).execute()
    told = (f"{account}|{instant}" for account, instant in zip(first["account_id"], first["first"], strict=True))
    return tuple(sorted(hashlib.sha256(each.encode()).hexdigest()[:12] for each in told)[:_SKETCH])


@dataclass(frozen=True)
class Origin:
    """What a model was made from: its name and version in its own registry, the end of its data, and whose accounts they were."""

    name: str
    version: int
    data_until: str
    accounts: tuple[str, ...]


@dataclass(frozen=True)
class Base:
    """A model to start from, and where it is from."""

    model: OutcomeModel
    origin: Origin


Bases = Mapping[str, Base]


def read_bases(folder: Path) -> dict[str, Base]:
    """Read the models that `kunto models --export` wrote, by name; ValueError where there is none, or one is damaged."""
    found = {}
    for place in sorted(each.parent for each in folder.glob("*/model.json")):
        try:
            texts = {path.name: path.read_text(encoding="utf-8") for path in place.iterdir()}
            origin = json.loads(texts.pop(_ORIGIN))
            found[place.name] = Base(OutcomeModel.from_files(texts), Origin(**origin | {"accounts": tuple(origin["accounts"])}))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"the base model in {place} cannot be read: {error}; export it again") from error
    if not found:
        raise ValueError(f"base is {folder}, which holds no model; give a folder that `kunto models --export` wrote")
    return found


def write_bases(bases: Bases, folder: Path) -> list[Path]:
    """Write models as texts, a folder each, as `read_bases` reads them; return the folders. They hold no row of an account."""
    for name, base in bases.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for old in (folder / name).iterdir():
            old.unlink()
        for file, text in (base.model.to_files() | {_ORIGIN: json.dumps(asdict(base.origin), indent=1)}).items():
            (folder / name / file).write_text(text, encoding="utf-8")
    return [folder / name for name in bases]


def bases_of(tasks: Sequence[Task], bases: Bases | None, event: str) -> dict[str, Base]:
    """Return the bases of these tasks, by name; ValueError where there is none, or one does not answer what its task asks."""
    found = {task: bases[task.name] for task in tasks if bases and task.name in bases}
    if bases and not found:
        asked = ", ".join(task.name for task in tasks)
        raise ValueError(f"base holds {', '.join(bases)}, and trained are {asked}: bring a model of one of them, or none")
    for task, base in found.items():
        for name, value in {"outcome": task.outcome, "horizon_days": task.horizon_days, "event": event}.items():
            if (told := getattr(base.model, name)) != value:
                raise ValueError(f"the base model of {task.name} has {name} {told}, not {value}: bring one that predicts it")
    return {task.name: base for task, base in found.items()}


def refuse_seen(bases: Bases, accounts: Iterable[str], test_from: pd.Timestamp) -> None:
    """Raise ValueError where a base has learnt from these accounts (a `sketch`) past the instant from which is tested."""
    own = set(accounts)
    for name, base in bases.items():
        if own & {*base.origin.accounts} and pd.Timestamp(base.origin.data_until) > test_from:
            raise ValueError(
                f"the base model of {name} has seen this company's own data up to {base.origin.data_until[:10]}, and is tested "
                f"from {test_from:%Y-%m-%d} on: it would know the answers. Bring another company's, or an earlier one"
            )


def product_features(bases: Bases) -> tuple[str, ...]:
    """Return the product's own features that any of these models reads, sorted."""
    return tuple(sorted({name for base in bases.values() for name in base.model.product_features}))
