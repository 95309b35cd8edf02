"""Benchmarks: each part runs all its contenders in one run and prints ratios."""
