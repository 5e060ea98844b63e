"""A vault of another account that a home pulls by its own schedule, from a declaration that has nothing else."""

from pathlib import Path

import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.errors import IntegrityError
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import Keyring, new_signer
from orchestrai.ledger.trust.key_log import fingerprint
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.pipeline.check.project_check import check_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
from orchestrai.storage.local import LocalStore
from orchestrai.vault.format.layout import commit_key
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.contents import files

ROOT, WRITER = new_signer(), new_signer()
ASSET = "airgap/prod/pull"


class SecondAccount:
    """A primary, and a home elsewhere that declares nothing but the pull of it."""

    def __init__(self, folder: Path) -> None:
        self.primary = LocalStore(folder / "primary")
        self.vault = Vault(self.primary, WRITER, workers=0, root=ROOT)
        self.copy = LocalStore(folder / "copy")
        digits = fingerprint(ROOT.private_key.public_key())
        self.declared = folder / "pipelines" / "airgap"
        self.declared.mkdir(parents=True)
        (self.declared / "pipeline.yaml").write_text(
            "pipeline: airgap\npulled_vaults:\n"
            f"  - {{name: prod, from: {folder / 'primary'}, to: {folder / 'copy'}, root: {digits}, every: '30 3 * * *'}}\n"
        )

    def commit(self, text: str) -> None:
        self.vault.commit("shop/orders", {text: files(a=text.encode())})

    def pull(self) -> tuple[StageReport, Verdict]:
        runtime = Runtime(load_settings())
        report = runtime.run(runtime.project.nodes[ASSET], ["all"])
        (verdict,) = [verdict for outcome in report.outcomes for verdict in outcome.verdicts]
        return report, verdict

    def shown(self) -> int:
        rules = governed(self.copy, Keyring({}), root=fingerprint(ROOT.private_key.public_key()))
        return len(Vault(self.copy, new_signer(), rules, workers=0).snapshots("shop/orders"))


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecondAccount:
    account = SecondAccount(tmp_path)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(account.declared))
    return account


def test_what_is_new_is_pulled_proven_and_published(account: SecondAccount) -> None:
    account.commit("one")
    report, verdict = account.pull()
    assert verdict.passed and report.facts["snapshots"] == 1 and account.shown() == 1
    account.commit("two")
    again, verdict = account.pull()
    assert verdict.passed and again.facts["snapshots"] == 1 and account.shown() == 2
    # nothing is wrong, as before: the same record, and so the same version
    assert again.version == report.version
    assert verify(Vault(account.copy, WRITER, workers=0), level="read").ok


def test_a_primary_that_was_rolled_back_is_a_failed_check_and_the_copy_keeps_what_it_has(account: SecondAccount) -> None:
    account.commit("one")
    account.commit("two")
    account.pull()
    account.primary.delete(commit_key("shop/orders", 2))
    report, verdict = account.pull()
    assert not verdict.passed and "rolled back" in verdict.message and account.shown() == 2
    findings = report.facts["findings"]
    assert isinstance(findings, list) and findings and not report.refused


def test_a_primary_of_another_root_is_refused_before_anything_is_put(account: SecondAccount, tmp_path: Path) -> None:
    Vault(account.primary, WRITER, workers=0, root=new_signer()).commit("shop/orders", {"p": files(a=b"x")})
    with pytest.raises(IntegrityError, match="it is another's"):
        account.pull()
    assert not list(account.copy.list())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("root: '0123'", "root's fingerprint of 32 to 64 hex digits"),
        ("to: ftp://x/y", "s3://"),
        ("every: daily", "five fields"),
        ("", "datasets: expected"),
    ],
)
def test_a_wrong_declaration_is_told_in_one_line(account: SecondAccount, line: str, told: str) -> None:
    path = account.declared / "pipeline.yaml"
    name = line.partition(":")[0]
    text = path.read_text()
    fields = dict(root=text.partition("root: ")[2].partition(",")[0], to=text.partition("to: ")[2].partition(",")[0])
    if not line:
        path.write_text("pipeline: airgap\n")
    elif name == "every":
        path.write_text(text.replace("'30 3 * * *'", "daily"))
    else:
        path.write_text(text.replace(f"{name}: {fields[name]}", line))
    (report,) = check_project([account.declared])
    assert len(report.mistakes) == 1 and told in report.mistakes[0].message


@pytest.mark.emulator
def test_the_schedule_is_the_declared_one_and_runs_the_pull_alone(account: SecondAccount) -> None:
    from orchestrai.defs.build import build_definitions

    definitions = build_definitions(Runtime(load_settings()))
    schedule = definitions.get_schedule_def("airgap_prod_pull")
    assert (schedule.cron_schedule, schedule.job_name) == ("30 3 * * *", "airgap_pull")
