"""What becomes of snapshots once they are taken: kept, locked, held, copied, healed, pruned, cooled, anchored."""
