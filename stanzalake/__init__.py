"""The command line, and `up`: the only place that knows all three services and wires them."""
