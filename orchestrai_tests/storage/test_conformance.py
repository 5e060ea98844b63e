"""What every store must do, run against each of them."""

import pytest

from orchestrai.conformance.store_suite import StoreConformance
from orchestrai.storage.base import Store


class TestStores(StoreConformance):
    """Each kind of store of ours."""

    @pytest.mark.thorough("pages are cut short in test_objects")
    def test_list_pages_through_more_than_a_thousand_objects(self, store: Store) -> None:
        super().test_list_pages_through_more_than_a_thousand_objects(store)
