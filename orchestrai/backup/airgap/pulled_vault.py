"""The subject of a pull: a declared vault of another account."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrai.backup.airgap.spec import PulledVaultSpec
from orchestrai.stage.declared_subject import SpecifiedSubject
from orchestrai.stage.names import SubjectKind


@dataclass(frozen=True)
class PulledVaultNode(SpecifiedSubject):
    """A declared vault of another account."""

    kind: ClassVar[SubjectKind] = "pulled_vault"
    pipeline: str
    spec: PulledVaultSpec
    folder: Path
