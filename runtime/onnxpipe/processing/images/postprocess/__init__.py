"""Convert the outputs of vision models to boxes, masks, depths and keypoints, one file a kind of answer."""
