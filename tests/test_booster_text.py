"""A damaged booster is refused before LightGBM, which would end the process, sees it."""

import numpy as np
import pandas as pd
import pytest

from models.booster import BoosterModel, BoosterSettings, fit_booster
from models.booster_text import check_booster_text

X = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 3)), columns=["a", "b", "c"]).mask(
    np.random.default_rng(1).random((300, 3)) < 0.1
)
MODEL = fit_booster(X, X["a"] + X["b"] > 0.5, directions={"a": 1}, settings=BoosterSettings(rounds=6, learning_rate=0.3))


@pytest.mark.parametrize("model", [MODEL, fit_booster(X, np.ones(len(X)), directions={})])
def test_a_whole_text_passes(model: BoosterModel) -> None:
    check_booster_text(model.text, 3)


def test_every_cut_is_refused() -> None:
    end = MODEL.text.index("\nend of parameters\n")
    for length in range(0, end, 7):
        with pytest.raises(ValueError, match=r"the booster's text is damaged: .*; register the model again"):
            check_booster_text(MODEL.text[:length], 3)


def test_a_missing_piece_in_the_middle_is_refused() -> None:
    for begin in range(MODEL.text.index("Tree=0"), MODEL.text.index("end of trees"), 97):
        with pytest.raises(ValueError, match="the booster's text is damaged"):
            check_booster_text(MODEL.text[:begin] + MODEL.text[begin + 30 :], 3)


@pytest.mark.parametrize(
    ("line", "changed", "told"),
    [
        ("left_child", lambda v: ["0", *v[1:]], "runs in a circle"),
        ("left_child", lambda v: ["99", *v[1:]], "has loose ends"),
        ("right_child", lambda v: ["-99", *v[1:]], "has loose ends"),
        ("split_feature", lambda v: ["3", *v[1:]], "splits on a feature past the 3"),
        ("split_feature", lambda v: v[1:], "of split_feature, not"),
        ("leaf_value", lambda v: ["nan", *v[1:]], "has a leaf that is not finite"),
        ("leaf_value", lambda v: ["x", *v[1:]], "could not convert"),
        ("decision_type", lambda v: ["1", *v[1:]], "has a split of another kind"),
        ("num_cat", lambda v: ["1"], "has splits by category or linear leaves"),
        ("num_class", lambda v: ["2"], "its num_class is '2', not 1"),
    ],
)
def test_a_tree_that_points_astray_is_refused(line: str, changed: object, told: str) -> None:
    lines = MODEL.text.split("\n")
    at = next(number for number, each in enumerate(lines) if each.startswith(f"{line}="))
    old = lines[at]
    lines[at] = f"{line}=" + " ".join(changed(old.partition("=")[2].split()))  # type: ignore[operator]
    sizes = next(number for number, each in enumerate(lines) if each.startswith("tree_sizes="))
    if at > sizes:
        first, *rest = lines[sizes].removeprefix("tree_sizes=").split()
        lines[sizes] = " ".join([f"tree_sizes={int(first) + len(lines[at]) - len(old)}", *rest])
    with pytest.raises(ValueError, match=told):
        check_booster_text("\n".join(lines), 3)


def test_another_number_of_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="its max_feature_idx is '2', not 3"):
        check_booster_text(MODEL.text, 4)
