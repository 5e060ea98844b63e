"""Time as data has it: partitions and their windows, clocks of places, durations and crons."""
