"""Who made it: sources that decide change a stage's identity, and nothing else does."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from orchestrai.core import code_identity
from orchestrai.core.code_identity import Producer, analyse, modules_of, read_source
from orchestrai.errors import NotReceipted
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Receipt

FEATURES = Producer("features", "orchestrai.features.run")
RAW = Producer("raw_events", "orchestrai.ingest.run")
CANDIDATE = Producer("candidate", "orchestrai.models.training")
Change = Callable[[str, bytes], None]


def forget() -> None:
    """As a new process, which has read no source yet."""
    code_identity.identity.cache_clear()
    code_identity._source_of.cache_clear()


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Change:
    """Append to the source of a module, as an editor would."""

    def put(module: str, text: bytes) -> None:
        before = code_identity.read_source

        def after(name: str) -> bytes | None:
            source = before(name)
            return source + text if name == module and source is not None else source

        monkeypatch.setattr(code_identity, "read_source", after)
        forget()

    yield put  # type: ignore[misc]
    monkeypatch.undo()
    forget()


def test_a_source_of_a_stage_changes_its_identity_and_no_other(change: Change) -> None:
    before = FEATURES.code, RAW.code, CANDIDATE.code
    assert before[0].startswith("features:") and len(before[0]) == len("features:") + 16
    change("orchestrai.features.partition_run", b"\nLIMIT = 7\n")
    assert FEATURES.code != before[0] and (RAW.code, CANDIDATE.code) == before[1:]


def test_what_all_stages_use_changes_them_all(change: Change) -> None:
    before = FEATURES.code, RAW.code, CANDIDATE.code
    change("orchestrai.core.canonical", b"\nWIDTH = 2\n")
    assert all(now != then for now, then in zip((FEATURES.code, RAW.code, CANDIDATE.code), before, strict=True))


def test_comments_and_what_moves_bytes_change_nothing(change: Change) -> None:
    before = FEATURES.code, RAW.code
    change("orchestrai.features.run", b"\n\n# said better\n")
    change("orchestrai.core.canonical", b"\n\n# said better\n")
    change("orchestrai.errors", b"\nMORE = 1\n")
    change("orchestrai.storage.local", b"\nMORE = 1\n")
    change("orchestrai.ledger.log", b"\nMORE = 1\n")
    assert (FEATURES.code, RAW.code) == before


@pytest.mark.parametrize(
    "text",
    [
        'def total(a: int,\n    b: int) -> int:\n    "In words."\n    # why\n    return (a + b)\n',
        '"""What it is."""\n\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from orchestrai.ledger.ledger import Ledger\n'
        "\n\ndef total(a: int, b: int) -> int:\n    return a + b\n",
    ],
)
def test_formatting_documentation_and_types_alone_change_nothing(text: str) -> None:
    head = "from typing import TYPE_CHECKING\n" if "TYPE_CHECKING" in text else ""
    plain = analyse((head + "def total(a: int, b: int) -> int:\n    return a + b\n").encode())
    assert analyse(text.encode()) == plain
    assert analyse(text.replace("a + b", "a - b").encode()).digest != plain.digest


def test_imports_inside_functions_and_of_modules_by_name_are_followed() -> None:
    source = analyse(
        b"def late():\n    from orchestrai.models.estimators import boosting\n    import orchestrai.core.time.duration_cron\n"
    )
    assert set(source.imports) == {
        "orchestrai.models.estimators", "orchestrai.models.estimators.boosting", "orchestrai.core.time.duration_cron",
    }  # fmt: skip
    assert "orchestrai.models.estimators.boosting" in modules_of(CANDIDATE)


def test_a_stage_is_covered_with_what_decides_its_bytes() -> None:
    covered = modules_of(FEATURES)
    assert {"orchestrai.features.run", "orchestrai.features.engines.duckdb_engine", "orchestrai.core.time.calendar"} <= {
        *covered
    }
    assert not [name for name in covered if name.startswith(("orchestrai.storage", "orchestrai.errors", "orchestrai.cli"))]
    assert [name for name in covered if name.startswith("orchestrai.ledger.")] == ["orchestrai.ledger.manifest"]


def test_a_module_that_is_not_there_names_nobody() -> None:
    with pytest.raises(ValueError, match="expected a module of orchestrai"):
        _ = Producer("features", "orchestrai.features.nowhere").code


def test_another_process_works_out_the_same() -> None:
    asked = (
        "import sys; from orchestrai.core.code_identity import Producer;"
        "print(Producer('features', 'orchestrai.features.run').code, 'duckdb' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert told == [FEATURES.code, "False"]


def test_a_receipt_without_code_is_never_signed(ledger: Ledger) -> None:
    receipt = Receipt("p/d/features", "features", "sha256:" + "0" * 64, {}, "s", "2026-01-01", "2026-01-01")
    with pytest.raises(NotReceipted, match="expected the code that made p/d/features"):
        receipt.sign(ledger.signer)
    assert read_source("orchestrai.core.canonical") is not None
