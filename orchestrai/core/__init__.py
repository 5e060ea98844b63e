"""The words everything is said in: time, calendar, verdict, canonical bytes, hashes. No store, no stage."""
