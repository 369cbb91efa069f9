"""Benchmarks of latency, throughput, memory, message size and training speed."""

BENCHMARKS = ("latency", "memory", "throughput", "train", "wire")
