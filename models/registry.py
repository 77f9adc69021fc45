"""How models are named in the registry, for those who put them there and those who serve them."""

from collections.abc import Mapping

#: The alias of the version that serves.
CHAMPION = "champion"
#: The version that `champion` pointed at before, so that a rollback is one step.
PREVIOUS = "previous"
#: The newest version that its own gate lets serve, and that does not serve (yet).
CHALLENGER = "challenger"
#: Where a version keeps the fit that serves, and the one that was tested: fitted before the test, and never shown a row of it.
SERVING_FILES, TESTED_FILES = "outcome", "tested"
#: The experiment of every training run.
EXPERIMENT = "kunto"
_NOTHING = "health score"


def worded(versions: Mapping[str, int]) -> str:
    """Word what served, as it is kept with every score; without a model the health score does.

    >>> worded({"kunto-expansion-90d": 1, "kunto-churn-90d": 3})
    'kunto-churn-90d/3, kunto-expansion-90d/1'
    >>> worded({})
    'health score'
    """
    return ", ".join(f"{name}/{version}" for name, version in sorted(versions.items())) or _NOTHING


def versions(wording: str) -> dict[str, int]:
    """Return what `worded` worded as name → version; ValueError on anything else.

    >>> versions("kunto-churn-90d/3, kunto-expansion-90d/1")
    {'kunto-churn-90d': 3, 'kunto-expansion-90d': 1}
    >>> versions("kunto-churn-90d")
    Traceback (most recent call last):
    ValueError: 'kunto-churn-90d' names no model versions; expected "name/version, …" or 'health score'
    """
    if wording == _NOTHING:
        return {}
    found = {}
    for part in wording.split(", "):
        name, slash, version = part.rpartition("/")
        if not (slash and name and version.isascii() and version.isdecimal()):
            raise ValueError(f'{wording!r} names no model versions; expected "name/version, …" or {_NOTHING!r}')
        found[name] = int(version)
    return found
