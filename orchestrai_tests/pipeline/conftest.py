"""The same few days as the command line's tests, and a small shop with everything that is backed up declared."""

from orchestrai_tests.backup.conftest import days, generated, landing, make, published_shop, shop

__all__ = ["days", "generated", "landing", "make", "published_shop", "shop"]
