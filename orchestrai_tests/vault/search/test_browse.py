"""The vault as pages: everything is there, what is distinct is there once, and no name becomes markup."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError
from orchestrai.vault.search.browse import write_pages
from orchestrai.vault.vault import Vault
from orchestrai_tests.accessibility import faults
from orchestrai_tests.vault.conftest import Clock, clock, signer, vault
from orchestrai_tests.vault.contents import files

__all__ = ["clock", "signer", "vault"]
DATASET = "shop/orders/raw_events"


def loaded(path: Path) -> Any:
    """What a script hands to the page."""
    text = path.read_text()
    assert text.startswith("loaded(") and text.endswith(")\n")
    return json.loads(f"[{text[7:-2]}]")[1]


def test_each_snapshot_can_be_put_together_from_what_is_distinct(vault: Vault, clock: Clock, tmp_path: Path) -> None:
    for day in range(30):
        clock.pass_by(days=1)
        vault.commit(DATASET, {f"d{day:02d}": files(a=b"%d" % day), "running": files(r=b"%d" % day)})
    vault.commit(DATASET, {}, drop=["d03"])
    pages = write_pages(vault, tmp_path / "pages")
    # a list a day, and one of the running partition for each of its contents
    assert (pages.snapshots, pages.partitions, pages.lists) == (31, 31, 60)
    data = loaded(tmp_path / "pages/0/dataset.js")
    for number, commit in enumerate(vault.snapshots(DATASET)):
        assert data["commits"][number][0] == commit.snapshot_id
        shown = {
            (name, span[5], loaded(tmp_path / f"pages/0/{place}.js")[span[6]][0][4])
            for place, (name, spans) in enumerate(data["partitions"])
            for span in spans
            if span[0] <= number <= span[1]
        }
        kept = vault.partitions(commit).values()
        assert shown == {(e.partition, e.root[7:19], vault.catalog.files(e)[0].sha256) for e in kept}


def test_names_are_text_and_never_markup(vault: Vault, tmp_path: Path) -> None:
    vault.commit("x/</script><script>alert(1)</script>/d", {"all": files(a=b"1")})
    write_pages(vault, tmp_path / "pages", option="--vault s3://b/</script>")
    page = (tmp_path / "pages/index.html").read_text()
    assert page.count("</script>") == 2 and "alert(1)" in page
    assert "http" not in page.replace("http-equiv", "")
    assert faults(page, scripted=True) == []


def test_pages_of_before_are_replaced_and_nothing_else(vault: Vault, tmp_path: Path) -> None:
    vault.commit(DATASET, {"all": files(a=b"1")})
    write_pages(vault, tmp_path / "pages")
    vault.commit(DATASET, {"all": files(a=b"2")})
    assert write_pages(vault, tmp_path / "pages").snapshots == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("kept")
    with pytest.raises(ConfigError, match="name another"):
        write_pages(vault, tmp_path / "mine")
    assert (tmp_path / "mine/file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "pages"]
