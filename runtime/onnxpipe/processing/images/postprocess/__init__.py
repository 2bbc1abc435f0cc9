"""From what a vision model gives to boxes, masks, depths and points, one file a kind of answer."""
