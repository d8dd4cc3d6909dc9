"""Serves checkpoints of AWS Samples' mask-rcnn-tensorflow."""
