"""The items API stub, asked over real HTTP."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrai.demo.items_api import items_api


def _get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def test_following_next_gives_every_item_once() -> None:
    with items_api(page_size=50) as api:
        url, seen = api, []
        while url:
            page = _get(url)
            seen += [item["item_id"] for item in page["items"]]  # type: ignore[attr-defined]
            url = page["next"]  # type: ignore[assignment]
    assert len(seen) == len(set(seen)) == 240


def test_counting_pages_ends_with_an_empty_page(tmp_path: Path) -> None:
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "items.jsonl").write_text("".join(f'{{"item_id": "{n}"}}\n' for n in range(5)))
    with items_api(tmp_path) as api:
        assert len(_get(f"{api}?page=2&size=3")["items"]) == 2  # type: ignore[arg-type]
        assert _get(f"{api}?page=3&size=3")["items"] == []


def test_the_first_answers_fail_when_asked_to() -> None:
    with items_api(failures=1) as api:
        with pytest.raises(urllib.error.HTTPError) as refused:
            _get(api)
        refused.value.close()
        assert refused.value.code == 503
        assert _get(api)["page"] == 1


@pytest.mark.parametrize(("query", "status"), [("?page=0", 400), ("?size=501", 400), ("?page=x", 400)])
def test_a_wrong_page_is_refused(query: str, status: int) -> None:
    with items_api() as api, pytest.raises(urllib.error.HTTPError) as refused:
        _get(api + query)
    refused.value.close()
    assert refused.value.code == status
