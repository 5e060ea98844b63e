"""The made-up shop's catalogue: what it sells, to whom, and what each customer leans to."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CATEGORIES = ("LIGHT", "KITCHEN", "GARDEN", "PARTY", "CHRISTMAS", "STATIONERY", "TOY", "BATH", "BAG", "CLOCK")
ADJECTIVES = (
    "WHITE",
    "RED",
    "VINTAGE",
    "WOODEN",
    "RETROSPOT",
    "GLASS",
    "IVORY",
    "PINK",
    "ANTIQUE",
    "STRIPED",
    "CERAMIC",
    "METAL",
)
NOUNS = {
    "LIGHT": ("T-LIGHT HOLDER", "LANTERN"),
    "KITCHEN": ("CAKESTAND", "TEA TOWEL"),
    "GARDEN": ("PLANT POT", "BIRD FEEDER"),
    "PARTY": ("BUNTING", "PAPER PLATES"),
    "CHRISTMAS": ("STAR DECORATION", "REINDEER"),
    "STATIONERY": ("NOTEBOOK", "GIFT WRAP"),
    "TOY": ("BUILDING BLOCKS", "DOLL"),
    "BATH": ("SOAP DISH", "HAND TOWEL"),
    "BAG": ("LUNCH BAG", "JUMBO BAG"),
    "CLOCK": ("ALARM CLOCK", "WALL CLOCK"),
}
LIFETIME = 400
GAP = 22.0
GAP_SPREAD = 0.9
LONGEST_GAP = 60.0
ONE_TIMERS = 0.6
NEVER = 1e9
FAVOURITES = 18
BLOCK = 20_000
COUNTRIES = ("United Kingdom", "Germany", "France", "EIRE", "Spain", "Netherlands")
COUNTRY_SHARES = (0.86, 0.04, 0.04, 0.03, 0.015, 0.015)


@dataclass(frozen=True)
class Items:
    """The catalogue by place: item `i` has code `code[i]`; `weight` is how often it sells by itself."""

    code: tuple[str, ...]
    name: tuple[str, ...]
    category: Ints
    cents: Ints
    weight: Floats

    def __len__(self) -> int:
        return len(self.code)

    def as_records(self, updated_at: datetime) -> list[dict[str, str | float]]:
        """The items as the supplier's API answers them."""
        moment = updated_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return [
            {
                "item_id": code,
                "name": name,
                "category": CATEGORIES[kind].lower(),
                "price": cents / 100,
                "updated_at": moment,
            }
            for code, name, kind, cents in zip(
                self.code, self.name, self.category.tolist(), self.cents.tolist(), strict=True
            )
        ]


@dataclass(frozen=True)
class Customers:
    """Customers by place. `gap` is how many days a content one lets pass
    between orders, `leaves` the day after which a customer never orders again; before it, they cool down for `cooling` days."""

    number: Ints
    country: Ints
    gap: Floats
    basket: Floats
    joins: Floats
    leaves: Floats
    cooling: Floats
    favourites: Ints

    def __len__(self) -> int:
        return len(self.number)

    def warmth(self, day: int) -> Floats:
        """1 for a content customer, falling to 0.2 on the way out, 0 before joining and after leaving."""
        left = np.clip((self.leaves - day) / self.cooling, 0.0, 1.0)
        return np.where((day >= self.joins) & (day < self.leaves), 0.2 + 0.8 * left, 0.0)


def make_items() -> Items:
    """The catalogue; the same in every demo, so that contracts and examples can name its items."""
    codes: list[str] = []
    names: list[str] = []
    kinds: list[int] = []
    for kind, category in enumerate(CATEGORIES):
        for noun in NOUNS[category]:
            for adjective in ADJECTIVES:
                place = len(codes)
                codes.append(f"{20_000 + 37 * place}{'ABS'[place % 3] if place % 4 == 0 else ''}")
                names.append(f"{adjective} {noun}")
                kinds.append(kind)
    fixed = np.random.default_rng(1)
    cents = np.round(np.exp(fixed.normal(5.4, 0.8, len(codes)))).astype(np.int64) + 20
    weight = 1.0 / (10 + fixed.permutation(len(codes)))
    return Items(tuple(codes), tuple(names), np.array(kinds), cents, weight / weight.sum())


def make_customers(rng: np.random.Generator, count: int, days: int, items: Items) -> Customers:
    """Customers of very different pace who come and go at a steady rate, so that no month is unlike another."""
    joins = rng.uniform(-LIFETIME, days, count)
    leaves = joins + 30 + rng.exponential(LIFETIME, count)
    # who comes rarely stocks up; who tries the shop once takes little and is not seen again, however recent that was
    gap = np.clip(np.exp(rng.normal(np.log(GAP), GAP_SPREAD, count)), 3.0, LONGEST_GAP)
    basket = (1.2 + 0.16 * gap) * np.exp(rng.normal(0.0, 0.3, count))
    once = rng.random(count) < ONE_TIMERS
    gap[once], basket[once] = NEVER, 0.8
    return Customers(
        number=12_346 + np.sort(rng.choice(6 * count, count, replace=False)),
        country=rng.choice(len(COUNTRIES), count, p=COUNTRY_SHARES),
        gap=gap,
        basket=basket,
        joins=joins,
        leaves=leaves,
        cooling=rng.uniform(30, 60, count),
        favourites=_favourites(rng, count, items),
    )


def _favourites(rng: np.random.Generator, count: int, items: Items) -> Ints:
    """Each customer's favourite items, mostly of two categories; in blocks, so that a million customers fit in memory."""
    blocks = []
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        taste = rng.integers(0, len(CATEGORIES), (size, 2))
        liked = (items.category[None, :, None] == taste[:, None, :]).any(axis=2)
        # the Gumbel trick: the largest keys are a draw without replacement by weight
        keys = np.log(np.where(liked, 12.0, 1.0) * items.weight) + rng.gumbel(size=liked.shape)
        blocks.append(np.argsort(-keys, axis=1, kind="stable")[:, :FAVOURITES].astype(np.int64))
    return np.concatenate(blocks)
