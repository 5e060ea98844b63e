"""Settings: everything local by default, the environment overrides, a typo is an error."""

from pathlib import Path

import pytest

from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings


def test_the_defaults_need_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ORCHESTRAI_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.home == tmp_path / ".orchestrai"
    assert settings.lake == str(tmp_path / ".orchestrai" / "lake")
    assert settings.vault == str(tmp_path / ".orchestrai" / "vault")


def test_the_environment_overrides_and_an_empty_value_means_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path))
    monkeypatch.setenv("ORCHESTRAI_VAULT_URL", "s3://backups/vault")
    monkeypatch.setenv("ORCHESTRAI_LAKE_URL", "")
    settings = load_settings()
    assert settings.vault == "s3://backups/vault"
    assert settings.lake == str(tmp_path / "lake")


def test_a_name_that_is_no_setting_is_told_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRAI_VALUT_URL", "s3://backups/vault")
    with pytest.raises(ConfigError, match="ORCHESTRAI_VALUT_URL") as caught:
        load_settings()
    assert "ORCHESTRAI_VAULT_URL" in caught.value.message


def test_a_wrong_value_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRAI_EXECUTOR", "warp")
    with pytest.raises(ConfigError, match="ORCHESTRAI_EXECUTOR") as caught:
        load_settings()
    assert "\n" not in caught.value.message
