"""Fixtures every part of the suite shares; servers are started by `orchestrai_tests.servers`."""

import gc
import pathlib
import signal

import hypothesis
import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests import order, scratch, tables, thorough, tiers

pytest_plugins = ["orchestrai_tests.servers.plugin"]


def pytest_configure(config: pytest.Config) -> None:
    """Let CI prove which tiers ran, show what was counted, and keep files where they are quick."""
    # a shell that starts this behind it has Ctrl-C ignored; Dagster gives SIGTERM the handler of Ctrl-C after a run, so that what tests
    # start from then on could not be ended: a pool of processes waited for ever
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # how long an example takes says more of the machine than of the code
    hypothesis.settings.register_profile("orchestrai", deadline=None)
    hypothesis.settings.load_profile("orchestrai")
    tiers.register(config)
    tables.register(config)
    scratch.register(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first, the thorough ones only where they were asked for."""
    order.arrange(items)
    thorough.pick(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The run ends in its time."""
    thorough.begin(item)


def pytest_collection_finish() -> None:
    """What was imported lives to the end: looking through it for garbage again and again took a seventh of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture
def ledger(tmp_path: pathlib.Path) -> Ledger:
    """A ledger over a fresh lake and vault on local disk."""
    return Ledger(
        LocalStore(tmp_path / "lake"), load_or_create_signer(tmp_path / "keys"), vault=LocalStore(tmp_path / "vault")
    )


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Real data made by others, beside the checkout; skips where it is absent."""
    folder = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data folder is not beside this checkout")
    return folder
