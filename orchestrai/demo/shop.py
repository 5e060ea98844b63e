"""Orders and the clicks that lead to them, a day at a time.

Customers who will leave show it first: longer gaps, smaller baskets, more returns. Most of what is bought was clicked on in
the days before; much of what is clicked on is never bought.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from orchestrai.demo.catalogue import COUNTRIES, Customers, Floats, Ints, Items

ORDER_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
WEEKDAYS = (0.85, 0.95, 0.95, 1.1, 0.85, 0.0, 0.5)  # Monday first; Saturdays closed
SATURDAY = 5
AHEAD = 8
EVENNESS = 8.0
FIRST_INVOICE = 536_365
CHANNELS = ("search", "email", "browse", "ad")
GUEST = -1


@dataclass(frozen=True)
class Lines:
    """Order lines of a day by time; `who` is GUEST for a sale without a customer, `returned` marks cancellations."""

    invoice: Ints
    who: Ints
    item: Ints
    quantity: Ints
    minute: Ints
    returned: "np.typing.NDArray[np.bool_]"


@dataclass(frozen=True)
class ShopDay:
    """One day's landing objects; `orders` is empty on a day without trade."""

    day: date
    orders: str
    clicks: str


class Shop:
    """The shop's days in order. The same generator state gives the same days."""

    def __init__(self, rng: np.random.Generator, items: Items, customers: Customers, first: date) -> None:
        self.rng, self.items, self.customers, self.first = rng, items, customers, first
        self._next_invoice = FIRST_INVOICE
        self._next_event = 1
        self._cumulative = np.cumsum(items.weight)
        # when each customer is next due, in days; the first order lies anywhere in the first gap
        self._due = np.maximum(customers.joins, 0.0) + rng.random(len(customers)) * np.where(
            customers.joins <= 0, customers.gap, 0.0
        )

    def days(self, count: int, click_days: int) -> Iterator[ShopDay]:
        """The first `count` days; the last `click_days` of them have clicks. Holds AHEAD days in memory, never more."""
        coming: deque[tuple[int, Lines]] = deque()
        for number in range(count + AHEAD):
            coming.append((number, self._lines(number)))
            if len(coming) > AHEAD:
                yield self._close(coming, count - click_days)

    def _close(self, coming: "deque[tuple[int, Lines]]", clicks_from: int) -> ShopDay:
        number, lines = coming.popleft()
        day = self.first + timedelta(days=number)
        clicks = self._clicks(number, coming) if number >= clicks_from else ""
        return ShopDay(day, self._orders_text(day, lines), clicks)

    # -- orders --------------------------------------------------------------------------------------------------

    def _lines(self, number: int) -> Lines:
        rng, people = self.rng, self.customers
        day = self.first + timedelta(days=number)
        pace = WEEKDAYS[day.weekday()] * (1 + 0.15 * np.sin(2 * np.pi * number / 91))
        warmth = people.warmth(number)
        buyers = np.flatnonzero((self._due <= number) & (warmth > 0) & (rng.random(len(people)) < 0.75 * pace))
        waits = people.gap[buyers] * rng.gamma(EVENNESS, 1 / EVENNESS, len(buyers)) / warmth[buyers]
        self._due[buyers] = number + np.maximum(waits, 1.0)
        guests = rng.poisson(len(people) * 0.007 * pace)
        sizes = np.concatenate(
            [
                1 + rng.poisson(people.basket[buyers] * warmth[buyers]),
                1 + rng.poisson(5.0, guests),
            ]
        ).astype(np.int64)
        who = np.concatenate([buyers, np.full(guests, GUEST)]).astype(np.int64)
        order = rng.permutation(len(who))
        who, sizes = who[order], sizes[order]
        minutes = np.sort(rng.integers(8 * 60, 18 * 60, len(who)))
        lines = int(sizes.sum())
        of = np.repeat(np.arange(len(who)), sizes)
        person = who[of]
        usual = (rng.random(lines) < 0.65) & (person != GUEST)
        item = np.minimum(np.searchsorted(self._cumulative, rng.random(lines)), len(self.items) - 1)
        # a favourite earlier in the list is bought more often
        place = np.minimum(
            (rng.random(lines) ** 2 * people.favourites.shape[1]).astype(np.int64), people.favourites.shape[1] - 1
        )
        item[usual] = people.favourites[person[usual], place[usual]]
        quantity = np.maximum(1, np.round(np.exp(rng.normal(1.1, 0.9, lines)))).astype(np.int64)
        cold = np.where(who == GUEST, 1.0, warmth[who])
        returned = rng.random(len(who)) < np.where(cold < 1, 0.03 + 0.45 * (1 - cold), 0.03)
        if number % 29 == 4:
            returned[:] = False  # a day without cancellations, on which invoice numbers look like integers
        invoice = self._next_invoice + np.arange(len(who))
        self._next_invoice += len(who)
        keep = ~returned[of] | (np.concatenate([[True], of[1:] != of[:-1]]) if lines else np.zeros(0, dtype=bool))
        return Lines(invoice[of][keep], person[keep], item[keep], quantity[keep], minutes[of][keep], returned[of][keep])

    def _orders_text(self, day: date, lines: Lines) -> str:
        if day.weekday() == SATURDAY:
            return ""
        items, people = self.items, self.customers
        written = [ORDER_HEADER]
        for invoice, who, item, quantity, minute, back in zip(
            lines.invoice.tolist(),
            lines.who.tolist(),
            lines.item.tolist(),
            lines.quantity.tolist(),
            lines.minute.tolist(),
            lines.returned.tolist(),
            strict=True,
        ):
            cents = int(items.cents[item])
            buyer = f"{people.number[who]}.0" if who != GUEST else ""
            country = COUNTRIES[people.country[who]] if who != GUEST else COUNTRIES[0]
            written.append(
                f"{'C' if back else ''}{invoice},{items.code[item]},{items.name[item]},{-quantity if back else quantity},"
                f"{day} {minute // 60:02d}:{minute % 60:02d}:00,{cents / 100},{buyer},{country}\n"
            )
        return "".join(written)

    # -- clicks --------------------------------------------------------------------------------------------------

    def _clicks(self, number: int, coming: "deque[tuple[int, Lines]]") -> str:
        rng, people = self.rng, self.customers
        who, item, channel = [], [], []
        for later, lines in coming:
            wanted = (lines.who != GUEST) & ~lines.returned
            seen = wanted & (rng.random(len(wanted)) < 0.34 / (1 + 0.12 * (later - number)))
            who.append(lines.who[seen])
            item.append(lines.item[seen])
            channel.append(rng.choice(len(CHANNELS), int(seen.sum()), p=(0.45, 0.3, 0.15, 0.1)))
        present = np.flatnonzero(rng.random(len(people)) < 0.16 * np.minimum(people.warmth(number) * 1.2, 1))
        looks = 1 + rng.poisson(1.2, len(present))
        browsing = np.repeat(present, looks)
        count = len(browsing)
        item_seen = np.minimum(np.searchsorted(self._cumulative, rng.random(count)), len(self.items) - 1)
        drawn = rng.random(count) < 0.3
        places = rng.integers(0, people.favourites.shape[1], count)
        item_seen[drawn] = people.favourites[browsing[drawn], places[drawn]]
        who.append(browsing)
        item.append(item_seen)
        channel.append(rng.choice(len(CHANNELS), count, p=(0.15, 0.15, 0.45, 0.25)))
        return self._clicks_text(number, np.concatenate(who), np.concatenate(item), np.concatenate(channel))

    def _clicks_text(self, number: int, who: Ints, item: Ints, channel: Ints) -> str:
        day = self.first + timedelta(days=number)
        seconds = np.sort(self.rng.integers(6 * 3600, 23 * 3600, len(who)))
        order = self.rng.permutation(len(who))
        written = []
        for second, place in zip(seconds.tolist(), order.tolist(), strict=True):
            clock = f"{second // 3600:02d}:{second % 3600 // 60:02d}:{second % 60:02d}"
            written.append(
                f'{{"event_id": "c{self._next_event:09d}", "user_id": "{self.customers.number[who[place]]}", '
                f'"item_id": "{self.items.code[item[place]]}", "ts": "{day}T{clock}Z", "channel": "{CHANNELS[channel[place]]}"}}\n'
            )
            self._next_event += 1
        return "".join(written)


def spoil(orders: str, share: float = 0.06) -> str:
    """The day's orders as a broken export leaves them: nearly all rows gone, a price that is text, a clock at zero."""
    header, *rows = orders.splitlines(keepends=True)
    remainder = rows[: max(3, int(len(rows) * share))]
    first = remainder[0].split(",")
    first[4] = "1970-01-01 00:00:00"
    second = remainder[1].split(",")
    second[5] = "#REF!"
    return "".join([header, ",".join(first), ",".join(second), *remainder[2:]])


def midnight(day: date) -> datetime:
    """The start of a day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


__all__ = ["Floats", "Shop", "ShopDay", "midnight", "spoil"]
