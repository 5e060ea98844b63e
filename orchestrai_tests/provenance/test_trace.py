"""A trace reaches every raw object once, says what it cost, and renders without outside resources."""

import json
import re
from itertools import pairwise

import pytest

from orchestrai.errors import NotReceipted, SignatureInvalid
from orchestrai.ledger.receipt import Material
from orchestrai.provenance.export.page import trace_html
from orchestrai.provenance.export.svg_graph import columns_of, placed
from orchestrai.provenance.export.text_tree import trace_text
from orchestrai.provenance.trace import trace
from orchestrai_tests.accessibility import faults
from orchestrai_tests.producers import producer
from orchestrai_tests.provenance.builder import MODEL, ORDERS, VIEW, World, uri

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")


def test_a_champion_is_traced_to_every_raw_object(world: World) -> None:
    world.whole(DAYS)
    found = trace(world.ledger, f"{MODEL}/champion")
    assert [node.asset for node in found.nodes] == [
        f"{MODEL}/champion",
        f"{MODEL}/candidate",
        f"{MODEL}/evaluation",
        f"{MODEL}/training_set",
        VIEW,
        f"{ORDERS}/restored",
        f"{ORDERS}/snapshot",
        f"{ORDERS}/raw_events",
    ]
    assert [m.uri for m in found.objects] == [uri(day) for day in DAYS]


def test_raw_snapshot_and_restored_show_one_version(world: World) -> None:
    world.whole(DAYS)
    nodes = {node.stage: node for node in trace(world.ledger, f"{MODEL}/champion").nodes}
    raw = world.ledger.open(f"{ORDERS}/raw_events").version
    assert {nodes[stage].version for stage in ("raw_events", "snapshot", "restored")} == {raw}


def test_each_receipt_is_paid_once(world: World) -> None:
    world.whole(DAYS)
    found = trace(world.ledger, f"{MODEL}/champion")
    raw = next(node for node in found.nodes if node.stage == "raw_events")
    assert raw.cost.wall_seconds == pytest.approx(0.5 * len(DAYS))
    derived = 1.0 * 4
    assert found.cost.wall_seconds >= 1.5 + derived


def test_the_champion_it_was_compared_with_is_no_ancestor(world: World) -> None:
    world.whole(DAYS)
    first = world.ledger.open(f"{MODEL}/champion").version
    world.train(b"second")
    assets = [(node.asset, node.version) for node in trace(world.ledger, f"{MODEL}/champion").nodes]
    assert (f"{MODEL}/champion", first) not in assets


def test_an_earlier_version_is_traced_by_its_first_digits(world: World) -> None:
    world.whole(DAYS)
    first = world.ledger.open(f"{MODEL}/champion").version
    world.train(b"second")
    assert trace(world.ledger, f"{MODEL}/champion", first[7:19]).root.version == first
    with pytest.raises(NotReceipted):
        trace(world.ledger, f"{MODEL}/champion", "0" * 12)


def test_a_feature_partition_is_traced_to_its_own_inputs_only(world: World) -> None:
    for day in DAYS:
        world.prove({day: day.encode()})
    world.features(DAYS)
    session = world.ledger.session(f"{MODEL}/training_set", producer("training_set"))
    session.add_bytes("all", "part.parquet", b"rows", rows=1)
    from orchestrai.ledger.receipt import InputRef

    view = world.ledger.open(VIEW)
    session.commit({"all": ()}, inputs=[InputRef(VIEW, view.version, view.roots([DAYS[1]]))])
    assert [m.uri for m in trace(world.ledger, f"{MODEL}/training_set").objects] == [uri(DAYS[1])]


def test_the_text_tree_names_each_step_and_object(world: World) -> None:
    world.whole(DAYS)
    text = trace_text(trace(world.ledger, f"{MODEL}/champion"))
    assert text.splitlines()[0].startswith(f"{MODEL}/champion@")
    for day in DAYS:
        assert uri(day) in text
    assert text.count(f"{ORDERS}/restored@") == 1
    assert "(see above)" in text


def test_the_page_needs_nothing_from_outside_and_escapes_what_it_shows(world: World) -> None:
    session = world.ledger.session("p/<b>x</b>/raw_events".replace("/b", "b"), producer("raw_events"))
    session.add_bytes("all", "p.parquet", b"x", rows=1)
    session.commit({"all": ()}, materials=[Material('s3://x/"><script>alert(1)</script>', "0" * 64, 1)])
    page = trace_html(trace(world.ledger, session.asset))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(?!#)[a-z/]""", page)
    assert "@import" not in page and "url(" not in page
    assert faults(page) == []


def test_the_page_draws_every_node_once_and_every_way_between(world: World) -> None:
    world.whole(DAYS)
    found = trace(world.ledger, f"{MODEL}/champion")
    page = trace_html(found)
    landed = sum(bool(node.objects) for node in found.nodes)
    assert page.count("<rect ") == len(found.nodes) + landed
    assert page.count('class="edge"') == sum(len(node.inputs) for node in found.nodes) + landed
    # raw = snapshot = restored, said where it holds
    assert page.count('class="equal"') == 2
    assert page.count('class="bars"') == 4
    assert faults(page) == []


def test_cards_of_one_column_never_cover_each_other(world: World) -> None:
    for dataset in (ORDERS, "churn/clicks", "churn/returns"):
        world.prove({day: f"{dataset} {day}".encode() for day in DAYS}, dataset)
        world.features(DAYS, dataset=dataset, asset=f"{dataset}_view/features")
    world.train(features=[f"{name}_view/features" for name in (ORDERS, "churn/clicks", "churn/returns")])
    found = trace(world.ledger, f"{MODEL}/champion")
    columns = columns_of(found)
    assert columns[0] == "landing" and columns[-1] == "champion"
    places = placed(found, columns)
    assert len(places) == len(found.nodes) + 3
    for column in range(len(columns)):
        rows = sorted(row for at, row in places.values() if at == column)
        assert all(high - low >= 1 for low, high in pairwise(rows))
    assert all(places[low][0] < places[node.id][0] for node in found.nodes for low in node.inputs)


def test_a_node_tells_the_rows_of_each_partition(world: World) -> None:
    world.whole(DAYS)
    raw = next(node for node in trace(world.ledger, f"{MODEL}/champion").nodes if node.stage == "raw_events")
    assert len(raw.rows_by_partition) == len(raw.partitions)
    assert sum(raw.rows_by_partition) == raw.rows


def test_the_json_form_round_trips(world: World) -> None:
    world.whole(DAYS)
    found = trace(world.ledger, f"{MODEL}/champion")
    assert json.loads(json.dumps(found.as_json()))["nodes"][0]["asset"] == f"{MODEL}/champion"


def test_a_forged_receipt_stops_the_trace(world: World) -> None:
    world.whole(DAYS)
    stranger = World()
    with pytest.raises(SignatureInvalid):
        trace(type(world.ledger)(world.lake, stranger.signer), f"{MODEL}/champion")
