"""Cost of the node: latency, loss, processor time, long runs."""
