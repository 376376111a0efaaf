"""docs/scaling.md: how time, memory and operations of training grow, from a measurement of bench.py task=scaling."""
