"""Account features as users of other libraries write them: one module each, the same counts (`columns`), run as a program.

Each counts per spine row what the usage part of Kunto's catalogue reads, from the same Parquet files. None of them masks late
or re-versioned rows, computes the other features or the peers' medians: Kunto does that besides. Snapshots are midnights, which
those who first add up days make use of.
"""
