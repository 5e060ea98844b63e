"""Each run says which tiers ran; a tier named in ORCHESTRAI_TEST_TIERS of which no test passed fails the run, so CI proves them."""

import os
from collections import Counter

import pytest

VARIABLE = "ORCHESTRAI_TEST_TIERS"
TIERS = ("e2e", "emulator", "browser", "spark", "thorough")


class TierWatch:
    """Counts passed tests by marker."""

    def __init__(self, wanted: list[str]) -> None:
        self.wanted = wanted
        self.passed: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.update(tier for tier in TIERS if tier in report.keywords)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        missing = [tier for tier in self.wanted if not self.passed[tier]]
        if missing and exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        counts = ", ".join(f"{tier} {self.passed[tier]}" for tier in TIERS)
        terminalreporter.write_line(f"tiers that ran: {counts}")
        for tier in self.wanted:
            if not self.passed[tier]:
                terminalreporter.write_line(f"FAILED tier {tier}: no test of it passed", red=True)


def register(config: pytest.Config) -> None:
    """Count the tiers, in the controlling process only; raises UsageError for a name that is no tier."""
    wanted = os.environ.get(VARIABLE, "").split()
    unknown = sorted(set(wanted) - set(TIERS))
    if unknown:
        raise pytest.UsageError(f"expected tiers of {', '.join(TIERS)} in {VARIABLE}, found {', '.join(unknown)}")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(TierWatch(wanted), "tier-watch")
