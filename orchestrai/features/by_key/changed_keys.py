"""Which entities of an online store have another row now: by the files that are new, and by those that are gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from orchestrai.features.by_key.newest_rows import KEY, NOBODY, TIME, UNIT, Rows, newest, whole, without_row
from orchestrai.features.views.view import FeatureView

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

_NEVER = -(2**62)


@dataclass(frozen=True)
class Changes:
    """Rows of new files that take the place of what the store has, and the entities whose row is gone with its file.

    `new` are all rows of new files. Those whose `fresh` is true stand, whatever older files have. `missing` are the entities for which
    files that stay must be asked. `unseen` counts new rows of entities that the store does not have.
    """

    new: Rows
    fresh: pa.Array
    missing: pa.Array
    unseen: int

    def only(self, rows: Rows, keys: pa.Array) -> Rows:
        """The rows of some entities."""
        return rows.chosen(pc.is_in(rows.keys, value_set=keys)) if len(rows) else rows

    def still_missing(self, left: pa.Array, found: Rows, units: set[int]) -> pa.Array:
        """Of some entities those that were neither found nor have a row in new files of these numbers."""
        units_of = whole(self.new.heads.column(UNIT))
        mine = self.new.keys.filter(pc.is_in(units_of, value_set=pa.array(sorted(units), pa.int64())))
        for keys in (found.keys, mine):
            left = left.filter(pc.invert(pc.is_in(left, value_set=keys)))
        return left

    def rows(self, view: FeatureView, earlier: Rows) -> tuple[Rows, int]:
        """What to write, and by how many there are more entities; `earlier` are rows of the missing ones from files that stay."""
        wanted = pc.or_(self.fresh, pc.is_in(self.new.keys, value_set=self.missing))
        parts = [part for part in (earlier, self.new.chosen(wanted)) if len(part)]
        found = newest(parts) if parts else earlier
        nowhere = self.missing.filter(pc.invert(pc.is_in(self.missing, value_set=found.keys)))
        if len(nowhere):
            nothing = without_row(view, nowhere)
            heads = pa.concat_tables([found.heads, nothing.heads]).combine_chunks()
            values = pa.concat_tables([found.values, nothing.values], promote_options="permissive")
            found = Rows(heads, values)
        return found, self.unseen - len(nowhere)


def changes(levels: Sequence[pa.Table], new: Rows, gone: set[int]) -> Changes:
    """Hold new rows against the heads of a store's slices, newest first; `gone` are the numbers of files that are no more."""
    import numpy as np

    lost = pa.array(sorted(gone), pa.int64())
    times, units = _served(levels, new.keys)
    mine = np.asarray(whole(new.heads.column(TIME)).cast(pa.int64()).fill_null(_NEVER))
    absent = units == NOBODY
    # a row that is gone hides nothing: only one that is as new proves that no file that stays has a newer one
    fresh = absent | (mine >= times)
    missing: list[pa.Array] = []
    hidden: list[pa.Array] = []
    for heads in levels if gone else ():
        keys = whole(heads.column(KEY))
        out = keys.filter(pc.is_in(whole(heads.column(UNIT)), value_set=lost))
        for newer in hidden:
            out = out.filter(pc.invert(pc.is_in(out, value_set=newer)))
        missing.append(out)
        hidden.append(keys)
    settled = new.keys.filter(pa.array(fresh))
    all_missing = pa.concat_arrays(missing) if missing else pa.array([], pa.string())
    all_missing = all_missing.filter(pc.invert(pc.is_in(all_missing, value_set=settled)))
    return Changes(new, pa.array(fresh), all_missing, int(absent.sum()))


def _served(levels: Sequence[pa.Table], keys: pa.Array) -> tuple["Numbers", "Numbers"]:
    """Time and file number of the row that a store has of each key; NOBODY where it has none."""
    import numpy as np

    times, units = np.full(len(keys), _NEVER, np.int64), np.full(len(keys), NOBODY, np.int64)
    open_ = np.ones(len(keys), bool)
    for heads in levels:
        places = pc.index_in(keys, value_set=whole(heads.column(KEY)))
        at = np.asarray(places.fill_null(-1))
        here = open_ & (at >= 0)
        times[here] = np.asarray(whole(heads.column(TIME)).cast(pa.int64()).fill_null(_NEVER))[at[here]]
        units[here] = np.asarray(whole(heads.column(UNIT)))[at[here]]
        open_ &= ~here
    return times, units
