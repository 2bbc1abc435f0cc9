"""From the fp32 graph to the smaller precisions: one file each."""
