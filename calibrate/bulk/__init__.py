"""Steps and rules over many rows: what the ops of `calibrate.ops` say, by kernels."""
