"""Whatever the lineage, a recall reaches exactly what was derived from its target: a model in plain sets says what that is."""

import hashlib
import os
from dataclasses import dataclass, field

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import recall
from orchestrai_tests.provenance.builder import World

GRAPHS = int(os.environ.get("ORCHESTRAI_TEST_GRAPHS", "10"))
DATASETS, DAYS = ("p/orders", "p/clicks"), ("2026-01-01", "2026-01-02", "2026-01-03")
VIEWS = {"p/orders_view/features": "p/orders", "p/clicks_view/features": "p/clicks", "p/other_view/features": "p/orders"}
MODELS = ("p/churn", "p/next")
Origin = str
Place = tuple[str, str, str]

step = st.one_of(
    st.tuples(st.just("land"), st.sampled_from(DATASETS), st.sampled_from(DAYS)),
    st.tuples(st.just("features"), st.sampled_from(sorted(VIEWS)), st.sets(st.sampled_from(DAYS), min_size=1)),
    st.tuples(st.just("train"), st.sampled_from(MODELS), st.sets(st.sampled_from(sorted(VIEWS)), min_size=1), st.booleans()),
    st.tuples(st.just("predict"), st.sampled_from(MODELS), st.sampled_from(sorted(VIEWS))),
)


# a champion that a later candidate, of other data, was only compared with
COMPARED = [
    ("train", "p/churn", {"p/orders_view/features"}, True),
    ("land", "p/clicks", DAYS[1]),
    ("features", "p/clicks_view/features", {DAYS[1]}),
    ("train", "p/churn", {"p/clicks_view/features"}, True),
]


@dataclass
class Known:
    """What each published partition carries, and everything that was ever published."""

    current: dict[str, dict[str, frozenset[Origin]]] = field(default_factory=dict)
    ever: set[tuple[Place, frozenset[Origin]]] = field(default_factory=set)

    def publish(self, world: World, asset: str, partition: str, origins: frozenset[Origin]) -> None:
        root = world.ledger.open(asset).partitions[partition].root
        self.current.setdefault(asset, {})[partition] = origins
        self.ever.add(((asset, partition, root), origins))

    def whole(self, *assets: str) -> frozenset[Origin]:
        return frozenset().union(*(found for asset in assets for found in self.current.get(asset, {}).values()))


def play(world: World, known: Known, number: int, move: tuple) -> None:  # type: ignore[type-arg]
    """One thing that happens to the lineage, in the world and in the model of it; what cannot happen yet does not."""
    kind, subject, *rest = move
    if kind == "land":
        (day,) = rest
        data = f"{subject} {day} {number}".encode()
        world.prove({day: data}, subject)
        for stage in ("raw_events", "snapshot", "restored"):
            known.publish(world, f"{subject}/{stage}", day, frozenset({hashlib.sha256(data).hexdigest()}))
    elif kind == "features":
        source = known.current.get(f"{VIEWS[subject]}/restored", {})
        days = sorted(rest[0] & source.keys())
        if days:
            world.features(days, salt=str(number).encode(), dataset=VIEWS[subject], asset=subject)
            for day in days:
                known.publish(world, subject, day, source[day])
    elif kind == "train":
        views, promote = sorted(view for view in rest[0] if view in known.current), rest[1]
        if views:
            world.train(f"{subject} {number}".encode(), promote=promote, features=views, model=subject)
            for stage in ("training_set", "candidate", "evaluation", *(["champion"] if promote else [])):
                known.publish(world, f"{subject}/{stage}", "all", known.whole(*views))
    elif f"{subject}/champion" in known.current and rest[0] in known.current:
        world.predict(f"scores {number}".encode(), features=rest, model=subject)
        known.publish(world, f"{subject}/predictions", "all", known.whole(f"{subject}/champion", rest[0]))


@settings(max_examples=GRAPHS, derandomize=True, suppress_health_check=list(HealthCheck))
@example(moves=COMPARED)
@given(moves=st.lists(step, min_size=4, max_size=12))
def test_a_recall_reaches_exactly_what_was_derived_from_its_target(moves: list) -> None:  # type: ignore[type-arg]
    world, known = World(), Known()
    # the start that all lineages have, so that few are empty
    start = [("land", "p/orders", DAYS[0]), ("features", "p/orders_view/features", {DAYS[0]})]
    for number, move in enumerate([*start, *moves]):
        play(world, known, number, move)
    index = ReceiptIndex.build(world.store, world.keyring)
    for origin in sorted({origin for _, origins in known.ever for origin in origins}):
        reached = {(d.asset, d.partition, d.root) for d in recall(index, origin).derivations if d.receipt}
        assert reached == {place for place, origins in known.ever if origin in origins}
