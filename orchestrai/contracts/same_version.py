"""The check `same_version`: what was staged has the root of what it was made from, judged before anything is published."""

from collections.abc import Mapping, Sequence

from orchestrai.core.canonical import JsonValue
from orchestrai.core.identity import describe
from orchestrai.core.verdict import Verdict

CHECK = "same_version"


Chain = Mapping[str, str | None]


def same_version(roots: Mapping[str, Chain], versions: Chain | None = None) -> dict[str, Verdict]:
    """A verdict for each partition on its roots by stage, upstream first, which must all be one.

    So must `versions`, where given: those of the whole assets once this is published. Equal by construction, so another root is a
    fault in the code or an attack, and then no partition of the run may be published.
    """
    whole = dict(versions or {})
    unequal = sorted(partition for partition, chain in roots.items() if not _one(chain))
    return {partition: _verdict(partition, chain, whole, unequal) for partition, chain in roots.items()}


def _one(chain: Chain) -> bool:
    return len({*chain.values()}) <= 1


def _verdict(partition: str, chain: Chain, whole: Chain, unequal: Sequence[str]) -> Verdict:
    details: dict[str, JsonValue] = {f"{stage}_root": root for stage, root in chain.items()}
    details |= {f"{stage}_version": version for stage, version in whole.items()}
    if partition in unequal:
        fault = f"expected one root, found {_listed(chain)}"
    elif unequal:
        fault = f"expected one root in every partition of the run, found another in {', '.join(unequal[:3])}"
    elif not _one(whole):
        fault = f"expected one version of the whole, found {_listed(whole)}"
    else:
        return Verdict(CHECK, True, " = ".join(chain), details=details)
    return Verdict(CHECK, False, f"{fault}: nothing was published; verify the vault and run it again", details=details)


def _listed(chain: Chain) -> str:
    return ", ".join(f"{stage} {describe(root)}" for stage, root in chain.items())
