"""What `latentwire bench` runs: latency, throughput, memory, accuracy against bytes, training."""

BENCHMARKS = ("latency", "memory", "throughput", "train", "wire")
