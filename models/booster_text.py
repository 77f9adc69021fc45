"""Whether a booster's text is whole.

LightGBM reads its text on trust: one that is cut short, or a tree that points past its end, ends the process instead of raising.
"""

import math
import re
from collections.abc import Sequence

_OF_SPLITS = (
    *("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child"),
    *("internal_value", "internal_weight", "internal_count"),
)
_OF_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
#: LightGBM's bits of a split: 1 by category, 2 missing goes left, 4 and 8 what counts as missing.
_DECISIONS = frozenset({0, 2, 4, 6, 8, 10})
_END = re.compile(r"end of trees\n.*\nparameters:\n(\[\w+: [-+\w.,:/ ]*\]\n)*\nend of parameters\n.*", re.DOTALL)


def check_booster_text(text: str, columns: int) -> None:
    """Raise ValueError where the text is not a whole booster over this many columns, with one output and numeric splits alone.

    >>> check_booster_text("tree\\nversion=v4\\n", 1)
    Traceback (most recent call last):
    ValueError: the booster's text is damaged: it has no 'num_class' in its head; register the model again
    """
    try:
        _check(text, columns)
    except ValueError as error:
        raise ValueError(f"the booster's text is damaged: {error}; register the model again") from None


def _check(text: str, columns: int) -> None:
    head, _, rest = text.partition("\n\n")
    told = _fields(head.splitlines())
    for name, expected in (("num_class", "1"), ("num_tree_per_iteration", "1"), ("max_feature_idx", str(columns - 1))):
        if _of(told, name, "its head") != expected:
            raise ValueError(f"its {name} is {told[name]!r}, not {expected}")
    if len(_of(told, "feature_names", "its head").split()) != columns:
        raise ValueError(f"it names other than {columns} features")
    # LightGBM finds its trees by these sizes, in bytes.
    body, at = rest.encode(), 0
    for number, size in enumerate(_integers(_of(told, "tree_sizes", "its head"))):
        _check_tree(body[at : at + size].decode().splitlines(), number, columns)
        at += size
    if not _END.fullmatch(body[at:].decode()):
        raise ValueError("it does not end as it should")


def _check_tree(lines: Sequence[str], number: int, columns: int) -> None:
    place = f"tree {number}"
    if not lines or lines[0] != f"Tree={number}" or not all("=" in line for line in lines if line):
        raise ValueError(f"{place} is not where the head says")
    told = _fields(lines)
    if (_of(told, "num_cat", place), _of(told, "is_linear", place)) != ("0", "0"):
        raise ValueError(f"{place} has splits by category or linear leaves")
    (leaves,) = _integers(_of(told, "num_leaves", place))
    splits = leaves - 1
    for names, count in ((_OF_SPLITS, splits), (_OF_LEAVES, leaves)):
        for name in names:
            values = [float(value) for value in _of(told, name, place).split()]
            # A tree of one leaf tells its value alone.
            if len(values) != count and not (leaves == 1 and name != "leaf_value" and len(values) <= 1):
                raise ValueError(f"{place} has {len(values)} of {name}, not {count}")
            if name == "leaf_value" and not all(map(math.isfinite, values)):
                raise ValueError(f"{place} has a leaf that is not finite")
    if not all(0 <= feature < columns for feature in _integers(told["split_feature"])):
        raise ValueError(f"{place} splits on a feature past the {columns}")
    if not set(_integers(told["decision_type"])) <= _DECISIONS:
        raise ValueError(f"{place} has a split of another kind")
    _check_children(_integers(told["left_child"]), _integers(told["right_child"]), leaves, place)


def _check_children(left: Sequence[int], right: Sequence[int], leaves: int, place: str) -> None:
    """Every split but the first and every leaf (−1 − its number) is the child of one split that stands before it."""
    if any(child >= 0 and child <= split for split, pair in enumerate(zip(left, right, strict=True)) for child in pair):
        raise ValueError(f"{place} runs in a circle")
    if leaves > 1 and sorted((*left, *right)) != [*range(-leaves, 0), *range(1, leaves - 1)]:
        raise ValueError(f"{place} has loose ends")


def _fields(lines: Sequence[str]) -> dict[str, str]:
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


def _of(told: dict[str, str], name: str, place: str) -> str:
    if name not in told:
        raise ValueError(f"it has no {name!r} in {place}")
    return told[name]


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split()]
