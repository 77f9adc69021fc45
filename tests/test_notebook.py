"""The notebook in notebooks/: it runs from a clean start, what is stored was executed, and it shows what it speaks of."""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

PATH = Path(__file__).resolve().parents[1] / "notebooks" / "train_compare_promote.ipynb"
#: On a busy machine; alone, the longest cell takes a tenth of it.
CELL_SECONDS = 300
STORED = nbformat.read(PATH, as_version=4)
#: A path from the root of a disk, in a text that is no address and no end of a tag.
ABSOLUTE = re.compile(r"(?<![\w.:/<~])/(?:home|root|tmp|var|usr|opt|work|private|Users|mnt|srv)/|\b[A-Z]:\\|file://")
LARGEST = 1_000_000


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """The notebook, executed anew by this interpreter, away from the project and from whatever the user has set up."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(PATH, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
            patch.setenv(name, str(folder / name.lower()))
        client.execute()  # CellExecutionError where a cell fails
    return notebook


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cells: list[NotebookNode]) -> Iterator[str]:
    """What a reader sees of outputs, pictures left out."""
    for output in (output for cell in cells for output in cell.outputs):
        yield output.get("text", "")
        yield from (content for kind, content in output.get("data", {}).items() if kind.startswith("text/"))


def shape(cell: NotebookNode) -> list[tuple[str, ...]]:
    """Which outputs a cell has, whatever they say; a stream comes in as many pieces as it happens to."""
    kinds = [(output.output_type, *sorted(output.get("data", {})), output.get("name", "")) for output in cell.outputs]
    return [kind for kind, _ in groupby(kinds)]


def test_what_is_stored_was_executed_from_first_to_last() -> None:
    assert [cell.execution_count for cell in code(STORED)] == list(range(1, len(code(STORED)) + 1))
    assert [cell.id for cell in code(STORED) if not cell.outputs and not cell.source.startswith("import ")] == []


def test_what_is_stored_has_neither_errors_nor_noise() -> None:
    outputs = [output for cell in code(STORED) for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert [text for text in texts(code(STORED)) if "Warning" in text or "it/s]" in text] == []


def test_what_is_stored_is_small_and_names_no_place_of_a_machine() -> None:
    written = PATH.read_text(encoding="utf-8")
    assert len(written) < LARGEST
    pictures = re.compile(r'"image/png": "[^"]*"')
    assert ABSOLUTE.findall(pictures.sub("", written)) == []
    assert ABSOLUTE.search("in /tmp/x and")  # or it would find nothing


def test_its_links_lead_somewhere() -> None:
    prose = "\n".join(cell.source for cell in STORED.cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\(([^)#:]+)\)", prose)
    assert targets
    assert [target for target in targets if not (PATH.parent / target).exists()] == []


def test_it_executes_and_what_is_stored_came_of_this_source(executed: NotebookNode) -> None:
    assert [shape(cell) for cell in code(executed)] == [shape(cell) for cell in code(STORED)]


def test_it_trains_compares_and_promotes(executed: NotebookNode) -> None:
    for told in ("\n".join(texts(code(notebook))) for notebook in (executed, STORED)):
        assert "training stopped: 1 sign(s) that the training data knows the future" in told
        assert "report.html" in told
        assert re.search(r"^passed:\nCompared on \d+ rows", told, flags=re.MULTILINE)
        assert "rollback: version 1 serves" in told
        assert "promote: version 2 serves" in told
        assert "promote: refused: there is no version 99" in told
        assert "Served in turn: version 2 → 1 → 2." in told
        assert "unexpected: seets (did you mean seats?); not numbers: mrr" in told


def test_a_source_that_went_silent_raises_an_alarm_of_its_own(executed: NotebookNode) -> None:
    printed = ["".join(texts([cell])) for cell in code(executed)]
    as_it_was, silent = [text for text in printed if text.startswith(("raised\n", "no alarm\n"))]
    advice = "Check whether this source still comes in"
    assert silent.startswith("raised\n")
    assert advice in silent
    assert advice not in as_it_was
