"""The `orchestrai` command of this checkout, for benches that time whole processes."""

from orchestrai.cli import main

if __name__ == "__main__":
    main()
