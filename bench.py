"""Speed and memory side by side: `python bench.py`. One process, models in turn, medians; see configs/bench.yaml."""
