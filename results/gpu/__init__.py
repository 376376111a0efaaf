"""`make gpu`: CUDA tests, measurements and the 30-epoch comparison, within a time, as often as it is typed."""
