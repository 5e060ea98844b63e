"""The commands under a heading of a page, typed as they stand."""

import shlex
from pathlib import Path

from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.docs.commands import lines_of
from orchestrai_tests.docs.pages import ROOT, blocks_of

DAY = ROOT / "docs" / "day-in-the-life.md"


def variables_of(runtime: Runtime) -> dict[str, str]:
    """What leads a command line to the home and the pipelines of a runtime."""
    folders = ":".join(str(pipeline.folder) for pipeline in runtime.project.pipelines)
    settings = runtime.settings
    return {
        "ORCHESTRAI_HOME": str(settings.home),
        "ORCHESTRAI_PIPELINES": folders,
        "ORCHESTRAI_ALERT_URL": settings.alert_url,
        **({"ORCHESTRAI_VAULT_URL": settings.vault_url} if settings.vault_url else {}),
    }


def walk(heading: str, page: Path = DAY) -> list[str]:
    """What each command under a heading says; raises AssertionError for one that ends otherwise than well or with a finding."""
    text = page.read_text(encoding="utf-8")
    assert f"\n## {heading}\n" in text, heading
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    said = []
    for block in blocks_of(page, section):
        for line in lines_of(block.text):
            code, output = command(*shlex.split(line)[1:])
            assert code in (0, 1) and output.strip(), (line, code, output)
            said.append(output)
    assert said, heading
    return said
