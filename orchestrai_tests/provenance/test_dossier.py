"""The dossier of a model: what the records say, on a page that anybody can read."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.errors import ConfigError
from orchestrai.provenance.export.dossier.dossier import dossier
from orchestrai.provenance.export.dossier.dossier_page import dossier_html, write_dossier
from orchestrai.provenance.export.dossier.dossier_parts import NOT_DECLARED, Dossier, Section, Table
from orchestrai.provenance.export.dossier.model_sections import drift_since
from orchestrai.provenance.lineage import Step, Use
from orchestrai.provenance.verified_records import Records
from orchestrai.vault.lifecycle.legal_hold import place_hold
from orchestrai_tests.accessibility import faults
from orchestrai_tests.provenance.builder import MODEL, World
from orchestrai_tests.provenance.small import CHAMPION, DAYS, RAW, Small
from orchestrai_tests.provenance.test_cli import run

DAYS_OF_WORLD = ("2026-01-01", "2026-01-02", "2026-01-03")


def section(page: Dossier, name: str) -> Section:
    return next(one for one in page.sections if one.id == name)


def table(page: Dossier, name: str, caption: str) -> Table:
    return next(one for one in section(page, name).tables if one.caption.startswith(caption))


class Page(HTMLParser):
    """Whether every tag is closed, headings, pictures, and what is loaded from elsewhere."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_dossier_says_what_the_real_stages_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Small.at(tmp_path / "small")
    small.land(*DAYS[:8])
    small.publish(*DAYS[:8])
    predictions = f"{CHAMPION.rpartition('/')[0]}/predictions"
    version = small.train(predictions)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(small.home))
    to = tmp_path / "alarm.html"
    code, text = run("export", "alarm@champion", "--format", "dossier", "--to", str(to), "--json")
    assert (code, json.loads(text)["files"]) == (0, [str(to), str(to.with_suffix(".json"))])
    told = json.loads(to.with_suffix(".json").read_bytes())
    assert (told["asset"], told["version"]) == (CHAMPION, version)
    sections = {one["id"]: one for one in told["sections"]}
    tables = {one["caption"]: one["rows"] for part in told["sections"] for one in part["tables"]}
    assert sections["general"]["facts"]["owner"] == NOT_DECLARED
    (landed,) = tables["Landed data"]
    assert (landed["dataset"], landed["objects"], landed["rows"], landed["contract"]) == (RAW, "8", "240", "readings 1.0.0")
    assert {row["column"] for row in tables["Columns by contract"]} == {"device_id", "ts", "level", "failed"}
    lineage = {row["column"]: row["from"] for row in tables["What each column of the training set comes from"]}
    assert lineage["label"] == "small/readings/restored.failed"
    metrics = {row["metric"]: row for row in tables["Metrics on held-out rows, value (95 % interval)"]}
    assert re.fullmatch(r"0\.\d{4} \(0\.\d{4} to 0\.\d{4}\)", metrics["auc"]["model"])
    assert metrics["auc"]["naive"].startswith("0.5000")
    assert [row["what"] for row in tables["In order of time"]] == ["champion"]
    (restored,) = tables["Restores that it learned from: each byte was hashed on the way"]
    assert restored["partitions"] == "8"
    # how its features moved since: as its predictions' signed receipts say, and those of nobody else
    (drift,) = tables["By predictions and by evaluations of its successors"]
    records = Records(small.runtime.ledger.lake, small.runtime.ledger.keyring)
    receipt = records.receipt(small.runtime.ledger.open(predictions).head.receipt)
    (verdict,) = [one for verdicts in receipt.verdicts.values() for one in verdicts if one.check == "feature_drift"]
    moved = verdict.details["psi"]
    assert isinstance(moved, dict)
    assert (drift["when"], drift["by"], drift["what it said"]) == (receipt.finished, predictions, verdict.message)
    assert float(drift["population stability index"]) == round(max(moved.values()), 4)
    assert sections["drift"]["facts"]["looked at"] == "1 times"
    # of a version that served nobody there is nothing to tell
    assert drift_since(records, [Step(Use(CHAMPION, {}), {}, (), ())]).tables[0].rows == ()
    page = Page()
    page.feed(to.read_text(encoding="utf-8"))
    assert page.open == [] and faults(to.read_text(encoding="utf-8")) == []
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == len(told["pictures"]) == 4
    assert all(one["alt"] and str(one["src"]).startswith("data:image/png;base64,") for one in pictures)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", to.read_text(encoding="utf-8"))


def test_decisions_holds_and_retention_are_told_with_who_and_why(world: World) -> None:
    world.whole(DAYS_OF_WORLD)
    first, second, _ = world.vault.snapshots()
    world.vault.forget(first.snapshot_id, reason="kept for a year")
    place_hold(world.vault, second.dataset, second, None, reason="case 17")
    page = dossier(Records(world.store, world.keyring), f"{MODEL}/champion")
    (forgotten,) = table(page, "retention", "Snapshots that were forgotten").rows
    assert (forgotten[1], forgotten[3]) == (first.dataset, "kept for a year")
    (held,) = table(page, "retention", "Legal holds").rows
    assert (held[0].endswith(f"snapshot {second.seq}"), held[2]) == (True, "case 17")
    assert [row[1] for row in table(page, "decisions", "In order").rows] == ["champion"]
    lake = dossier(Records(world.lake, world.keyring), f"{MODEL}/champion")
    assert table(lake, "retention", "Legal holds").rows == ()


def test_whatever_stands_in_records_is_text_on_the_page() -> None:
    spoilt = "<script>alert('&')</script>"
    part = Section("evaluation", spoilt, spoilt, ((spoilt, spoilt),), (Table(spoilt, (spoilt,), ((spoilt,),)),))
    text = dossier_html(Dossier(spoilt, spoilt, (part,), {f"{spoilt}.png": b"png"}))
    assert "<script" not in text
    page = Page()
    page.feed(text)
    assert page.open == []


def test_a_dossier_takes_nothings_place(tmp_path: Path) -> None:
    page = Dossier("a/b/champion", "sha256:0", ())
    with pytest.raises(ConfigError, match=r"FILE\.html"):
        write_dossier(page, tmp_path / "page.json")
    (tmp_path / "page.json").write_text("mine")
    with pytest.raises(ConfigError, match="new place"):
        write_dossier(page, tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.json"]
    done = CliRunner().invoke(app, ["export", "x", "--format", "dossier"])
    assert "--to FILE.html" in str(done.exception)
