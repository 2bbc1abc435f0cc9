"""Make the smaller precisions from the fp32 graph: one file each."""
