"""RFC 6962 trees: published vectors, proofs, and the properties a version leans on."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrai.core.tree import merkle

# the test vectors of the certificate-transparency reference implementation
LEAVES = [
    bytes.fromhex(h)
    for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def test_roots_equal_the_published_vectors() -> None:
    for size, expected in ROOTS.items():
        assert merkle.root(LEAVES[:size]).hex() == expected


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=60), st.data())
def test_any_changed_leaf_changes_the_root(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves[:index], leaves[index] + b"!", *leaves[index + 1 :]]
    assert merkle.root(changed) != merkle.root(leaves)
