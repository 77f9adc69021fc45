"""Which files of a source are new, told by their content: a name, or the time that a file was written at, says nothing."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from features.rollup_state import CountedFile
from features.sources import SourceError


@dataclass(frozen=True)
class Arrivals:
    """What an update finds: `counted` are files whose content is counted, under their names of now, and copies of any file.

    `new`: the files to count, by name; `twice`: the names of copies that are new; `changed`: what was counted under a name that
    has another content now.
    """

    counted: dict[str, CountedFile]
    new: dict[str, CountedFile]
    twice: tuple[str, ...]
    changed: tuple[CountedFile, ...]


def arrivals(before: Mapping[str, CountedFile], files: Mapping[str, Path], folder: Path) -> Arrivals:
    """Compare the files that are counted with those that are there, by name.

    Raises SourceError where a file cannot be read, or where one that is counted is gone, its content too.
    """
    found = {name: _recognised(name, path, before.get(name)) for name, path in sorted(files.items())}
    names: dict[str, list[str]] = {}
    for name, file in found.items():
        names.setdefault(file.digest, []).append(name)
    held = {file.digest: (name, file) for name, file in before.items() if file.same_as is None}
    counted, new, twice = {}, {}, []
    for digest, same in names.items():
        was, is_counted = held.pop(digest, (same[0], None))
        first = was if was in same else same[0]
        if is_counted is None:
            new[first] = found[first]
        else:
            counted[first] = replace(is_counted, size=found[first].size, modified=found[first].modified)
        for other in same:
            if other != first:
                counted[other] = replace(found[other], same_as=digest)
                twice += [other] if other not in before or before[other].digest != digest else []
    gone = sorted(name for name, _ in held.values() if name not in files)
    if gone:
        told = f"{gone[0]} is counted and is gone: put it back, or delete {folder} to do without it"
        raise SourceError("missing_file", told)
    return Arrivals(counted, dict(sorted(new.items())), tuple(twice), tuple(file for _, file in held.values()))


def unreadable(name: str, error: Exception) -> SourceError:
    """The error about a source file that cannot be read, by its name."""
    return SourceError("unreadable_file", f"{name} cannot be read: {str(error).strip().splitlines()[0]}; export it again")


def _recognised(name: str, path: Path, known: CountedFile | None) -> CountedFile:
    """A file as it is now, none of its rows counted; one that was not written since it was read is not read again."""
    try:
        stat = path.stat()
        if known and (known.size, known.modified) == (stat.st_size, stat.st_mtime_ns):
            digest = known.digest
        else:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(name, error) from None
    return CountedFile(stat.st_size, stat.st_mtime_ns, digest, 0, (), ())
