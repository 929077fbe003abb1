"""The commands of `makeready`: the only place that wires processes together."""
