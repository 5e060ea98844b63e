"""What becomes of snapshots once they are taken: kept, locked, held, pruned, cooled, anchored."""
