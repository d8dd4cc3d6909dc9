"""Serves the weights of Matterport's Mask_RCNN."""
